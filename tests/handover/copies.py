"""One stream and its two copies, as an alignment sees them, with the truth beside them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from random import Random

from hypothesis import strategies as st

from shard_runtime.contract import WindowEvent
from shard_runtime.handover.alignment import Alignment, Arrived, Decision, Evidence
from shard_runtime.handover.lags import Bounds
from shard_runtime.handover.streams import StreamAlignment
from shard_runtime.handover.window import AFTER_MILLISECONDS

SEAL = 20_000
SINCE = 10_000
HELD_SINCE = 9_000
END = 24_000
LONG_AFTER = 200_000


@dataclass(frozen=True)
class Event:
    """One event of the stream. Times are milliseconds; *old* and *new* are when its copies arrive."""

    number: int
    at: int
    key: int
    unique: bool
    old: tuple[int, ...]
    """Arrivals at the old session: one, none where Discord does not give it, two where it gives it twice."""
    new: tuple[int, ...]


@dataclass(frozen=True)
class Copies:
    """What the two sides have of the stream, in the order of arrival: (event, arrival)."""

    accepted: list[tuple[Event, int]]
    after: list[tuple[Event, int]]
    held: list[tuple[Event, int]]
    everything_old: list[tuple[Event, int]]


def copies(stream: Sequence[Event], *, since: int = SINCE, held_since: int = HELD_SINCE, seal: int = SEAL) -> Copies:
    old = sorted(((event, at) for event in stream for at in event.old), key=lambda copy: copy[1])
    new = sorted(((event, at) for event in stream for at in event.new), key=lambda copy: copy[1])
    return Copies(
        accepted=[copy for copy in old if since <= copy[1] < seal],
        after=[copy for copy in old if seal <= copy[1] <= seal + AFTER_MILLISECONDS],
        held=[copy for copy in new if copy[1] >= held_since],
        everything_old=[copy for copy in old if copy[1] < seal],
    )


def lag_bounds(stream: Sequence[Event], *, wider: int = 0) -> Bounds:
    """True for every event of *stream*."""
    lags = [new - old for event in stream for new in event.new for old in event.old] or [0]
    return Bounds(
        least=min(lags) - wider, most=max(lags) + wider, stalled=min(lags) - wider, mean=sum(lags) / len(lags)
    )


def recorded(found: Sequence[tuple[Event, int]]) -> list[WindowEvent]:
    return [WindowEvent(key=event.key, arrival=at, unique=event.unique) for event, at in found]


@dataclass
class Answered:
    """What an alignment made of the held events."""

    found: Copies
    decisions: list[Decision]
    alignment: Alignment
    decided_at: list[int]
    """When each answer came, on the new side's clock."""

    @property
    def delivered(self) -> list[Event]:
        return [event for (event, _), d in zip(self.found.held, self.decisions, strict=True) if d is not Decision.SKIP]

    @property
    def marked(self) -> list[Event]:
        return [
            event for (event, _), d in zip(self.found.held, self.decisions, strict=True) if d is Decision.DELIVER_MARKED
        ]

    def by_key(self) -> tuple[Counter[int], Counter[int]]:
        """(lost, duplicated): of the events that the new side received, by key."""
        received = Counter(event.key for event, _ in self.found.held)
        had = Counter(event.key for event, _ in self.found.everything_old)
        got = had + Counter(event.key for event in self.delivered)
        everything = {event for event, _ in (*self.found.held, *self.found.everything_old)}
        there_are = Counter(event.key for event in everything)
        lost = Counter({key: there_are[key] - got[key] for key in received if got[key] < there_are[key]})
        return lost, Counter({key: got[key] - there_are[key] for key in received if got[key] > there_are[key]})


def align(
    found: Copies,
    bounds: Bounds,
    *,
    make: Callable[[Evidence], Alignment] = StreamAlignment,
    since: int = SINCE,
    held_since: int = HELD_SINCE,
    seal: int = SEAL,
    heard_at: int | None = None,
    hears: bool = True,
    pauses: Sequence[int] = (),
    released_at: int | None = None,
    **fields: object,
) -> Answered:
    """Play the held events to an alignment; *pauses* are more moments at which it is told the time. What came until
    *released_at* it gets then, at once."""
    evidence = Evidence(
        sealed_at=seal,
        recorded_since=since,
        events=recorded(found.accepted),
        held_since=held_since,
        bounds=bounds,
        **fields,  # type: ignore[arg-type]
    )
    alignment = make(evidence)
    decisions: list[Decision] = []
    decided_at: list[int] = []
    events = [Arrived(key=event.key, unique=event.unique, arrival=at, earliest=at) for event, at in found.held]
    at_once = [event for event in events if released_at is not None and event.arrival <= released_at]
    if at_once:
        assert released_at is not None
        decisions += alignment.feed_many(at_once)
        decided_at += [released_at] * len(decisions)
    moments: list[tuple[int, int, Arrived | None]] = [(event.arrival, 1, event) for event in events[len(at_once) :]]
    heard = seal + AFTER_MILLISECONDS + 50 if heard_at is None else heard_at
    moments.append((heard, 0, None))
    moments += [(at, 2, None) for at in (*pauses, LONG_AFTER)]
    for at, kind, arrived in sorted(moments, key=lambda moment: moment[:2]):
        if arrived is not None:
            answers = alignment.feed(arrived)
        elif kind == 0:
            answers = alignment.learn(recorded(found.after) if hears else (), at)
        else:
            answers = alignment.pass_time(at)
        decisions += answers
        decided_at += [at] * len(answers)
    undecided = len(found.held) - len(decisions)
    # what an alignment holds for ever is the old side's: see OldPod.close
    decisions += [Decision.SKIP] * undecided
    decided_at += [LONG_AFTER] * undecided
    return Answered(found, decisions, alignment, decided_at)


