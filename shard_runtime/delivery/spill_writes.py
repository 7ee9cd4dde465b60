"""What of the lanes goes into one transaction, and what becomes of it there.

A lane that begins to spill gives what is in flight and its head; one that has spilled gives its tail. Events go in
groups, which are removed as a whole when all are finished. While the transaction is under way its lanes go on, so
events may be finished, or dropped, before it is known whether the disk has them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from shard_runtime.delivery.backlog import Backlog
from shard_runtime.delivery.events import Event, Group, size_of
from shard_runtime.delivery.lanes import Lane
from shard_runtime.delivery.stored import encode_body, encode_summary, summarise
from shard_runtime.handover.keys import stream_of
from shard_runtime.ports import Clock, SpilledGroup

LARGEST_TRANSACTION: Final = 8 << 20
LARGEST_GROUP: Final = 1 << 20
KEPT_IN_MEMORY: Final = 2 << 20
"""Bytes of a lane's head that stay in memory when they are on disk."""


@dataclass(frozen=True, slots=True)
class Written:
    lane: Lane
    groups: list[tuple[Group, list[Event]]]


class Packing:
    """Takes events out of lanes, in numbered groups."""

    def __init__(self, *, batch_events: Callable[[], int], next_group: int, clock: Clock) -> None:
        """*batch_events*: of a request."""
        self._batch_events = batch_events
        self._next_group = next_group
        self._clock = clock

    def take(self, due: Iterable[Lane]) -> tuple[list[Written], int]:
        """Mark what is to be written, so that it can be told what becomes of it meanwhile."""
        room = LARGEST_TRANSACTION
        writes: list[Written] = []
        for lane in due:
            if room <= 0:
                break
            if lane.spilled:
                queue, in_flight = lane.tail, []
            else:
                queue = lane.head
                in_flight = [event for batch in lane.batches for event in batch.events if event.group is None]
            room -= sum(map(size_of, in_flight))
            waiting: list[Event] = []
            for event in queue:
                if room <= 0:
                    break
                waiting.append(event)
                room -= size_of(event)
            if not lane.spilled:
                lane.spill(len(waiting))
            lane.writing = True
            writes.append(Written(lane, [*self._grouped(in_flight), *self._grouped(waiting)]))
        return writes, LARGEST_TRANSACTION - room

    def _grouped(self, events: Sequence[Event]) -> Iterator[tuple[Group, list[Event]]]:
        most = self._batch_events()
        part: list[Event] = []
        size = 0
        for event in events:
            if part and (len(part) >= most or size >= LARGEST_GROUP):
                yield self._group(part)
                part, size = [], 0
            part.append(event)
            size += size_of(event)
        if part:
            yield self._group(part)

    def _group(self, events: list[Event]) -> tuple[Group, list[Event]]:
        group = Group(self._next_group, len(events))
        self._next_group += 1
        for event in events:
            event.group = group
            if not event.guild:
                event.guild = stream_of(event.name, event.payload)
            if event.session.delivered is None:
                event.session.delivered = event.session.watermark.copy()
        return group, events

    def on_disk(self, lane: Lane, group: Group, events: list[Event]) -> SpilledGroup:
        summary = summarise(events, self._unix)
        body = encode_body(events, self._unix)
        return SpilledGroup(id=group.id, lane=lane.number, summary=encode_summary(summary), body=body)

    def _unix(self, moment: float) -> int:
        return self._clock.unix_milliseconds() - round((self._clock.monotonic() - moment) * 1000)


def take_back(writes: Iterable[Written]) -> None:
    """The disk does not have them: they are in memory only."""
    for write in writes:
        for group, events in write.groups:
            for event in events:
                if event.group is group:
                    event.group = None
        if write.lane.spilled and not write.lane.backlog.count and not _saved(write.lane):
            write.lane.unspill()


def leave_memory(write: Written) -> None:
    """Let go of what is on disk now, but for the beginning of the lane."""
    lane = write.lane
    head, tail, backlog = lane.head, lane.tail, lane.backlog
    if tail and tail[0].group is not None:
        kept = sum(map(size_of, head))
        while tail and tail[0].group is not None:
            group = tail[0].group
            part = [tail.popleft()]
            while tail and tail[0].group is group:
                part.append(tail.popleft())
            kept += sum(map(size_of, part))
            # a group of which some are dropped already would come back whole
            if len(part) == group.count and (backlog.count or kept > KEPT_IN_MEMORY):
                _to_backlog(backlog, group, part)
            else:
                head.extend(part)
        return
    room = KEPT_IN_MEMORY
    keep = 0
    for _, events in write.groups:
        room -= sum(map(size_of, events))
        if room < 0:
            break
        keep += 1
    evicted: list[tuple[Group, list[Event]]] = []
    for group, events in reversed(write.groups[keep:]):
        if group.left < group.count or len(head) < len(events) or head[-len(events)] is not events[0]:
            break  # in flight, or begun
        for _ in events:
            head.pop()
        evicted.append((group, events))
    for group, events in reversed(evicted):
        _to_backlog(backlog, group, events)


def _to_backlog(backlog: Backlog, group: Group, events: list[Event]) -> None:
    if not backlog.count:
        backlog.after = group.id - 1
    backlog.add(events)


def _saved(lane: Lane) -> bool:
    return any(event.group is not None for event in lane.head)
