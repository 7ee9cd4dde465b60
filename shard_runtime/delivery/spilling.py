"""When and what of the queue goes to disk, and how it comes back.

An event that is only in memory dies with the process, and then only Discord's replay buffer has it. So what is not
acknowledged within a second, or lies deeper than a quarter of the buffer, is written: what is in flight and the head of
its lane first, and from then on all that follows, until the lane is drained. One transaction at a time, with everything
that is due, so that one fsync serves all lanes; it also holds how far each session is done with, so that after a
restart the disk and the resumed session fit together without a gap or an overlap.

Where the disk fails, the delivery goes on from memory, under the queue's bounds, and writing is tried again. What the
disk took and cannot give back is dropped and counted.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from shard_runtime.delivery.backlog import Backlog
from shard_runtime.delivery.events import Event, Group, Session, size_of
from shard_runtime.delivery.lane_sets import LaneSet
from shard_runtime.delivery.lanes import Lane
from shard_runtime.delivery.ledger import Ledger
from shard_runtime.delivery.stored import (
    RUNS_KEPT,
    StoredSession,
    UnreadableGroupError,
    decode_body,
    decode_summary,
    encode_body,
    encode_session,
    encode_summary,
    summarise,
)
from shard_runtime.handover.keys import stream_of
from shard_runtime.ports import Clock, Spill, SpilledGroup, SpillError, SpillTransaction

UNACKNOWLEDGED_SECONDS: Final = 1.0
ACKNOWLEDGED_SECONDS: Final = 0.25
"""How long acknowledgements of what is on disk may wait to be written down."""
LARGEST_TRANSACTION: Final = 8 << 20
LARGEST_GROUP: Final = 1 << 20
KEPT_IN_MEMORY: Final = 2 << 20
"""Bytes of a lane's head that stay in memory when they are on disk."""
READ_AHEAD: Final = 1 << 20
FIRST_RETRY: Final = 1.0
LONGEST_RETRY: Final = 30.0
READ_PATIENCE: Final = 60.0
"""Seconds after which events that the disk does not give back are given up."""

UNREADABLE: Final = "unreadable on disk"
SESSION_NOTE: Final = "session:"


@dataclass(frozen=True, slots=True)
class _Written:
    lane: Lane
    groups: list[tuple[Group, list[Event]]]


