"""What a whole cutover promises, for any streams: two old pods, several guilds, seals at different moments."""

from __future__ import annotations

import os
from collections.abc import Sequence
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shard_runtime.contract import HandoverReply, HandoverRequest, shard_of_guild
from shard_runtime.handover.alignment import Arrived, Decision, Evidence
from shard_runtime.handover.cutover import Cutover
from shard_runtime.handover.holding import Held, held
from shard_runtime.handover.keys import Place
from shard_runtime.handover.streams import StreamAlignment
from shard_runtime.handover.window import Window
from tests.handover.streams import COMMIT_AT, GUILDS, HOLD_FROM, NEW_COUNT, OLD, Outcome, Pace, Sent, body, run

END = 30_000
EXAMPLES = int(os.environ.get("HANDOVER_EXAMPLES", "150"))


def streams(*, old_delay: int, new_delay: int, copies: Sequence[int] = (1,)) -> st.SearchStrategy[list[Sent]]:
    """Events of a few guilds, most of them around the seals, with delays up to the given ones (in order per guild)."""
    event = st.builds(
        Sent,
        at=st.one_of(st.integers(0, END), st.integers(COMMIT_AT - 1_000, COMMIT_AT + 4_000)),
        guild=st.sampled_from(GUILDS),
        unique=st.booleans(),
        kind=st.integers(0, 2),
        old_delay=st.integers(0, old_delay),
        new_delay=st.integers(0, new_delay),
        old_copies=st.sampled_from(copies),
        new_copies=st.sampled_from(copies),
    )
    return st.lists(event, max_size=120).map(lambda events: sorted(events, key=lambda event: event.at))


PACES = st.builds(
    Pace,
    seals=st.fixed_dictionaries(
        {0: st.integers(COMMIT_AT, COMMIT_AT + 3_000), 1: st.integers(COMMIT_AT, COMMIT_AT + 3_000)}
    ),
    acknowledged_after=st.dictionaries(st.sampled_from(GUILDS), st.integers(0, 5_000)),
    answer_delay=st.integers(0, 500),
    skew=st.integers(-100, 100),
)


def check_bookkeeping(events: Sequence[Sent], pace: Pace, outcome: Outcome) -> None:
    """What holds whatever the delays are."""
    assert sorted(outcome.finished) == sorted(outcome.offered), "each event comes back once: delivered or skipped"
    for guild in GUILDS:
        order = [event for event, _, _ in outcome.delivered if events[event].guild == guild]
        assert order == sorted(order), "a guild's order is kept"
        pod = OLD.pod_of(shard_of_guild(guild, OLD.count))
        free = pace.seals[pod] + pace.acknowledged_after.get(guild, 0)
        assert all(at >= free for event, _, at in outcome.delivered if events[event].guild == guild), (
            "a guild is released only when its old pod is sealed and has its events acknowledged"
        )
    cutover = outcome.cutover
    assert cutover is not None
    assert cutover.complete
    assert cutover.held == cutover.held_bytes == 0
    status = cutover.status()
    assert (status.sealed_pods, status.waiting_pods, status.held_guilds) == (2, 0, 0)
    assert status.delivered_marked == sum(marked for _, marked, _ in outcome.delivered)
    assert sum(status.pauses) == status.released_guilds
    if outcome.duplicates(marked=True):
        assert status.ambiguous, "what could not be told is counted"


@settings(max_examples=2 * EXAMPLES, deadline=None)
@given(events=streams(old_delay=500, new_delay=500), pace=PACES)
def test_nothing_is_lost_and_no_duplicate_is_unmarked(events: list[Sent], pace: Pace) -> None:
    outcome = run(events, pace)
    check_bookkeeping(events, pace, outcome)
    assert outcome.lost == set()
    assert outcome.duplicates(marked=False) == set()
    assert not any(events[event].unique for event in outcome.duplicates(marked=True)), "an id of its own is proof"


@settings(max_examples=EXAMPLES, deadline=None)
@given(events=streams(old_delay=500, new_delay=1_800), pace=PACES)
def test_a_lagging_new_side_changes_nothing(events: list[Sent], pace: Pace) -> None:
    outcome = run(events, pace)
    check_bookkeeping(events, pace, outcome)
    assert outcome.lost == set()
    assert outcome.duplicates(marked=False) == set()


@settings(max_examples=EXAMPLES, deadline=None)
@given(events=streams(old_delay=6_000, new_delay=500), pace=PACES)
def test_old_sessions_that_lag_by_seconds_lose_no_event_that_has_an_id(events: list[Sent], pace: Pace) -> None:
    outcome = run(events, pace)
    check_bookkeeping(events, pace, outcome)
    assert not {event for event in outcome.lost if events[event].unique and events[event].at > 7_000}


