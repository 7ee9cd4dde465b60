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

import asyncio
import logging
from collections.abc import Callable, Iterable
from typing import Final

from shard_runtime.delivery.lane_sets import LaneSet
from shard_runtime.delivery.lanes import Lane
from shard_runtime.delivery.ledger import Ledger
from shard_runtime.delivery.read_back import UNREADABLE, ReadBack
from shard_runtime.delivery.spill_writes import LARGEST_TRANSACTION, Packing, Written, leave_memory, take_back
from shard_runtime.delivery.stored import (
    RUNS_KEPT,
    StoredSession,
    encode_session,
)
from shard_runtime.ports import Clock, Spill, SpillError, SpillTransaction

UNACKNOWLEDGED_SECONDS: Final = 1.0
ACKNOWLEDGED_SECONDS: Final = 0.25
"""How long acknowledgements of what is on disk may wait to be written down."""
FIRST_RETRY: Final = 1.0
LONGEST_RETRY: Final = 30.0

SESSION_NOTE: Final = "session:"


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
        self._packing = Packing(batch_events=batch_events, next_group=next_group, clock=clock)
        self._clock = clock
        self._log = log
        self._writing = asyncio.Lock()
        """Held from what is due to what became of it: what a session's note says includes all that is on disk."""
        self._committed_at = float("-inf")
        self._retry_at = float("-inf")
        self._failures = 0
        self._orphans: list[int] = []
        """Groups that are not wanted, and of which it is not known whether they are on disk."""
        self._unnoted: set[str] = set()
        """Sessions with a note that says nothing any more."""
        self.notes: dict[str, bytes | None] = {}
        """Further notes, which go with the next transaction."""
        self.write_problem: str | None = None
        """Why nothing is written at the moment, as a sentence."""
        self.written = 0
        """Events written since the start."""
        self._back = ReadBack(
            store=store,
            ledger=ledger,
            batch_events=batch_events,
            give_up=self._give_up,
            clock=clock,
            log=log,
        )
        self.fill = self._back.fill
        self.owed = self._back.owed

    @property
    def problem(self) -> str | None:
        """Why the disk does not take events or does not give them at the moment, as a sentence."""
        return self.write_problem or self._back.problem

    # --- To disk ------------------------------------------------------------------------------------------------------

    async def turn(self) -> bool:
        """Write what is due, to be called a few times a second while anything is owed; whether more is due at once."""
        async with self._writing:
            now = self._clock.monotonic()
            if now < self._retry_at:
                return False
            due = self._due(now)
            if not due and not (self.has_news() and now - self._committed_at >= ACKNOWLEDGED_SECONDS):
                return False
            written = await self._write(due)
            return written >= LARGEST_TRANSACTION and self.write_problem is None

    async def save(self) -> None:
        """Write everything that is only in memory, as far as the disk takes it."""
        async with self._writing:
            while unsaved := [lane for lanes in self._sets() for lane in lanes if lane.unsaved_since() is not None]:
                await self._write(unsaved)
                if self.write_problem is not None:
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
        writes, size = self._packing.take(due)
        ledger = self._ledger
        remove, ledger.finished_groups = ledger.finished_groups, []
        skip, ledger.progress = ledger.progress, {}
        orphans, self._orphans = self._orphans, []
        notes, self.notes = self.notes, {}
        unnoted, self._unnoted = self._unnoted, set()
        gone, ledger.gone = ledger.gone, []
        stores, done = self._back.stores, False
        try:
            transaction = SpillTransaction(
                add=[self._packing.on_disk(write.lane, *pair) for write in writes for pair in write.groups],
                remove=[*remove, *orphans],
                skip=skip,
                notes={**notes, **self._session_notes(writes, over=[*unnoted, *gone])},
                durable=bool(writes),
            )
            await self._store.commit(transaction)
            done = stores == self._back.stores  # else it is where nobody will look for it
        except SpillError as error:
            self._failed(error)
        finally:
            if not done:
                ledger.finished_groups[:0] = remove
                ledger.progress = {**skip, **ledger.progress}
                for number in remove:
                    ledger.progress.pop(number, None)
                self.notes = {**notes, **self.notes}
                self._unnoted |= unnoted
                ledger.gone[:0] = gone
                self._orphans += [*orphans, *(group.id for write in writes for group, _ in write.groups)]
                take_back(writes)
            for write in writes:
                write.lane.writing = False
                write.lane.written.set()
        if done:
            self._succeeded(writes)
        return size

    def _session_notes(self, writes: Iterable[Written], *, over: Iterable[str]) -> dict[str, bytes | None]:
        """How far each session will be done with when *writes* are on disk, and none of those that are *over*."""
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
        for session_id in over:
            notes.setdefault(SESSION_NOTE + session_id, None)
        return notes

    def _succeeded(self, writes: Iterable[Written]) -> None:
        self._committed_at = self._clock.monotonic()
        if self.write_problem is not None:
            self._log(logging.INFO, "The store for queued events works again.")
        self.write_problem = None
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
            leave_memory(write)
        self._tidy_sessions()

    def _tidy_sessions(self) -> None:
        """A session of which nothing is on disk any more has one watermark again, and needs no note."""
        for session in self._ledger.sessions.values():
            if session.delivered is None or session.stored or (session.overstated and session.queued):
                continue
            session.delivered = None
            session.overstated = False
            self._unnoted.add(session.id)

    def _failed(self, error: SpillError) -> None:
        self._failures += 1
        now = self._clock.monotonic()
        self._retry_at = now + min(FIRST_RETRY * 2 ** (self._failures - 1), LONGEST_RETRY)
        if self.write_problem is None:
            self._log(
                logging.ERROR,
                f"The store for queued events {error}. Delivery goes on from memory, and what is there is lost "
                "if the pod dies before it is delivered.",
            )
        self.write_problem = f"The store for queued events {error}."
        if error.damaged:
            self._start_over()

    def _give_up(self, error: SpillError) -> None:
        self._failed(error)
        if not error.damaged:
            self._start_over()

    def _start_over(self) -> None:
        """The store is of no use: give up what is only there, and begin another one."""
        self._back.store_given_up()
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


def _first_accepted(lane: Lane) -> float:
    since = lane.unsaved_since()
    return since if since is not None else float("inf")
