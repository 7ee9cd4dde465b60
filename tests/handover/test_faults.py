"""Discord may give an event zero, one or two times to a session, and not always in order. What is promised then, and
that each part of the alignment is there for a reason: without it a promise is broken."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from random import Random

import msgspec
import pytest

from shard_runtime.contract import WindowEvent
from shard_runtime.handover import exact
from shard_runtime.handover.alignment import Alignment, Arrived, Decision, Evidence, Outcome
from shard_runtime.handover.exact import ExactAlignment
from shard_runtime.handover.lags import Bounds, LagProfile, Overlap, Sample
from tests.handover.copies import HELD_SINCE, SEAL, SINCE, Answered, Event, align, copies, random_stream
from tests.handover.streams import GUILDS, OLD, Pace, Sent, run

RUNS = 2 * int(os.environ.get("HANDOVER_EXAMPLES", "150"))
BOUNDS = Bounds(least=-700, most=700, stalled=-700)
Make = Callable[[Evidence], Alignment]


class Real(ExactAlignment):
    """The alignment itself."""


# --- The promises -----------------------------------------------------------------------------------------------------


def played(make: Make, seed: int, *, events: int = 60, bounds: Bounds = BOUNDS, **faults: float) -> Answered:
    stream = random_stream(Random(seed), events=events, **faults)  # type: ignore[arg-type]
    return align(copies(stream), bounds, make=make)


def in_order(make: Make) -> None:
    """Without faults: exactly what the old side did not accept, where an event with an id is common."""
    for seed in range(RUNS):
        answered = played(make, seed)
        if answered.alignment.outcome is not Outcome.AMBIGUOUS:
            assert not answered.marked
            lost, doubled = answered.by_key()
            assert not lost and not doubled, f"seed {seed}"


def without_any_id(make: Make) -> None:
    """Constant bodies only: nothing is lost, and what is doubled is marked."""
    for seed in range(RUNS):
        answered = played(make, seed, unique=0.0, keys=1 + seed % 3)
        lost, doubled = answered.by_key()
        assert not lost, f"seed {seed}"
        assert doubled.total() <= len(answered.marked), f"seed {seed}"


def ids_survive_faults(make: Make) -> None:
    """An event with an id that the new side has is lost only if the old session never got it, and then it is counted.

    One that the old side accepted is never delivered."""
    for seed in range(RUNS):
        answered = played(make, seed, drop=0.03, double=0.03, swap=0.1)
        delivered = {event.number for event in answered.delivered}
        accepted = {event.number for event, _ in answered.found.accepted if event.unique}
        assert not delivered & accepted, f"seed {seed}"
        lost = {event for event, _ in answered.found.held if event.unique and event.number not in delivered}
        lost -= {event for event, _ in answered.found.everything_old}
        assert all(not event.old for event in lost), f"seed {seed}"
        recorded = {event for event in lost if event.new[0] > SINCE + 1_500}
        assert len(recorded) <= answered.alignment.missed_by_old, f"seed {seed}"


def doubles_are_marked_under_faults(make: Make) -> None:
    """Duplicates come only in streams that are counted as repaired or ambiguous."""
    for seed in range(RUNS):
        answered = played(make, seed, drop=0.02, double=0.02, swap=0.05)
        _, doubled = answered.by_key()
        delivered_twice = {event.key for event in answered.delivered if len(event.new) > 1}
        if any(key not in delivered_twice and not was_doubled(answered, key) for key in doubled):
            assert answered.alignment.outcome in (Outcome.REPAIRED, Outcome.AMBIGUOUS), f"seed {seed}"


def was_doubled(answered: Answered, key: int) -> bool:
    """Whether Discord itself gave an event of this key twice to the old side."""
    numbers = [event.number for event, _ in answered.found.everything_old if event.key == key]
    return len(numbers) > len(set(numbers))


def swapped_across_the_seal(make: Make) -> None:
    """Two neighbours in another order on each side: one accepted, the other not."""
    for distance in (5, 20, 50):
        stream = [
            Event(0, 0, 1_000, True, (SEAL - 900,), (SEAL - 900,)),
            Event(1, 0, 1_001, True, (SEAL + distance,), (SEAL - 50,)),
            Event(2, 0, 1_002, True, (SEAL - distance,), (SEAL - 40,)),
            Event(3, 0, 1_003, True, (SEAL + 200,), (SEAL + 200,)),
        ]
        answered = align(copies(stream), BOUNDS, make=make)
        assert [event.number for event in answered.delivered] == [1, 3]


def last_accepted_event_missed(make: Make) -> None:
    """The new session was not given the last accepted event, and the next has the same body."""
    for more in range(3):
        stream = [
            Event(0, 0, 1_000, True, (SEAL - 900,), (SEAL - 900,)),
            Event(1, 0, 1, False, (SEAL - 100,), ()),
            *(Event(2 + n, 0, 1, False, (SEAL + 50 * (n + 1),), (SEAL + 50 * n,)) for n in range(1 + more)),
            Event(9, 0, 1_001, True, (SEAL + 280,), (SEAL + 280,)),
        ]
        lost, _ = align(copies(stream), BOUNDS, make=make).by_key()
        assert not lost


def steady_repeats(make: Make) -> None:
    """Equal events at a steady pace: they fit in several places."""
    for seed in range(RUNS // 5):
        found = copies(random_stream(Random(seed), events=0, unique=0.0, keys=1, steady=200))
        for heard_at in (SEAL + 1, SEAL + 400):  # at once, where the old pod cannot say what followed the seal
            answered = align(found, BOUNDS, make=make, heard_at=heard_at, hears=heard_at > SEAL + 1)
            lost, doubled = answered.by_key()
            assert not lost, f"seed {seed}"
            assert doubled.total() <= len(answered.marked), f"seed {seed}"


def held_from_later_on(make: Make) -> None:
    """The new side holds nothing from before the middle of the old side's window."""
    for seed in range(RUNS):
        stream = random_stream(Random(seed), events=60, unique=0.0, keys=2)
        answered = align(copies(stream, held_since=16_000), BOUNDS, make=make, held_since=16_000)
        lost, doubled = answered.by_key()
        assert not lost
        assert doubled.total() <= len(answered.marked)