class Spiller:
    """The way to disk and back of all lanes of a worker."""

    def __init__(
        self,
        *,
        store: Spill,
        ledger: Ledger,
        sets: Callable[[], Iterable[LaneSet]],
        replay_events: Callable[[int], int],
        batch_events: Callable[[], int],
        next_group: int,
        clock: Clock,
        log: Callable[..., None],
    ) -> None:
        """*replay_events*: of a shard, how many events Discord keeps for a resume; *batch_events*: of a request."""
        self._store = store
        self._ledger = ledger
        self._sets = sets
        self._replay_events = replay_events
        self._batch_events = batch_events
        self._next_group = next_group
        self._clock = clock
        self._log = log
        self._committed_at = float("-inf")
        self._retry_at = float("-inf")
        self._failures = 0
        self._read_failed_at: float | None = None
        self._stores = 0
        """How many stores were given up."""
        self._orphans: list[int] = []
        """Groups that are not wanted, and of which it is not known whether they are on disk."""
        self._unnoted: set[str] = set()
        """Sessions with a note that says nothing any more."""
        self.notes: dict[str, bytes | None] = {}
        """Further notes, which go with the next transaction."""
        self.problem: str | None = None
        """Why the disk is not used at the moment, as a sentence."""
        self.written = 0
        """Events written since the start."""

    # --- To disk ------------------------------------------------------------------------------------------------------

    async def turn(self) -> bool:
        """Write what is due, to be called a few times a second while anything is owed; whether more is due at once."""
        now = self._clock.monotonic()
        if now < self._retry_at:
            return False
        due = self._due(now)
        if not due and not (self.has_news() and now - self._committed_at >= ACKNOWLEDGED_SECONDS):
            return False
        written = await self._write(due)
        return written >= LARGEST_TRANSACTION and self.problem is None

    async def save(self) -> None:
        """Write everything that is only in memory, as far as the disk takes it."""
        while unsaved := [lane for lanes in self._sets() for lane in lanes if lane.unsaved_since() is not None]:
            await self._write(unsaved)
            if self.problem is not None:
                return
        if self.has_news():
            await self._write([])

    def _due(self, now: float) -> list[Lane]:
        deep = {
            session.shard
            for session in self._ledger.sessions.values()
            if session.queued - session.stored > self._replay_events(session.shard) // 4
        }
        before = now - UNACKNOWLEDGED_SECONDS
        due: list[Lane] = []
        for lanes in reversed(list(self._sets())):
            # What came before a change of the lanes is written no later than what came after it: after a restart a
            # resume brings what is not on disk, and that would come behind what is.
            followed = bool(due)
            for lane in lanes:
                since = lane.unsaved_since()
                if since is not None and (
                    followed or since <= before or any(lanes.uses(lane, shard) for shard in deep)
                ):
                    due.append(lane)
        return sorted(due, key=_first_accepted)

    def has_news(self) -> bool:
        """Whether the disk does not know all yet that it is told without being asked."""
        ledger = self._ledger
        return bool(
            ledger.finished_groups or ledger.progress or ledger.gone or self._orphans or self._unnoted or self.notes
        )

    async def _write(self, due: Iterable[Lane]) -> int:
        """One transaction with what *due* lanes have only in memory, and what is finished of what is on disk.

        Returns how many bytes of events it was asked to take.
        """
        writes, size = self._take(due)
        ledger = self._ledger
        remove, ledger.finished_groups = ledger.finished_groups, []
        skip, ledger.progress = ledger.progress, {}
        orphans, self._orphans = self._orphans, []
        notes, self.notes = self.notes, {}
        sessions = self._session_notes(writes)
        transaction = SpillTransaction(
            add=[self._on_disk(write.lane, *pair) for write in writes for pair in write.groups],
            remove=[*remove, *orphans],
            skip=skip,
            notes={**notes, **sessions},
            durable=bool(writes),
        )
        done = False
        try:
            await self._store.commit(transaction)
            done = True
        except SpillError as error:
            self._failed(error)
        finally:
            if not done:
                ledger.finished_groups[:0] = remove
                ledger.progress = {**skip, **ledger.progress}
                for number in remove:
                    ledger.progress.pop(number, None)
                self.notes = {**notes, **self.notes}
                self._orphans += [*orphans, *(group.id for write in writes for group, _ in write.groups)]
                self._take_back(writes)
            for write in writes:
                write.lane.writing = False
                write.lane.written.set()
        if done:
            self._succeeded(writes)
        return size

    def _take(self, due: Iterable[Lane]) -> tuple[list[_Written], int]:
        """Mark what is to be written, so that it can be told what becomes of it meanwhile."""
        room = LARGEST_TRANSACTION
        writes: list[_Written] = []
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
            writes.append(_Written(lane, [*self._grouped(in_flight), *self._grouped(waiting)]))
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

    def _on_disk(self, lane: Lane, group: Group, events: list[Event]) -> SpilledGroup:
        summary = summarise(events, self._unix)
        body = encode_body(events, self._unix)
        return SpilledGroup(id=group.id, lane=lane.number, summary=encode_summary(summary), body=body)

    def _session_notes(self, writes: Iterable[_Written]) -> dict[str, bytes | None]:
        """How far each session will be done with when *writes* are on disk."""
        watermarks = {}
        for write in writes:
            for _, events in write.groups:
                for event in events:
                    session = event.session
                    if session not in watermarks:
                        watermarks[session] = session.watermark.copy()
                    watermarks[session].finish(event.sequence)
        notes: dict[str, bytes | None] = {
            SESSION_NOTE + session.id: encode_session(StoredSession(session.shard, watermark.export(RUNS_KEPT)))
            for session, watermark in watermarks.items()
        }
        for session_id in (*self._unnoted, *self._ledger.gone):
            notes.setdefault(SESSION_NOTE + session_id, None)
        self._unnoted.clear()
        self._ledger.gone.clear()
        return notes

    def _take_back(self, writes: Iterable[_Written]) -> None:
        for write in writes:
            for group, events in write.groups:
                for event in events:
                    if event.group is group:
                        event.group = None
            if write.lane.spilled and not write.lane.backlog.count and not _saved(write.lane):
                write.lane.unspill()

    def _succeeded(self, writes: Iterable[_Written]) -> None:
        self._committed_at = self._clock.monotonic()
        if self.problem is not None:
            self._log(logging.INFO, "The store for queued events works again.")
        self.problem = None
        self._failures = 0
        for write in writes:
            for group, events in write.groups:
                group.committed = True
                self.written += len(events)
                for event in events:
                    session = event.session
                    session.watermark.finish(event.sequence)
                    if event.group is group:
                        session.stored += 1
                        self._ledger.stored += 1
                self._ledger.note_progress(group)
            self._leave_memory(write)
        self._tidy_sessions()

    def _tidy_sessions(self) -> None:
        """A session of which nothing is on disk any more has one watermark again, and needs no note."""
        for session in self._ledger.sessions.values():
            if session.delivered is None or session.stored or (session.overstated and session.queued):
                continue
            session.delivered = None
            session.overstated = False
            self._unnoted.add(session.id)

    @staticmethod
    def _leave_memory(write: _Written) -> None:
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

    def _failed(self, error: SpillError) -> None:
        self._failures += 1
        now = self._clock.monotonic()
        self._retry_at = now + min(FIRST_RETRY * 2 ** (self._failures - 1), LONGEST_RETRY)
        if self.problem is None:
            self._log(
                logging.ERROR,
                f"The store for queued events {error}. Delivery goes on from memory, and what is there is lost "
                "if the pod dies before it is delivered.",
            )
        self.problem = f"The store for queued events {error}."
        if error.damaged:
            self._start_over()

    # --- Back ---------------------------------------------------------------------------------------------------------

    async def fill(self, lane: Lane) -> None:
        """Read what comes next in *lane*, or wait a while where the disk does not give it."""
        async with lane.reading:
            backlog = lane.backlog
            if not backlog.count or len(lane.head) >= self._batch_events():
                return
            store = self._stores
            try:
                groups = await self._store.read(lane.number, after=backlog.after, size=READ_AHEAD)
            except SpillError as error:
                if store == self._stores:
                    await self._read_failed(error)
                return
            if store != self._stores:
                return  # given up meanwhile
            self._read_failed_at = None
            if not groups:  # somebody else's hand
                self._lose(backlog.rest(), "fewer events than were written")
            for found in groups:
                self._read(lane, found)

    def _read(self, lane: Lane, found: SpilledGroup) -> None:
        group = Group(found.id, 0, committed=True)
        backlog = lane.backlog
        backlog.after = found.id
        try:
            summary = decode_summary(found.summary)
        except UnreadableGroupError:
            return  # it is counted when the lane turns out to have less than it should
        try:
            events = decode_body(
                found.body, group, lambda name: self._session(name, summary.sessions[name][0]), self._monotonic
            )
        except (UnreadableGroupError, KeyError) as error:
            self._lose(backlog.part(summary, self._session), str(error))
            self._ledger.finished_groups.append(found.id)
            return
        group.count = group.left = len(events)
        backlog.take(events)
        lane.head.extend(self.owed(events))

    def owed(self, events: list[Event]) -> list[Event]:
        """Of *events* from disk those that are owed; the others are settled.

        Sessions are saved on their own, so a kill can leave an acknowledgement there that the disk did not hear of.
        """
        if all(event.sequence > event.session.settled_until for event in events):
            return events
        owed: list[Event] = []
        settled: list[Event] = []
        for event in events:
            if event.sequence > event.session.settled_until:
                owed.append(event)
                continue
            settled.append(event)
            if owed and event.group is not None:
                event.group.ordered = False
        self._ledger.settle(settled)
        return owed

    async def _read_failed(self, error: SpillError) -> None:
        now = self._clock.monotonic()
        if self._read_failed_at is None:
            self._read_failed_at = now
        if error.damaged or now - self._read_failed_at >= READ_PATIENCE:
            self._read_failed_at = None
            self._failed(error)
            if not error.damaged:
                self._start_over()
            return
        if self.problem is None:
            self._log(logging.ERROR, f"The store for queued events {error}. Its events wait.")
        self.problem = f"The store for queued events {error}."
        await self._clock.sleep(FIRST_RETRY)

    def _start_over(self) -> None:
        """The store is of no use: give up what is only there, and begin another one."""
        self._stores += 1
        lost = 0
        for session in self._ledger.sessions.values():
            session.overstated = session.overstated or session.stored > 0
        for lanes in self._sets():
            for lane in lanes:
                rest = lane.backlog.rest()
                lost += rest.count
                self._ledger.lose(rest, UNREADABLE)
                for event in lane.events():
                    if event.group is not None:
                        if event.group.committed:
                            event.session.stored -= 1
                            self._ledger.stored -= 1
                        event.group = None
                lane.unspill()
        self._ledger.finished_groups.clear()
        self._ledger.progress.clear()
        self._orphans.clear()
        try:
            where = self._store.set_aside()
        except SpillError as error:
            self._log(logging.ERROR, f"The store for queued events {error}, and no other can be begun.")
            return
        self._retry_at = float("-inf")
        self._log(
            logging.ERROR,
            f"The store for queued events is kept as {where}; {lost} events that only it had are dropped "
            "and counted, and a new one is begun.",
        )

    def _lose(self, backlog: Backlog, problem: str) -> None:
        if backlog.count:
            self._log(logging.ERROR, f"{backlog.count} queued events on disk are lost and counted: {problem}.")
            self._ledger.lose(backlog, UNREADABLE)

    def _session(self, session_id: str, shard: int) -> Session:
        session = self._ledger.session_for(session_id, 1)
        if session.shard < 0:
            session.bind(shard)
        return session

    # --- Time ---------------------------------------------------------------------------------------------------------

    def _unix(self, moment: float) -> int:
        return self._clock.unix_milliseconds() - round((self._clock.monotonic() - moment) * 1000)

    def _monotonic(self, unix_milliseconds: int) -> float:
        return self._clock.monotonic() - (self._clock.unix_milliseconds() - unix_milliseconds) / 1000


def _to_backlog(backlog: Backlog, group: Group, events: list[Event]) -> None:
    if not backlog.count:
        backlog.after = group.id - 1
    backlog.add(events)


def _saved(lane: Lane) -> bool:
    return any(event.group is not None for event in lane.head)


def _first_accepted(lane: Lane) -> float:
    since = lane.unsaved_since()
    return since if since is not None else float("inf")
