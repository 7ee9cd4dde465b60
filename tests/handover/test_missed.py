"""What a new session missed is found between what was delivered and what it brings: nothing lost, doubles marked."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st

from shard_runtime.contract import ReceivedEvent, ReceivedRequest
from shard_runtime.handover.holding import Held, held
from shard_runtime.handover.missed import MOST_HELD, NEAR_MILLISECONDS, Missed
from shard_runtime.handover.received import PAGE_BYTES, Received
from shard_runtime.handover.steps import Deliver, Step

GUILD = 1 << 22
BEGAN = 100_000


def event(what: int, session: str, sequence: int, arrival: int) -> Held:
    """*what*: the id of a message, or a kind of event with a constant body if it is below 4."""
    name = "MESSAGE_CREATE" if what >= 4 else "WEBHOOKS_UPDATE"
    d = {"id": str(what), "guild_id": str(GUILD)} if what >= 4 else {"guild_id": str(GUILD), "channel_id": str(what)}
    payload = json.dumps({"op": 0, "t": name, "s": sequence, "d": d}).encode()
    return held(shard=0, count=1, session=session, sequence=sequence, name=name, payload=payload, arrival=arrival)


def deliver(missed: Missed, events: Sequence[Held]) -> list[Deliver]:
    """What is left of *events* after they passed."""
    step = Step()
    for one in events:
        step.deliver.append(Deliver(one, False))
    missed.pass_on(step)
    return step.deliver


def keys(events: Sequence[Deliver], *, marked: bool | None = None) -> Counter[int]:
    return Counter(each.event.key for each in events if marked is None or each.maybe_duplicate is marked)


@st.composite
def worlds(draw: st.DrawFn) -> tuple[list[tuple[int, int]], int, int, int, list[int], list[int]]:
    """A stream as (what, when), where the lost session ended, where the new one begins, how much it has brought by the
    decision, and each event's delay to the old session and to the new one."""
    count = draw(st.integers(0, 24))
    whats = draw(st.lists(st.sampled_from([0, 0, 1, 2, -1]), min_size=count, max_size=count))
    times = sorted(draw(st.lists(st.integers(BEGAN - 8000, BEGAN + 1500), min_size=count, max_size=count)))
    stream = [
        (1000 + index if what < 0 else what, when) for index, (what, when) in enumerate(zip(whats, times, strict=True))
    ]
    begins = sum(when < BEGAN for when in times)
    ended = draw(st.integers(0, begins))
    brought = draw(st.integers(begins, count))
    old, new = draw(st.integers(0, 450)), draw(st.integers(0, 450))
    late = [draw(st.integers(0, 40)) for _ in range(count)]
    arrivals_old = _in_order(when + old + extra for (_, when), extra in zip(stream, late, strict=True))
    arrivals_new = _in_order(when + new for _, when in stream)
    return stream, ended, begins, brought, arrivals_old, arrivals_new


def _in_order(moments: object) -> list[int]:
    latest = 0
    found = []
    for moment in moments:  # type: ignore[attr-defined]
        latest = max(latest, moment)
        found.append(latest)
    return found


@given(worlds())
def test_nothing_is_lost_and_doubles_are_marked(
    world: tuple[list[tuple[int, int]], int, int, int, list[int], list[int]],
) -> None:
    stream, ended, begins, brought, at_old, at_new = world
    old = [event(what, "old", 1 + index, at_old[index]) for index, (what, _) in enumerate(stream)]
    first = [event(what, "first", 1 + index, at_new[index]) for index, (what, _) in enumerate(stream[:ended])]
    second = [event(what, "second", 2 + index, at_new[index]) for index, (what, _) in enumerate(stream)][begins:]
    missed = Missed()
    out = deliver(missed, first)
    missed.begins(0, "second", BEGAN)
    missed.hold(0)
    assert deliver(missed, second[: brought - begins]) == []
    out += missed.make_good(0, old, exact=True).deliver
    out += deliver(missed, second[brought - begins :])

    sent = Counter(each.key for each in old)
    assert not sent - keys(out), "nothing is lost"
    assert not keys(out, marked=False) - sent, "what is not marked comes once"
    assert all(count == 1 for key, count in keys(out).items() if sent[key] and is_unique(old, key)), "ids come once"
    if all(what >= 4 for what, _ in stream):
        assert not keys(out, marked=True)
        assert [each.event.key for each in out] == [each.key for each in old], "and in order"
    assert not missed.waiting