PROMISES: list[Callable[[Make], None]] = [
    in_order,
    without_any_id,
    steady_repeats,
    ids_survive_faults,
    doubles_are_marked_under_faults,
    swapped_across_the_seal,
    last_accepted_event_missed,
    held_from_later_on,
]


@pytest.mark.parametrize("promise", PROMISES, ids=lambda promise: promise.__name__)
def test_what_is_promised(promise: Callable[[Make], None]) -> None:
    promise(Real)


# --- The mutants ------------------------------------------------------------------------------------------------------


class SeenSet(ExactAlignment):
    def feed(self, event: Arrived) -> Sequence[Decision]:
        self.outcome = Outcome.COUNTED
        return (Decision.SKIP if event.key in {old.key for old in self._a} else Decision.DELIVER,)


class RightmostMatch(ExactAlignment):
    def _place_whole(self, now: int) -> list[Decision] | None:
        places = [place for place in self._places() if self._is_within(place)]
        return self._counted(places[-1]) if places else super()._place_whole(now)


class NoBackwardCheck(ExactAlignment):
    def _agree_backwards(self, i: int, j: int) -> bool:
        return True


class NothingFromAfterTheSeal(ExactAlignment):
    def learn(self, after: Iterable[WindowEvent], now: int) -> Sequence[Decision]:
        return super().learn((), now)


class HeldFromTheBeginning(ExactAlignment):
    """Takes it that what the old side has, the new side has too."""

    def __init__(self, evidence: Evidence) -> None:
        super().__init__(msgspec.structs.replace(evidence, held_since=0))


class NoTail(ExactAlignment):
    """The common event alone decides."""

    def _from_anchor(self, i: int, j: int, now: int) -> list[Decision] | None:
        if not self._seal_has_passed(now, 0):
            return None
        self.outcome = Outcome.ANCHORED
        return self._clean(j + 1)


class Impatient(ExactAlignment):
    """Places what has no id before the seal has certainly passed on the new side."""

    def _seal_has_passed(self, now: int, by: int) -> bool:
        return now > self._fence


@pytest.mark.parametrize(
    ("mutant", "broken"),
    [
        (SeenSet, [in_order, without_any_id]),
        (RightmostMatch, [steady_repeats]),
        (NoBackwardCheck, [swapped_across_the_seal, ids_survive_faults]),
        (NothingFromAfterTheSeal, [last_accepted_event_missed]),
        (HeldFromTheBeginning, [held_from_later_on]),
        (NoTail, [in_order]),
        (Impatient, [steady_repeats]),
    ],
    ids=lambda value: value.__name__ if isinstance(value, type) else "",
)
def test_each_mutant_breaks_a_promise(mutant: type[ExactAlignment], broken: list[Callable[[Make], None]]) -> None:
    for promise in broken:
        with pytest.raises(AssertionError):
            promise(mutant)


