"""What must hold of every run, whatever happened in it, as far as the faults allow."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass

from discord_simulator.receipts import Received
from discord_simulator.truth import Truth


@dataclass(frozen=True, slots=True, kw_only=True)
class Copy:
    """A delivery of an event that was delivered before, without an excuse."""

    name: str
    stream: int
    made_at: int
    """Unix milliseconds, as all times here."""
    deliveries: tuple[tuple[str, int, int], ...]
    """(session, sequence, arrival) of all deliveries up to this one."""


def unexplained_duplicates(truth: Truth, received: Received) -> tuple[Copy, ...]:
    """Deliveries of an event that came before, without an excuse: neither with a key that came before (a redelivery,
    which a receiver that commits keys does not see) nor marked, now or then."""
    event_of = truth.event_of()
    marked = set(received.marked)
    deliveries: dict[int, list[tuple[str, int, int]]] = defaultdict(list)
    marked_events: set[int] = set()
    copies: list[Copy] = []
    for position, (index, sequence, at) in enumerate(
        zip(received.session, received.sequence, received.at, strict=True)
    ):
        session = received.sessions[index]
        event = event_of.get((session, sequence))
        if event is None:
            continue
        if position in marked:
            marked_events.add(event)
        before = deliveries[event]
        again = any((session, sequence) == earlier[:2] for earlier in before)
        excused = again or event in marked_events or not before
        before.append((session, sequence, at))
        if not excused:
            copies.append(_copy(truth, event, before))
    return tuple(copies)


def delivered_by(received: Received, generation: int) -> Received:
    """What the pods of *generation* delivered. Those of a later one may deliver what old sessions went on receiving,
    and then only the order within a guild is promised."""
    wanted = received.generations.index(str(generation)) if str(generation) in received.generations else -1
    rows = [row for row, number in enumerate(received.generation) if number == wanted]
    marked = set(received.marked)
    return Received(
        sessions=received.sessions,
        names=received.names,
        generations=received.generations,
        session=[received.session[row] for row in rows],
        sequence=[received.sequence[row] for row in rows],
        shard=[received.shard[row] for row in rows],
        name=[received.name[row] for row in rows],
        generation=[received.generation[row] for row in rows],
        marked=[place for place, row in enumerate(rows) if row in marked],
        at=[received.at[row] for row in rows],
    )


def _copy(truth: Truth, event: int, deliveries: list[tuple[str, int, int]]) -> Copy:
    return Copy(
        name=truth.name_of(event),
        stream=truth.stream_of(event),
        made_at=truth.made_at(event),
        deliveries=tuple(deliveries),
    )


def lost_by_name(truth: Truth, received: Received, *, without: frozenset[str]) -> Counter[str]:
    """How many events of each name were sent and not delivered; of events with equal bodies only their number counts,
    since nothing else can be told."""
    event_of = truth.event_of()
    wanted: Counter[tuple[str, int]] = Counter()
    got: Counter[tuple[str, int]] = Counter()

    def key(event: int) -> tuple[str, int]:
        return truth.name_of(event), truth.events.keys[event - truth.events.first] or -event

    for event in set(event_of.values()):
        wanted[key(event)] += 1
    for index, sequence in set(zip(received.session, received.sequence, strict=True)):
        delivered = event_of.get((received.sessions[index], sequence))
        if delivered is not None:
            got[key(delivered)] += 1
    lost: Counter[str] = Counter()
    for (name, body), count in wanted.items():
        if name not in without:
            lost[name] += max(0, count - got[name, body])
    return lost


def generations_going_back(truth: Truth, received: Received) -> Iterator[str]:
    """Whether a generation delivered an event of a guild for the first time after a later one had delivered of it."""
    event_of = truth.event_of()
    latest: dict[int, int] = {}
    seen: set[tuple[str, int]] = set()
    for index, sequence, number in zip(received.session, received.sequence, received.generation, strict=True):
        key = (received.sessions[index], sequence)
        event = event_of.get(key)
        if event is None or key in seen:
            continue
        seen.add(key)
        stream = truth.stream_of(event)
        generation = int(received.generations[number] or 0)
        if generation < latest.get(stream, 0):
            yield f"one active generation: generation {generation} delivered after {latest[stream]} had: {key}"
            return
        latest[stream] = generation