def is_unique(events: Sequence[Held], key: int) -> bool:
    return next(each.unique for each in events if each.key == key)


@given(worlds(), st.randoms())
def test_where_the_sides_got_another_order_nothing_is_lost(
    world: tuple[list[tuple[int, int]], int, int, int, list[int], list[int]], random: object
) -> None:
    stream, ended, begins, brought, at_old, at_new = world
    order = list(range(len(stream)))
    for index in range(len(order) - 1):
        near = stream[order[index + 1]][1] - stream[order[index]][1] < 300
        if near and random.random() < 0.3:  # type: ignore[attr-defined]
            order[index], order[index + 1] = order[index + 1], order[index]
    old = [event(stream[what][0], "old", 1 + index, at_old[index]) for index, what in enumerate(order)]
    first = [event(what, "first", 1 + index, at_new[index]) for index, (what, _) in enumerate(stream[:ended])]
    second = [event(what, "second", 2 + index, at_new[index]) for index, (what, _) in enumerate(stream)][begins:]
    missed = Missed()
    out = deliver(missed, first)
    missed.begins(0, "second", BEGAN)
    missed.hold(0)
    deliver(missed, second[: brought - begins])
    out += missed.make_good(0, old, exact=True).deliver
    out += deliver(missed, second[brought - begins :])
    assert {each.key for each in old} <= {each.event.key for each in out}, "no id is lost, and no kind of event"
    assert all(count == 1 for key, count in keys(out).items() if is_unique(old, key)), "ids come once"


def test_after_a_restart_everything_is_marked() -> None:
    missed = Missed()
    missed.exact = False
    missed.begins(0, "second", BEGAN)
    missed.hold(0)
    old = [event(what, "old", what, BEGAN - 5000 + what) for what in range(4, 8)]
    found = missed.make_good(0, old, exact=True).deliver
    assert [(each.event.key, each.maybe_duplicate) for each in found] == [(each.key, True) for each in old]


def test_startup_snapshots_are_no_part_of_the_stream() -> None:
    missed = Missed()
    missed.begins(0, "second", BEGAN)
    missed.hold(0)
    payload = json.dumps({"op": 0, "t": "GUILD_CREATE", "s": 2, "d": {"id": str(GUILD), "unavailable": False}}).encode()
    snapshot = held(
        shard=0, count=1, session="second", sequence=2, name="GUILD_CREATE", payload=payload, arrival=BEGAN + 1
    )
    missed.own(0, snapshot.session, snapshot.sequence)
    deliver(missed, [snapshot, event(7, "second", 3, BEGAN + 20)])
    old = [event(0, "old", 1, BEGAN - 300), event(7, "old", 2, BEGAN + 10)]
    out = missed.make_good(0, old, exact=True).deliver
    assert [(each.event.session, each.event.sequence, each.maybe_duplicate) for each in out] == [
        ("old", 1, False),
        ("second", 2, False),
        ("second", 3, False),
    ]


def test_a_session_that_is_lost_again_is_made_good_as_well() -> None:
    missed = Missed()
    missed.begins(0, "second", BEGAN)
    missed.hold(0)
    deliver(missed, [event(10, "second", 2, BEGAN + 10)])
    missed.begins(0, "third", BEGAN + 5000)
    missed.hold(0)
    deliver(missed, [event(12, "third", 2, BEGAN + 5010)])
    old = [event(what, "old", what, BEGAN - 10 + (what - 9) * 1700) for what in (9, 10, 11)]
    old.append(event(12, "old", 12, BEGAN + 5020))
    out = missed.make_good(0, old, exact=True).deliver
    assert Counter(each.event.key for each in out) == Counter(each.key for each in old)


def test_a_state_is_given_once_and_only_the_latest() -> None:
    def presence(status: str, session: str, sequence: int, arrival: int) -> Held:
        d = {"user": {"id": "77"}, "guild_id": str(GUILD), "status": status}
        payload = json.dumps({"op": 0, "t": "PRESENCE_UPDATE", "s": sequence, "d": d}).encode()
        return held(
            shard=0,
            count=1,
            session=session,
            sequence=sequence,
            name="PRESENCE_UPDATE",
            payload=payload,
            arrival=arrival,
        )

    for brings, expected in ((False, ["idle"]), (True, ["online"])):
        missed = Missed()
        missed.begins(0, "second", BEGAN)
        missed.hold(0)
        if brings:
            deliver(missed, [presence("online", "second", 2, BEGAN + 30)])
        old = [presence("dnd", "old", 1, BEGAN - 3000), presence("idle", "old", 2, BEGAN - 2000)]
        out = missed.make_good(0, old, exact=True).deliver
        assert [json.loads(each.event.payload)["d"]["status"] for each in out] == expected


