"""A lane: events in order, one request in flight.

    batches <- head <- backlog (on disk) <- tail <- accept

    in memory    all that waits is in *head*, and accepted events are appended to it
    spilled      *head* is on disk too, *backlog* is only there, and accepted events are appended to *tail* until they
                 are written in their turn; so the order holds. It ends when everything before the tail is delivered.

    head -> batch -> request -> acknowledged -> the next batch
                        ^   |
                        +---+ not acknowledged: the same batch after a pause, for as long as it takes
                            | refused (400, 413, 422): two halves in its place, down to one payload alone

What is taken out of the head stands in ``batches`` until it is settled, so a lane whose task failed goes on with the
same batch. The first of ``batches`` is the one in flight; more than one there are only after a refusal.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping
from typing import Final

from shard_runtime import contract
from shard_runtime.delivery.answers import Outcome, Verdict
from shard_runtime.delivery.backlog import Backlog
from shard_runtime.delivery.batches import Batch, halve, make_batch, make_batch_of_runs
from shard_runtime.delivery.company import Company
from shard_runtime.delivery.dead_letters import REFUSED_TRIES, DeadLetters
from shard_runtime.delivery.events import Event, Run
from shard_runtime.delivery.ledger import Ledger
from shard_runtime.delivery.meter import DeliveryMeter
from shard_runtime.delivery.receiver import Receiver
from shard_runtime.ports import Chance, Clock

FIRST_RETRY: Final = 0.1
LONGEST_RETRY: Final = 5.0
"""Seconds; the pause before a retry is drawn between 0 and a bound that doubles from the one to the other."""

AGED: Final = "older than forward.queue.maxAgeSeconds"


class Outlet:
    """What the lanes of a worker share."""

    def __init__(
        self,
        *,
        forward: contract.ForwardConfig,
        headers: Mapping[str, str],
        receiver: Receiver,
        ledger: Ledger,
        dead_letters: DeadLetters,
        clock: Clock,
        chance: Chance,
        log: Callable[..., None],
        settled: Callable[[], None],
        busy: Callable[[], None],
        fill: Callable[[Lane], Awaitable[None]],
        fill_soon: Callable[[Lane], None],
    ) -> None:
        self.forward = forward
        self.headers = headers
        self.receiver = receiver
        self.ledger = ledger
        self.dead_letters = dead_letters
        self.clock = clock
        self.chance = chance
        self.log = log
        self.settled = settled
        """Called when events left the queue."""
        self.busy = busy
        """Called when something is owed."""
        self.fill = fill
        """Reads from disk what comes next in a lane."""
        self.fill_soon = fill_soon
        """The same while a batch is in flight, so that the lane need not wait."""
        self.hurry = False
        """Whether somebody waits for the queue to be empty, so that no lane waits for company."""
        self.retried = 0
        self.requests = 0
        self.meter = DeliveryMeter()


class Lane:
    def __init__(self, outlet: Outlet, *, number: int, ends_when_empty: bool = False) -> None:
        """*number* is the lane's on disk. One that *ends_when_empty* is not to be used any more when :meth:`run` has
        returned."""
        self.number = number
        self._head: deque[Event] = deque()
        self._runs: deque[Run] = deque()
        """The end of the head, as it was accepted; empty while spilled."""
        self.backlog = Backlog()
        self.tail: deque[Event] = deque()
        self.spilled = False
        self.batches: deque[Batch] = deque()
        self.idle = False
        """Waits for an event; whoever appends one then calls :meth:`wake`."""
        self.writing = False
        """Events of the lane are being written to disk; :attr:`written` is set when they are, or when that failed."""
        self.written = asyncio.Event()
        self.reading = asyncio.Lock()
        self._ends_when_empty = ends_when_empty
        self._outlet = outlet
        self._wakened = asyncio.Event()
        self._company = Company()
        self._lacking: int | None = None
        """While it waits for company, events that a full batch lacks."""
        self._closing = False
        self._ended_at = float("-inf")
        self._failures = 0
        self._refusals = 0

    def wake(self) -> None:
        """Look at what is to be done, and wait for nothing."""
        self.idle = False
        self._lacking = None
        self._wakened.set()

    def close(self) -> None:
        """Let :meth:`run` return once nothing is left."""
        self._closing = True
        self.wake()

    # --- What is in it

    @property
    def head(self) -> deque[Event]:
        """What is sent next, one by one; see also :meth:`append_run`."""
        while self._runs:
            self._head.extend(self._runs.popleft().events())
        return self._head

    def append(self, event: Event) -> None:
        """An event was accepted."""
        (self.tail if self.spilled else self.head).append(event)
        if self.idle:
            self.wake()
        elif self._lacking is not None:
            self._joined(1)

    def append_run(self, run: Run) -> None:
        """Events were accepted together, and are kept so as long as nobody wants to see one of them."""
        if self.spilled:
            self.tail.extend(run.events())
        else:
            self._runs.append(run)
        if self.idle:
            self.wake()
        elif self._lacking is not None:
            self._joined(run.count)

    @property
    def stalled(self) -> bool:
        """Whether the batch in flight has failed, and is tried again."""
        return self._failures > 0

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
                self._outlet.ledger.drop(queue.popleft(), AGED)
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
        self._outlet.ledger.drop(event, reason)
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

    # --- Running

    async def run(self) -> None:
        """Deliver until closed and empty. What it was doing when it failed or was cancelled stays to be done."""
        while True:
            if self.batches:
                await self._deliver(self.batches[0])
            elif self._head or self._runs:
                await self._linger()
                self._form()
            elif self.backlog.count:
                await self._outlet.fill(self)
            elif self.writing:
                self.written.clear()
                await self.written.wait()
            elif self.spilled:
                self.unspill()
            elif self._closing or self._ends_when_empty:
                return
            else:
                self._wakened.clear()
                self.idle = True
                await self._wakened.wait()

    async def _linger(self) -> None:
        """Wait for company, if any is to be expected and nobody waits for the lane to be empty."""
        outlet = self._outlet
        delay = outlet.forward.max_delay_milliseconds / 1000
        now = outlet.clock.monotonic()
        if now - self._ended_at >= delay or outlet.hurry or self._closing or outlet.ledger.guilds is not None:
            return
        waiting = len(self._head) + sum([run.count for run in self._runs])
        lacking = self._most_events() - waiting
        if lacking <= 0 or not self._company.is_expected(waiting=waiting, within=delay, now=now):
            return
        oldest = self.oldest_waiting()
        remaining = 0.0 if oldest is None else oldest + delay - now
        if remaining > 0:
            self._lacking = lacking
            self._wakened.clear()
            timer = asyncio.get_running_loop().call_later(remaining, self.wake)
            try:
                await self._wakened.wait()
            finally:
                timer.cancel()
                self._lacking = None

    def _joined(self, events: int) -> None:
        """So many more wait with those that wait for company."""
        assert self._lacking is not None
        self._lacking -= events
        if self._lacking <= 0:
            self.wake()

    def _most_events(self) -> int:
        """Of a batch."""
        forward = self._outlet.forward
        return 1 if forward.format == "single" else max(1, forward.max_batch_events)

    def _form(self) -> None:
        """Take the next batch from the head."""
        outlet, forward = self._outlet, self._outlet.forward
        if forward.queue.max_age_seconds is not None:
            self.expire(outlet.clock.monotonic() - forward.queue.max_age_seconds)
            outlet.settled()
        single = forward.format == "single"
        most = self._most_events()
        if self._runs and not self._head and not single:
            runs = self._take_runs(most, forward.max_batch_bytes - 2)
            if runs:
                self._send_next(make_batch_of_runs(runs, headers=outlet.headers))
                return
        head = self.head
        if not head:
            return
        most = min(most, len(head))
        room = forward.max_batch_bytes - 2
        events: list[Event] = []
        while len(events) < most:
            event = head[0]
            room -= len(event.payload) + len(event.session.marked_entry) + 1
            if room < 0 and events:
                break
            events.append(head.popleft())
        self._send_next(make_batch(events, headers=outlet.headers, single=single))
        if self.backlog.count and len(head) < forward.max_batch_events:
            outlet.fill_soon(self)

    def _send_next(self, batch: Batch) -> None:
        self.batches.append(batch)
        self._company.sent(len(batch), self._outlet.clock.monotonic())

    def _take_runs(self, most: int, room: int) -> list[Run]:
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

    async def _deliver(self, batch: Batch) -> None:
        outlet = self._outlet
        outlet.requests += 1
        outlet.busy()
        began = outlet.clock.monotonic()
        verdict = await outlet.receiver.post(batch)
        self._ended_at = outlet.clock.monotonic()
        outlet.meter.requested(verdict.outcome, events=len(batch), seconds=self._ended_at - began)
        if verdict.outcome is Outcome.ACKNOWLEDGED:
            outlet.ledger.acknowledged += len(batch)
            outlet.meter.acknowledged(batch, self._ended_at)
            self._done(batch)
        elif verdict.outcome is Outcome.REFUSED and len(batch) > 1:
            self._failures = 0
            self.batches.popleft()
            self.batches.extendleft(reversed(halve(batch, headers=outlet.headers)))
            await outlet.receiver.pause(verdict.retry_after)
        elif verdict.outcome is Outcome.REFUSED and self._give_up(batch.events[0], verdict):
            outlet.ledger.dead_lettered += 1
            self._done(batch)
        else:
            outlet.retried += 1
            await outlet.receiver.pause(self._next_pause(verdict))

    def _done(self, batch: Batch) -> None:
        self.batches.popleft()
        self._failures = self._refusals = 0
        if batch.runs:
            self._outlet.ledger.settle_runs(batch.runs)
        else:
            self._outlet.ledger.settle(batch.events)
        self._outlet.settled()

    def _next_pause(self, verdict: Verdict) -> float:
        bound = min(LONGEST_RETRY, FIRST_RETRY * 2 ** min(self._failures, 16))
        if not self._failures:
            self._outlet.meter.stalls += 1
        self._failures += 1
        return max(self._outlet.chance.uniform(0.0, bound), verdict.retry_after)

    def _give_up(self, event: Event, verdict: Verdict) -> bool:
        """Whether *event*, refused alone, has been tried enough and is kept as a dead letter."""
        self._refusals += 1
        if self._refusals < REFUSED_TRIES or not self._outlet.dead_letters.keep(event, status=verdict.problem):
            return False
        self._outlet.log(
            logging.ERROR,
            f"Receiver {verdict.problem} to one payload after {self._refusals} tries; kept in the dead-letter log as "
            f"{event.session.id}:{event.sequence} ({event.name}).",
        )
        return True
