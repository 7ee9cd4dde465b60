"""Events without a place in their stream, and places that outlive a restart."""

from __future__ import annotations

import os
from random import Random

import pytest

from shard_runtime.contract import LatestEvent, WindowEvent
from shard_runtime.handover.alignment import Arrived, Decision, Evidence, Outcome
from shard_runtime.handover.course import GAP_MILLISECONDS, SILENCE_MILLISECONDS, Course
from shard_runtime.handover.exact import SETTLE_MILLISECONDS
from shard_runtime.handover.holding import Held
from shard_runtime.handover.keys import Place, latest_subject, own_user_of, place_of
from shard_runtime.handover.lags import Bounds
from shard_runtime.handover.placed import placed
from shard_runtime.handover.streams import StreamAlignment
from tests.handover.copies import HELD_SINCE, SEAL, SINCE, copies, lag_bounds, random_stream, recorded

SKIP, DELIVER, MARKED = Decision.SKIP, Decision.DELIVER, Decision.DELIVER_MARKED
BOUNDS = Bounds(least=-300, most=300, stalled=-300)
USER = 77
EXAMPLES = int(os.environ.get("HANDOVER_EXAMPLES", "60"))


def presence(key: int, at: int, *, subject: int = USER) -> Arrived:
    return Arrived(key=key, unique=False, arrival=at, earliest=at, subject=subject)


def evidence(*latest: tuple[int, int], events: list[WindowEvent] | None = None) -> Evidence:
    return Evidence(
        sealed_at=SEAL,
        recorded_since=SINCE,
        events=events or [],
        latest=[LatestEvent(subject=USER, key=key, arrival=at) for key, at in latest],
        bounds=BOUNDS,
    )


@pytest.mark.parametrize(
    ("last", "held", "expected"),
    [
        pytest.param([], [(1, 9_000)], [SKIP], id="sent before the record began"),
        pytest.param([], [(1, 11_000), (2, 12_000)], [DELIVER, DELIVER], id="the old side was given none"),
        pytest.param([(1, 19_000)], [(1, 19_100)], [SKIP], id="its copy"),
        pytest.param([(1, 19_000)], [(1, 18_000), (2, 18_400), (1, 19_100)], [SKIP, SKIP, SKIP], id="and older ones"),
        pytest.param([(1, 19_000)], [(1, 19_100), (2, 20_000), (1, 20_100)], [SKIP, DELIVER, DELIVER], id="newer ones"),
        pytest.param([(1, 19_000)], [(2, 20_000)], [DELIVER], id="the copy never came"),
        pytest.param([(1, 19_000)], [(2, 19_100), (1, 19_200)], [MARKED, DELIVER], id="the bot ends with the latest"),
    ],
)
def test_of_presences_the_latest_arrives(
    last: list[tuple[int, int]], held: list[tuple[int, int]], expected: list[Decision]
) -> None:
    alignment = StreamAlignment(evidence(*last))
    assert [decision for key, at in held for decision in alignment.feed(presence(key, at))] == expected


def test_what_has_no_place_waits_for_what_came_before_it() -> None:
    accepted = [WindowEvent(key=1, arrival=SEAL - 100, unique=False)]
    alignment = StreamAlignment(evidence(events=accepted))
    assert alignment.feed(presence(5, SEAL - 200)) == [DELIVER], "nothing is before it"
    assert alignment.feed(Arrived(key=1, unique=False, arrival=SEAL - 50, earliest=SEAL - 50)) == []
    assert alignment.feed(presence(6, SEAL)) == []
    assert alignment.feed(Arrived(key=9, unique=False, arrival=SEAL, earliest=SEAL, reply=True)) == []
    assert alignment.learn([], SEAL + 300) == []
    assert alignment.pass_time(SEAL + 301) == [SKIP, DELIVER, DELIVER]
    assert alignment.outcome is Outcome.COUNTED
    assert alignment.feed(presence(7, SEAL + 400)) == [DELIVER]


def test_an_old_pod_that_knows_nothing() -> None:
    alignment = StreamAlignment(Evidence(sealed_at=SEAL, recorded_since=None))
    answers = [alignment.feed(Arrived(key=1, unique=True, arrival=at, earliest=at)) for at in (SEAL, SEAL + 3_000)]
    assert answers == [(MARKED,), (DELIVER,)]
    assert alignment.ambiguous


