"""What waits in a lane, in order, in memory and on disk.

    batches <- head <- backlog (on disk) <- tail <- accept

    in memory    all that waits is in *head*, and accepted events are appended to it
    spilled      *head* is on disk too, *backlog* is only there, and accepted events are appended to *tail* until they
                 are written in their turn; so the order holds. It ends when everything before the tail is delivered.

What is taken out of the head stands in ``batches`` until it is settled. The first of ``batches`` is the one in flight;
more than one there are only after a refusal.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterable, Iterator
from typing import Final

from shard_runtime.delivery.backlog import Backlog
from shard_runtime.delivery.batches import Batch
from shard_runtime.delivery.events import Event, Run
from shard_runtime.delivery.ledger import Ledger

AGED: Final = "older than forward.queue.maxAgeSeconds"


class LaneQueue:
    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._head: deque[Event] = deque()
        self._runs: deque[Run] = deque()
        """The end of the head, as it was accepted; empty while spilled."""
        self.backlog = Backlog()
        self.tail: deque[Event] = deque()
        self.spilled = False
        self.batches: deque[Batch] = deque()
        self.writing = False
        """Events of the lane are being written to disk; :attr:`written` is set when they are, or when that failed."""
        self.written = asyncio.Event()
        self.reading = asyncio.Lock()

    @property
    def head(self) -> deque[Event]:
        """What is sent next, one by one; see also :attr:`_runs`."""
        while self._runs:
            self._head.extend(self._runs.popleft().events())
        return self._head

    def holds(self, shard: int) -> bool:
        """Whether an event of *shard* is in flight or waits."""
        return any(event.session.shard == shard for event in self.events()) or any(
            session.shard == shard for session in self.backlog.sessions
        )

    def events(self) -> Iterator[Event]:
        """Everything that is in memory, in order."""
        for batch in self.batches:
            yield from batch.events
        yield from self.head
        yield from self.tail

    def oldest(self) -> float | None:
        """When the oldest event was accepted, on the monotonic clock."""
        return self.batches[0].accepted_at if self.batches else self.oldest_waiting()

    def oldest_waiting(self) -> float | None:
        """The same of what is not in flight."""
        if self._head:
            return self._head[0].accepted_at
        if self._runs:
            return self._runs[0].accepted_at
        if self.backlog.count:
            return self.backlog.oldest
        return self.tail[0].accepted_at if self.tail else None

    def unsaved_since(self) -> float | None:
        """When the oldest event was accepted that is only in memory, and not just being written."""
        if self.writing:
            return None
        if self.spilled:
            return self.tail[0].accepted_at if self.tail else None
        for batch in self.batches:
            if batch.runs:
                return batch.accepted_at
            if batch.events[-1].group is None:
                return next(event.accepted_at for event in batch.events if event.group is None)
        return self.oldest_waiting()

    def expire(self, before: float) -> None:
        """Drop what was queued earlier than *before*, is in memory and not in flight."""
        for queue in (self.head, self.tail) if not self.backlog.count else (self.head,):
            while queue and queue[0].accepted_at < before:
                self._ledger.drop(queue.popleft(), AGED)
            if queue:
                return

    def drop_oldest(self, reason: str) -> bool:
        """Drop the oldest event that is not in flight; False if there is none in memory that may be dropped before
        what is on disk."""
        if self.head:
            event = self.head.popleft()
        elif self.tail and not self.backlog.count:
            event = self.tail.popleft()
        else:
            return False
        self._ledger.drop(event, reason)
        return True

    # --- To disk and back

    def restore(self, begun: Iterable[Event], backlog: Backlog) -> None:
        """Begin with what an earlier life of the process left on disk; *begun* comes first."""
        self.head.extend(begun)
        self.backlog = backlog
        self.spilled = True

    def spill(self, most: int) -> list[Event]:
        """Begin to spill: the first *most* events of the head are about to be written, the rest goes to the tail."""
        first = list(self.head)
        self.head.clear()
        self.head.extend(first[:most])
        self.tail.extendleft(reversed(first[most:]))
        self.spilled = True
        return first[:most]

    def unspill(self) -> None:
        """Nothing is on disk only: everything is in memory again."""
        self.head.extend(self.tail)
        self.tail.clear()
        self.spilled = False

    # --- To a request

    def take_runs(self, most: int, room: int) -> list[Run]:
        """As many whole runs as *room* bytes allow, the last one cut after *most* events in all."""
        taken: list[Run] = []
        runs = self._runs
        while runs and most:
            run = runs[0]
            count = run.count
            room -= run.size + count * (len(run.session.marked_entry) + 1)
            if room < 0:
                break
            if count > most:
                taken.append(run.cut(most))
                break
            most -= count
            taken.append(runs.popleft())
        return taken