# --- Streams ----------------------------------------------------------------------------------------------------------


@st.composite
def streams(
    draw: st.DrawFn,
    *,
    unique: bool = True,
    old_delay: int = 500,
    new_delay: int = 500,
    skew: int = 100,
    most: int = 40,
    keys: int = 3,
    around: int = 1_500,
) -> list[Event]:
    """A stream that both sessions get once and in order."""
    near = st.integers(SEAL - around, SEAL + around)
    times = sorted(draw(st.lists(st.one_of(st.integers(0, END), near, near), max_size=most)))
    burst = draw(st.integers(0, 3))
    offset = draw(st.integers(-skew, skew))
    events: list[Event] = []
    old_last = new_last = 0
    for number, at in enumerate(times):
        if burst and number % 7 < 2 * burst and events:
            at = events[-1].at  # many in one read, with equal times
        old_last = max(old_last, at + draw(st.integers(0, old_delay)))
        new_last = max(new_last, at + draw(st.integers(0, new_delay)) + offset)
        is_unique = unique and draw(st.integers(0, 3)) == 0
        key = 1_000 + number if is_unique else draw(st.integers(1, keys))
        events.append(Event(number, at, key, is_unique, (old_last,), (new_last,)))
    return events


@st.composite
def with_common(
    draw: st.DrawFn, stream: st.SearchStrategy[list[Event]], *, since: int = SINCE, held_since: int = HELD_SINCE
) -> list[Event]:
    """*stream*, with an event with an id that the old side accepted and the new side has."""
    events = draw(stream)
    both = [event for event in events if since <= event.old[0] < SEAL and event.new[0] >= held_since]
    if not both:
        event = Event(-1, 0, 999, True, (SEAL - 8_000,), (SEAL - 8_000,))
        return [event, *(later for later in events if later.old[0] >= SEAL - 8_000 and later.new[0] >= SEAL - 8_000)]
    chosen = draw(st.sampled_from(both))
    return [replace(event, key=999, unique=True) if event is chosen else event for event in events]


def random_stream(
    chance: Random,
    *,
    events: int,
    unique: float = 0.3,
    keys: int = 3,
    drop: float = 0.0,
    double: float = 0.0,
    swap: float = 0.0,
    delay: int = 500,
    steady: int | None = None,
) -> list[Event]:
    """A stream with Discord's faults: to either session an event comes zero or two times, or swapped with the next.

    *steady*: an event every so many milliseconds, instead of at random.
    """
    times = sorted(
        chance.randint(SEAL - 2_500, SEAL + 2_000) if chance.random() < 0.6 else chance.randint(8_000, END)
        for _ in range(events)
    )
    if steady is not None:
        times = list(range(8_000 + chance.randrange(steady), END, steady))
    sides: list[list[tuple[int, ...]]] = []
    for _ in range(2):
        last, arrivals = 0, []
        for at in times:
            last = max(last, at + chance.randint(0, delay))
            arrivals.append(last)
        for number in range(len(arrivals) - 1):
            if chance.random() < swap and arrivals[number + 1] - arrivals[number] <= 50:
                arrivals[number], arrivals[number + 1] = arrivals[number + 1], arrivals[number]
        copies_: list[tuple[int, ...]] = []
        for at in arrivals:
            fate = chance.random()
            copies_.append(() if fate < drop else (at, at) if fate < drop + double else (at,))
        sides.append(copies_)
    stream = []
    for number, (at, old, new) in enumerate(zip(times, *sides, strict=True)):
        is_unique = chance.random() < unique
        key = 1_000 + number if is_unique else 1 + chance.randrange(keys)
        stream.append(Event(number, at, key, is_unique, old, new))
    return stream