@pytest.mark.parametrize("seeds", range(4))
def test_a_place_that_was_found_is_found_again_after_a_restart(seeds: int) -> None:
    """The worker is killed at any moment; a resume brings again all from any sequence that was not finished."""
    compared = sum(killed_and_resumed(seed) for seed in range(seeds * EXAMPLES, (seeds + 1) * EXAMPLES))
    assert compared > EXAMPLES / 2


def killed_and_resumed(seed: int) -> bool:
    chance = Random(seed)
    faults = {"drop": 0.02, "double": 0.02, "swap": 0.05} if seed % 2 else {}
    stream = random_stream(chance, events=50, unique=chance.choice([0.0, 0.3]), **faults)
    found = copies(stream)
    facts = Evidence(
        sealed_at=SEAL,
        recorded_since=SINCE,
        events=recorded(found.accepted),
        held_since=HELD_SINCE,
        bounds=lag_bounds(stream, wider=200),
    )
    first = StreamAlignment(facts)
    held: list[Held] = []
    decisions: list[Decision] = []
    remembered = None
    first.learn(recorded(found.after), SEAL)
    for sequence, (event, at) in enumerate(found.held, start=1):
        held.append(Held(0, "s", sequence, "X", b"", Place(1), event.key, event.unique, None, at))
        answers = first.feed(arrived(held[-1]))
        decisions += answers
        if answers and remembered is None:
            remembered = placed(
                Place(1),
                zip(held, decisions, strict=False),
                outcome=first.outcome,
                ambiguous=first.ambiguous,
                missed_by_old=0,
            )
    if remembered is None:
        return False
    second = StreamAlignment(facts, remembered)
    from_here = chance.randrange(len(held))
    again = [decision for event in held[from_here:] for decision in second.feed(arrived(event, late=500_000))]
    for before, after in zip(decisions[from_here:], again, strict=False):
        assert (before is SKIP) == (after is SKIP), f"seed {seed}"
    assert second.outcome is first.outcome
    return True


def arrived(event: Held, late: int = 0) -> Arrived:
    at = event.arrival + late
    return Arrived(
        key=event.key,
        unique=event.unique,
        arrival=at,
        earliest=0 if late else at,
        replayed=bool(late),
        session=event.session,
        sequence=event.sequence,
    )


def test_a_gap_makes_what_follows_it_at_once_possibly_late() -> None:
    course = Course()
    assert course.not_before(1_000, replayed=False) is None
    assert course.not_before(1_000 + GAP_MILLISECONDS, replayed=False) is None
    at = 1_000 + GAP_MILLISECONDS
    back = at + GAP_MILLISECONDS + 1
    assert course.not_before(back, replayed=False) == at
    assert course.not_before(back + SETTLE_MILLISECONDS, replayed=False) == at
    assert course.not_before(back + SETTLE_MILLISECONDS + 1, replayed=True) == back + SETTLE_MILLISECONDS


@pytest.mark.parametrize(
    ("usual", "reads", "stalls"),
    [
        pytest.param(1_600, 2_500, 3_000, id="a backlog that takes seconds to read"),
        pytest.param(1_600, 50_000, 3_000, id="one that is read at once"),
        pytest.param(5, 1_000, 2_000, id="little traffic"),
        pytest.param(200, 260, 1_000, id="a machine that has hardly time for more than what comes"),
    ],
)
def test_events_are_possibly_late_until_the_session_has_caught_up(usual: int, reads: int, stalls: int) -> None:
    """*usual*: events a second; *reads*: how many of a backlog are read in one; *stalls*: milliseconds."""
    course = Course()
    began, free_at = 10_000.0, 0.0
    for number in range(usual * 40):
        made = 1_000 * number / usual
        free_at = max(made, free_at + 1_000 / reads, began + stalls if made >= began else 0.0)
        not_before = course.not_before(int(free_at), replayed=False)
        if free_at - made > GAP_MILLISECONDS:
            assert not_before is not None and not_before <= made
        elif made > began + stalls + 1_000 + 1.1 * stalls * usual / (reads - usual) and usual > 10:
            assert not_before is None


def test_a_session_that_became_quieter_is_not_late_for_ever() -> None:
    course = Course()
    for at in range(10_000):
        course.not_before(at, replayed=False)
    late = [course.not_before(at, replayed=False) is not None for at in range(12_000, 30_000, 200)]
    assert late[0] and not late[-1]
    assert late.index(False) * 200 <= 4 * 2_000 + 2 * SETTLE_MILLISECONDS