@settings(max_examples=EXAMPLES, deadline=None)
@given(events=streams(old_delay=500, new_delay=500, copies=(1, 1, 1, 1, 0, 2)), pace=PACES)
def test_with_drops_and_doubles_an_event_with_an_id_is_lost_only_if_the_old_session_never_got_it(
    events: list[Sent], pace: Pace
) -> None:
    outcome = run(events, pace)
    check_bookkeeping(events, pace, outcome)
    lost = {event for event in outcome.lost if events[event].unique}
    assert all(events[event].old_copies == 0 for event in lost)
    assert outcome.cutover is not None
    counted = outcome.cutover.status().missed_by_old
    missed = [event for event in lost if events[event].at > 7_000 for _ in range(events[event].new_copies)]
    held_at_the_seal = [event for event in missed if events[event].at > COMMIT_AT - 3_000]
    assert counted >= len(set(held_at_the_seal)), "and then it is counted"


def test_a_busy_guild_with_equal_bodies_across_the_seal() -> None:
    """The case that a seen-set gets wrong: the same body again and again, before and after the seal."""
    events = [Sent(at, GUILDS[0], False, 0, at * 7 % 400, at * 13 % 400) for at in range(2_000, END, 50)]
    # other guilds of the same sessions, whose messages tell the lag
    events += [Sent(at, GUILDS[4], True, 0, at * 11 % 400, at * 17 % 400) for at in range(2_000, END, 20)]
    events.sort(key=lambda event: event.at)
    pace = Pace(seals={0: 16_000, 1: 16_000}, acknowledged_after={GUILDS[0]: 700})
    outcome = run(events, pace)
    check_bookkeeping(events, pace, outcome)
    lost, duplicated = outcome.by_key(events)
    assert (lost, outcome.duplicates(marked=False)) == (0, set())
    assert duplicated <= 400 // 50 + 1
    assert outcome.cutover is not None
    assert 700 <= outcome.cutover.status().longest_pause_milliseconds <= 1_500


class SeenSet(StreamAlignment):
    """What others do: an event whose key was seen is a duplicate."""

    def __init__(self, evidence: Evidence) -> None:
        super().__init__(evidence)
        self._seen = {event.key for event in evidence.events}

    def feed(self, event: Arrived) -> Sequence[Decision]:
        return (Decision.SKIP if event.key in self._seen else Decision.DELIVER,)

    def learn(self, after: object, now: int) -> Sequence[Decision]:
        return ()

    def pass_time(self, now: int, *, silent: bool = False) -> Sequence[Decision]:
        return ()

    def feed_many(self, events: Sequence[Arrived]) -> Sequence[Decision]:
        return [decision for event in events for decision in self.feed(event)]


class Flip(SeenSet):
    """What others do: from one moment on, everything is the new side's."""

    def __init__(self, evidence: Evidence) -> None:
        super().__init__(evidence)
        self._flip_at = evidence.sealed_at

    def feed(self, event: Arrived) -> Sequence[Decision]:
        return (Decision.SKIP if event.arrival < self._flip_at else Decision.DELIVER,)

    def feed_many(self, events: Sequence[Arrived]) -> Sequence[Decision]:
        return [decision for event in events for decision in self.feed(event)]


def test_the_harness_sees_what_a_seen_set_and_a_flip_do() -> None:
    """The measure is worth something only if it reports what wrong alignments lose and double."""
    events = [Sent(at, GUILDS[0], at % 100 == 0, 0, at * 7 % 400, at * 13 % 400) for at in range(2_000, END, 50)]
    pace = Pace(seals={0: 16_000, 1: 16_000}, acknowledged_after={})
    assert run(events, pace).by_key(events) == (0, 0)
    assert run(events, pace, align=SeenSet).by_key(events)[0] > 0
    flipped = run(events, pace, align=Flip).by_key(events)
    assert flipped[0] > 0 or flipped[1] > 0


@pytest.mark.parametrize("commit_heard_after", [0, 30_000])
def test_news_of_the_commit_that_comes_a_minute_late_loses_nothing(commit_heard_after: int) -> None:
    """A sibling seals the old pod; this worker hears of the commit long after its window would have slid on."""
    events = [Sent(at, GUILDS[0], True, 0, 100, 100) for at in range(HOLD_FROM, 60_000, 100)]
    pod = OLD.pod_of(shard_of_guild(GUILDS[0], OLD.count))
    sealed_at = 20_000
    cutover = Cutover(count=NEW_COUNT, shards=range(NEW_COUNT), predecessor=OLD)
    window = Window(since=0, overlap_seconds=10)
    delivered: list[int] = []
    skipped: list[Held] = []
    for number, event in enumerate(events):
        name, payload = body(number, event)
        arrival = event.at + 100
        if arrival < sealed_at:
            window.record(Place(event.guild), name, payload, arrival)
            if arrival % 1000 == 0:
                skipped += cutover.unsealed(pod, arrival).skip
        shard = shard_of_guild(event.guild, NEW_COUNT)
        offered = held(
            shard=shard,
            count=NEW_COUNT,
            session="s",
            sequence=number + 1,
            name=name,
            payload=payload,
            arrival=arrival,
        )
        skipped += cutover.offer(offered).skip
        if arrival == sealed_at + commit_heard_after:
            assert cutover.commit(arrival).deliver == []
            request = HandoverRequest(generation=2, count=NEW_COUNT, shards=list(range(NEW_COUNT)))
            reply = HandoverReply(
                generation=1, pod_uid="old", sealed_at=sealed_at, recorded_since=0, windows=window.export(request)
            )
            step = cutover.sealed(pod, reply, arrival)
            delivered += [event.sequence - 1 for event, marked in step.deliver if not marked]
            skipped += step.skip
            break
    assert delivered == [
        number for number, event in enumerate(events) if sealed_at <= event.at + 100 <= sealed_at + commit_heard_after
    ]


