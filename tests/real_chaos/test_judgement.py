"""What is judged broken after real faults: each promise by a history that breaks it, and no other one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pytest
from chaos.judgement import judged

from discord_simulator.receipts import Received
from discord_simulator.truth import Counters, EventTruth, SessionTruth, Truth

GUILD = 9
OLD, NEW, AGAIN = "old", "new", "again"
"""Sessions: of generation 1 with one shard, and of generation 2 with one."""


def session(name: str, *, events: Sequence[int], end: str | None = None) -> SessionTruth:
    sequences = list(range(2, 2 + len(events)))
    return SessionTruth(
        id=name, shard=0, count=1, intents=0, created_at=0, ended_at=None if end is None else 1, end=end, resumes=0,
        sequences=sequences, events=list(events),
    )  # fmt: skip


def truth(*sessions: SessionTruth, **counters: int) -> Truth:
    events = EventTruth(first=1, names=[0] * 4, streams=[0] * 4, keys=[0] * 4, at=[0] * 4)
    return Truth(
        now=0, since=0, names=["MESSAGE_CREATE"], streams=[GUILD], events=events, sessions=list(sessions),
        counters=Counters(**{"identifies_accepted": len(sessions), **counters}),
    )  # fmt: skip


def received(*deliveries: tuple[str, int, int], marked: Sequence[int] = ()) -> Received:
    """Each a session, a sequence and a generation."""
    sessions = sorted({name for name, _, _ in deliveries})
    rows = len(deliveries)
    return Received(
        sessions=sessions, names=["MESSAGE_CREATE"], generations=["0", "1", "2"],
        session=[sessions.index(name) for name, _, _ in deliveries],
        sequence=[sequence for _, sequence, _ in deliveries],
        generation=[generation for _, _, generation in deliveries],
        shard=[0] * rows, name=[0] * rows, at=[0] * rows, marked=list(marked),
    )  # fmt: skip


RESHARDED = truth(session(OLD, events=[1, 2, 3], end="clientClose"), session(NEW, events=[2, 3, 4]))
ARRIVED = ((OLD, 2, 1), (OLD, 3, 1), (NEW, 3, 2), (NEW, 4, 2))
"""Events 1 and 2 from the old generation, 3 and 4 from the new one."""


def broken(
    facts: Truth, bot: Received, *, connected: Mapping[int, int] | None = None, held_up: bool = False
) -> list[str]:
    generations = {1: 1, 2: 1}
    promises = judged(facts, bot, generations=generations, connected=connected or {1: 1}, identifies_held_up=held_up)[1]
    return [promise.partition(":")[0] for promise in promises]


def test_a_reshard_that_went_well_breaks_nothing_and_is_counted() -> None:
    numbers, promises = judged(
        RESHARDED, received(*ARRIVED), generations={1: 1, 2: 1}, connected={1: 1}, identifies_held_up=False
    )
    assert promises == []
    assert (numbers.events, numbers.lost, numbers.redelivered, numbers.marked) == (4, 0, 0, 0)
    assert (numbers.identifies, numbers.generations) == (2, 2)


def test_redeliveries_and_marked_events_are_counted_and_break_nothing() -> None:
    bot = received(*ARRIVED, ARRIVED[-1], (NEW, 2, 2), marked=[5])
    numbers, promises = judged(RESHARDED, bot, generations={1: 1, 2: 1}, connected={1: 1}, identifies_held_up=False)
    assert promises == []
    assert (numbers.lost, numbers.redelivered, numbers.marked) == (0, 1, 1)


@pytest.mark.parametrize(
    ("deliveries", "promise"),
    [
        (ARRIVED[:-1], "nothing is lost"),
        ((*ARRIVED, (NEW, 2, 2)), "nothing comes twice"),
        ((ARRIVED[0], ARRIVED[1], ARRIVED[3], ARRIVED[2]), "order in a guild"),
        ((ARRIVED[0], ARRIVED[1], ARRIVED[2], (OLD, 4, 1), ARRIVED[3]), "one active generation"),
    ],
    ids=["lost", "twice", "order", "generations"],
)
def test_a_promise_about_events(deliveries: Sequence[tuple[str, int, int]], promise: str) -> None:
    assert promise in broken(RESHARDED, received(*deliveries))


def test_an_event_may_come_twice_only_under_the_same_key_or_marked() -> None:
    assert broken(RESHARDED, received(*ARRIVED, (NEW, 2, 2))) == ["nothing comes twice"]
    assert broken(RESHARDED, received(*ARRIVED, (NEW, 2, 2), marked=[4])) == []


def test_a_session_that_we_end_or_replace_is_a_broken_promise() -> None:
    ended = truth(
        session(OLD, events=[1], end="clientClose"),
        session(NEW, events=[2, 3], end="clientClose"),
        session(AGAIN, events=[4]),
    )
    found = broken(ended, received((OLD, 2, 1), (NEW, 2, 2), (NEW, 3, 2), (AGAIN, 2, 2)))
    assert found.count("sessions live on") == 2
    assert "no IDENTIFY while a session can be resumed" in found


def test_a_session_whose_ready_was_held_up_may_be_begun_again() -> None:
    lost, anew = session(AGAIN, events=[]), session(NEW, events=[2, 3, 4])
    facts = truth(RESHARDED.sessions[0], lost, anew)
    assert broken(facts, received(*ARRIVED)) == ["no IDENTIFY while a session can be resumed"]
    assert broken(facts, received(*ARRIVED), held_up=True) == []
    lost.resumes = 1
    assert broken(facts, received(*ARRIVED), held_up=True) == ["no IDENTIFY while a session can be resumed"]


def test_the_budget_and_the_buckets() -> None:
    sessions = RESHARDED.sessions
    assert broken(truth(*sessions, budget_overruns=1), received(*ARRIVED)) == ["the identify budget"]
    early = truth(*sessions, bucket_violations=1)
    assert broken(early, received(*ARRIVED)) == ["identify buckets"]
    assert broken(early, received(*ARRIVED), held_up=True) == []


def test_sessions_of_another_generation_that_stay_connected() -> None:
    assert broken(RESHARDED, received(*ARRIVED), connected={1: 1, 3: 3}) == ["one active generation"]
    assert broken(RESHARDED, received(*ARRIVED), connected={1: 0}) == ["one active generation"]
