"""A lane: events in order, one request in flight. What waits in it is a :class:`LaneQueue`.

    head -> batch -> request -> acknowledged -> the next batch
                        ^   |
                        +---+ not acknowledged: the same batch after a pause, for as long as it takes
                            | refused (400, 413, 422): two halves in its place, down to one payload alone

A batch stands in :attr:`~LaneQueue.batches` until it is settled, so a lane whose task failed goes on with the same one.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Final

from shard_runtime.delivery.answers import Outcome, Verdict
from shard_runtime.delivery.batches import Batch, halve, make_batch, make_batch_of_runs
from shard_runtime.delivery.company import Company
from shard_runtime.delivery.dead_letters import NOT_KEPT, REFUSED_TRIES
from shard_runtime.delivery.events import Event, Run
from shard_runtime.delivery.lane_queue import LaneQueue
from shard_runtime.delivery.outlet import Outlet

FIRST_RETRY: Final = 0.1
LONGEST_RETRY: Final = 5.0
"""Seconds; the pause before a retry is drawn between 0 and a bound that doubles from the one to the other."""


class Lane(LaneQueue):
    def __init__(self, outlet: Outlet, *, number: int, ends_when_empty: bool = False) -> None:
        """*number* is the lane's on disk. One that *ends_when_empty* is not to be used any more when :meth:`run` has
        returned."""
        super().__init__(outlet.ledger)
        self.number = number
        self.idle = False
        """Waits for an event; whoever appends one then calls :meth:`wake`."""
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
            runs = self.take_runs(most, forward.max_batch_bytes - 2)
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
        """Whether *event*, refused alone, has been tried enough; then it is a dead letter, or at least counted."""
        self._refusals += 1
        letters, ledger = self._outlet.dead_letters, self._outlet.ledger
        if letters is None or self._refusals < REFUSED_TRIES:
            return False
        which = f"{event.session.id}:{event.sequence} ({event.name})"
        try:
            letters.keep(event, status=verdict.problem)
        except OSError as error:
            ledger.count_drop(event.name, NOT_KEPT)
            fate = f"the dead-letter log cannot be written ({error}), so it is dropped and counted: {which}."
        else:
            ledger.dead_lettered += 1
            fate = f"kept in the dead-letter log as {which}."
        tries = f"Receiver {verdict.problem} to one payload after {self._refusals} tries"
        self._outlet.log(logging.ERROR, f"{tries}; {fate}")
        return True