def chance_arrivals(chance: Random, *, a_second: float, until: int) -> list[int]:
    arrivals, at = [], 0.0
    while at < until:
        at += chance.expovariate(a_second) * 1_000
        arrivals.append(int(at))
    return arrivals


@pytest.mark.parametrize("a_second", [10, 33, 100, 400])
def test_a_session_whose_backlog_came_at_once_is_not_late_any_more(a_second: int) -> None:
    """Events come by chance, and so a session may have a few less than usual for ever."""
    late = set()
    for seed in range(50):
        course = Course()
        for made in chance_arrivals(Random(seed), a_second=a_second, until=25_000):
            not_before = course.not_before(20_000 if 17_000 <= made < 20_000 else made, replayed=False)
            if made > 20_000 + 2 * SETTLE_MILLISECONDS and not_before is not None and not_before < 18_000:
                late.add(seed)
    assert len(late) <= 5


def test_the_gaps_of_a_session_with_little_traffic_are_part_of_its_usual_rate() -> None:
    """Bursts of ten, one every two seconds: no backlog is to come after a gap."""
    course = Course()
    for at in range(0, 60_000, 2_000):
        for number in range(10):
            course.not_before(at + 20 * number, replayed=False)
        assert at < 10_000 or course.not_before(at + SETTLE_MILLISECONDS + 100, replayed=False) is None


def test_a_session_that_reads_a_backlog_is_late_until_it_has_caught_up() -> None:
    course = Course()
    for at in range(0, 10_000, 4):
        course.not_before(at, replayed=False)
    assert not course.is_late(10_000)
    assert course.is_late(10_000 + GAP_MILLISECONDS)
    assert course.passed(11_000) == 10_000 + GAP_MILLISECONDS - 4
    for at in range(13_000, 14_500, 2):  # as fast as 1,500 events are read that make 4 ms each
        course.not_before(at, replayed=False)
        assert course.is_late(at)
        assert (course.passed(at) < 10_500) is (at <= 13_000 + SILENCE_MILLISECONDS), "it is waited for, not for long"
    for at in range(14_500, 17_000, 2):
        course.not_before(at, replayed=False)
    assert not course.is_late(17_000)
    assert course.passed(17_000) == 17_000


def test_after_a_restart_nothing_is_known_of_when_a_replayed_event_was_to_come() -> None:
    assert Course().not_before(1_000, replayed=True) == 0


@pytest.mark.parametrize(
    ("name", "body", "expected"),
    [
        ("MESSAGE_CREATE", '{"guild_id":"8388608","channel_id":"5"}', Place(8388608)),
        ("MESSAGE_CREATE", '{"channel_id":"5","author":{"id":"6"}}', Place(0, 5)),
        ("INTERACTION_CREATE", '{"guild_id":"4194304","channel_id":"5"}', Place(0, 5)),
        ("ENTITLEMENT_CREATE", '{"id":"9","user_id":"7","guild_id":"8388608"}', Place(0, 7)),
        ("USER_UPDATE", '{"id":"9"}', Place(0, 9)),
        ("CHANNEL_PINS_UPDATE", '{"channel_id":5}', Place(0, 5)),
        ("X", "[]", Place(0)),
    ],
)
def test_streams_are_guilds_and_channels_of_what_has_none(name: str, body: str, expected: Place) -> None:
    """Shard 0 of 2: a guild that Discord routes to shard 1 is one that the bot is not in."""
    payload = f'{{"op":0,"s":1,"t":"{name}","d":{body}}}'.encode()
    assert place_of(name, payload, shard=0, count=2) == expected


def test_whose_state_an_event_is() -> None:
    own = b'{"d":{"guild_id":"1","user_id":"55"}}'
    assert latest_subject("PRESENCE_UPDATE", b'{"d":{"guild_id":"1","user":{"id":"7"}}}', own_user=None) == 7
    assert latest_subject("VOICE_STATE_UPDATE", own, own_user=55) == 55
    assert latest_subject("VOICE_STATE_UPDATE", own, own_user=56) is None
    assert latest_subject("VOICE_STATE_UPDATE", own, own_user=None) is None
    assert latest_subject("VOICE_SERVER_UPDATE", own, own_user=None) is not None
    assert latest_subject("MESSAGE_CREATE", own, own_user=55) is None


def test_the_token_begins_with_the_bots_id() -> None:
    assert own_user_of("MTEwMDAwMDAwMDAwMDAwMDAwMA.simulated.token") == 1100000000000000000
    assert own_user_of("demo.token.of-the-simulator") is None
    assert own_user_of("") is None