def test_a_stalled_new_session_is_waited_for() -> None:
    """Guilds with constant bodies only, and nothing comes for 5 s across the seal, then all at once."""

    def late(at: int) -> int:
        return max(0, 21_000 - at) if 15_500 <= at < 21_000 else at * 13 % 300

    events = [Sent(at, GUILDS[0], False, 0, at * 7 % 300, late(at)) for at in range(5_000, END, 700)]
    events += [Sent(at, GUILDS[4], True, 0, at * 11 % 300, late(at)) for at in range(5_000, END, 40)]
    events.sort(key=lambda event: event.at)
    pace = Pace(seals={0: 16_000, 1: 16_000}, acknowledged_after={})
    outcome = run(events, pace)
    check_bookkeeping(events, pace, outcome)
    assert outcome.by_key(events)[0] == 0
    assert outcome.duplicates(marked=False) == set()


@pytest.mark.parametrize("seed", range(12))
def test_a_stalled_new_session_that_takes_long_to_catch_up_doubles_nothing_unmarked(seed: int) -> None:
    """It gives nothing for 3 s from about the seal on, and then its backlog is read hardly faster than more comes."""
    chance = Random(seed)
    sealed, stalls, step = 17_000, 3_000, 4
    busy, constant, few = (
        [guild for guild in GUILDS if shard_of_guild(guild, NEW_COUNT) == shard]
        for shard in (shard_of_guild(guild, NEW_COUNT) for guild in GUILDS[:3])
    )
    stalled = {*busy, *constant, *few}
    began = sealed + chance.randrange(-150, 50)
    made: list[tuple[int, int, bool, int]] = []
    for at in range(6_000, END, step):
        made.append((at, busy[0], chance.random() < 0.8, chance.randrange(3)))
    for guild in constant:
        made += [(at, guild, False, 0) for at in sorted(chance.sample(range(6_000, END), 600))]
    for guild in few:
        made += [(at, guild, chance.random() < 0.4, chance.randrange(8)) for at in chance.sample(range(6_000, END), 80)]
    made.sort()
    free_at = dict.fromkeys(range(NEW_COUNT), 0.0)
    events: list[Sent] = []
    for at, guild, unique, kind in made:
        shard = shard_of_guild(guild, NEW_COUNT)
        arrival = max(at + chance.uniform(20, 120), free_at[shard] + 0.7 * step)
        if began <= arrival < began + stalls and guild in stalled:
            arrival = began + stalls
        free_at[shard] = arrival
        events.append(Sent(at, guild, unique, kind, chance.randrange(20, 120), round(arrival - at)))
    pace = Pace(seals={0: sealed, 1: sealed}, acknowledged_after={})
    outcome = run(events, pace)
    check_bookkeeping(events, pace, outcome)
    assert outcome.by_key(events)[0] == 0
    assert outcome.unmarked_by_key(events) == 0


def test_a_stalled_old_session_is_seen_by_what_it_did_not_accept() -> None:
    """The old session of some guilds gave nothing for 5 s before the seal; what it would have given is ours."""
    stalled = [guild for guild in GUILDS if shard_of_guild(guild, OLD.count) == shard_of_guild(GUILDS[0], OLD.count)]

    def late(at: int, guild: int) -> int:
        return 17_000 - at if guild in stalled and 11_000 <= at < 17_000 else at * 7 % 300

    events = [
        Sent(at + 10 * number, guild, unique and at % 1_400 == 0, 0, late(at, guild), at * 13 % 300)
        for at in range(5_000, END, 700)
        for number, (guild, unique) in enumerate([(stalled[0], False), (stalled[1], True), (GUILDS[1], True)])
    ]
    events += [Sent(at, GUILDS[1], True, 0, at * 7 % 300, at * 13 % 300) for at in range(5_001, END, 60)]
    events.sort(key=lambda event: event.at)
    pace = Pace(seals={0: 16_000, 1: 16_000}, acknowledged_after={})
    outcome = run(events, pace)
    check_bookkeeping(events, pace, outcome)
    assert outcome.by_key(events)[0] == 0
    assert outcome.duplicates(marked=False) == set()