# --- Measuring --------------------------------------------------------------------------------------------------------


def stalled_guilds() -> tuple[list[Sent], Pace]:
    """One shard of the old side. Two of its guilds come 4 s late at the seal, one of them with constant bodies only.

    That one goes on at a steady pace until just after the stall begins, so that one more event would fit, too.
    """
    shard = (GUILDS[0] >> 22) % OLD.count
    constant, late, flowing = [guild for guild in GUILDS if (guild >> 22) % OLD.count == shard][:3]

    def old_delay(at: int) -> int:
        return 4_000 if at >= 13_000 else 100

    events = [Sent(at, constant, False, 0, old_delay(at), 150) for at in range(5_000, 13_200, 200)]
    events += [Sent(at, late, True, 0, old_delay(at), 150) for at in range(5_000, 22_000, 300)]
    events += [Sent(at, flowing, True, 0, 100, 150) for at in range(5_000, 22_000, 70)]
    events.sort(key=lambda event: event.at)
    return events, Pace(seals={0: 16_000, 1: 16_000}, acknowledged_after={})


def test_a_stall_of_some_guilds_is_seen_by_what_was_not_accepted() -> None:
    events, pace = stalled_guilds()
    outcome = run(events, pace)
    assert outcome.by_key(events)[0] == 0
    assert outcome.duplicates(marked=False) == set()


def test_without_the_stall_rule_events_are_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    def without(self: Overlap, **options: object) -> object:
        return measured(self, **{**options, "stall_rule": False})  # type: ignore[arg-type]

    measured = Overlap.measured
    monkeypatch.setattr(Overlap, "measured", without)
    events, pace = stalled_guilds()
    assert run(events, pace).by_key(events)[0] > 0


def a_toggler_among_others(seed: int, *, every: int) -> tuple[list[Event], list[Sample]]:
    """One pair of sessions, each in order: a guild with equal events at a steady pace, and messages of other guilds."""
    chance = Random(seed)
    times = [(at, True) for at in range(8_000 + chance.randrange(every), 24_000, every)]
    times += [(at, False) for at in range(8_000, 24_000, 20)]
    old = new = 0
    stream: list[Event] = []
    samples: list[Sample] = []
    for number, (at, toggles) in enumerate(sorted(times)):
        old, new = max(old, at + chance.randint(0, 500)), max(new, at + chance.randint(0, 500))
        if toggles:
            stream.append(Event(number, at, 7, False, (old,), (new,)))
        elif SINCE <= old < SEAL:
            samples.append(Sample(old, new - old))
    return stream, samples


def test_a_steady_toggler_is_placed_by_the_mean_lag() -> None:
    """Equal events at five a second fit in several places; other guilds of the same sessions tell the usual lag."""
    for seed in range(60):
        stream, samples = a_toggler_among_others(seed, every=200)
        found = copies(stream)
        measured = align(found, BOUNDS, make=Real, lags=LagProfile.of(samples))
        assert measured.by_key() == ({}, {}), f"seed {seed}"
        assert measured.alignment.outcome is Outcome.COUNTED
        unmeasured = align(found, BOUNDS, make=Real)
        assert unmeasured.alignment.outcome is Outcome.AMBIGUOUS
        assert not unmeasured.by_key()[0]


def test_a_mean_lag_decides_nothing_that_it_cannot_tell() -> None:
    """Where each guild is late in its own way, other guilds say little; then a duplicate is preferred."""
    for seed in range(200):
        chance = Random(seed)
        others = [Sample(at, chance.randint(0, 500) - chance.randint(0, 500)) for at in range(10_000, 20_000, 50)]
        stream = random_stream(chance, events=0, unique=0.0, keys=1, steady=200)
        answered = align(copies(stream), BOUNDS, make=Real, lags=LagProfile.of(others))
        lost, doubled = answered.by_key()
        assert not lost, f"seed {seed}"
        assert doubled.total() <= len(answered.marked), f"seed {seed}"


def test_a_long_stream_without_ids_is_placed_by_its_end() -> None:
    stream = random_stream(Random(1), events=0, unique=0.0, keys=5, steady=3, delay=100)
    found = copies(stream)
    assert len(found.accepted) > exact.LONGEST_WHOLE
    answered = align(found, Bounds(least=-350, most=350, stalled=-350), make=Real)
    assert answered.by_key() == ({}, {})
    assert HELD_SINCE < SINCE < SEAL