def test_what_is_held_is_bounded() -> None:
    missed = Missed()
    missed.begins(0, "second", BEGAN)
    missed.hold(0)
    one = event(5, "second", 2, BEGAN)
    step = Step()
    step.deliver = [Deliver(one, False)] * (MOST_HELD + 1)
    missed.pass_on(step)
    assert len(step.deliver) == MOST_HELD + 1
    assert not missed.waiting
    assert missed.overflowed == [0]


def received(sequence: int, size: int = 10) -> ReceivedEvent:
    return ReceivedEvent(
        shard=0, session="old", sequence=sequence, name="MESSAGE_CREATE", payload=b"x" * size, arrival=sequence
    )


def test_received_events_are_told_in_parts() -> None:
    kept = Received(complete=True)
    for sequence in range(1, 6):
        kept.add(GUILD, received(sequence, PAGE_BYTES // 2 + 1))
    kept.add(2 << 22, received(6))
    after: dict[str, int] = {}
    parts: list[list[int]] = []
    more = True
    while more:
        events, more = kept.page(ReceivedRequest(generation=2, count=2, shards=[1], after=after))
        after |= {one.session: one.sequence for one in events}
        parts.append([one.sequence for one in events])
    assert parts == [[1, 2], [3, 4], [5]], "and nothing of another shard's guild"
    assert kept.complete


def test_received_events_are_bounded_and_it_is_said() -> None:
    kept = Received(complete=True, max_bytes=3000)
    for sequence in range(1, 10):
        kept.add(GUILD, received(sequence, 500))
    events, _ = kept.page(ReceivedRequest(generation=2, count=1, shards=[0]))
    assert [one.sequence for one in events] == [6, 7, 8, 9]
    assert not kept.complete
    assert NEAR_MILLISECONDS >= 1000, "sessions' delays differ by up to half a second"


def waiting() -> Missed:
    missed = Missed()
    missed.begins(0, "second", BEGAN)
    missed.hold(0)
    return missed


def test_what_a_stalled_old_session_gets_late_is_missed_all_the_same() -> None:
    missed = waiting()
    deliver(missed, [event(12, "second", 2, BEGAN + 100)])
    old = [event(what, "old", what, BEGAN + 2500) for what in (10, 0, 11, 12)]
    out = missed.make_good(0, old, exact=True).deliver
    assert [each.event.key for each in out] == [each.key for each in old]
    assert not any(each.maybe_duplicate for each in out)


def test_what_was_delivered_marked_is_not_delivered_again() -> None:
    missed = Missed()
    step = Step()
    step.deliver = [Deliver(event(10, "first", 2, BEGAN - 5000), True)]
    missed.pass_on(step)
    missed.begins(0, "second", BEGAN)
    missed.hold(0)
    assert not missed.make_good(0, [event(10, "old", 1, BEGAN - 5000)], exact=True).deliver


def test_what_still_comes_of_the_lost_session_does_not_wait() -> None:
    missed = waiting()
    assert len(deliver(missed, [event(9, "first", 9, BEGAN + 10)])) == 1
    assert deliver(missed, [event(10, "second", 2, BEGAN + 10)]) == []


def test_an_old_call_is_not_the_new_session_s() -> None:
    d = {"token": "x", "guild_id": str(GUILD), "endpoint": "voice"}
    payload = json.dumps({"op": 0, "t": "VOICE_SERVER_UPDATE", "s": 1, "d": d}).encode()
    one = held(
        shard=0, count=1, session="old", sequence=1, name="VOICE_SERVER_UPDATE", payload=payload, arrival=BEGAN - 2000
    )
    assert not waiting().make_good(0, [one], exact=True).deliver


def test_what_comes_after_something_that_was_brought_was_brought_as_well() -> None:
    missed = waiting()
    deliver(missed, [event(12, "second", 2, BEGAN + 200), event(0, "second", 3, BEGAN + 300)])
    missed.exact = False
    old = [event(0, "old", 1, BEGAN - 3000), event(12, "old", 2, BEGAN + 210), event(0, "old", 3, BEGAN + 310)]
    out = missed.make_good(0, old, exact=True).deliver
    assert [(each.event.session, each.event.sequence) for each in out] == [("old", 1), ("second", 2), ("second", 3)]
