"""The bounds of the queue in events, bytes and age, and what gives way at them.

Bounds are looked at when an event is accepted, and several times a second besides, since what is to be dropped may have
to be read from disk first. What is in flight counts, but is never dropped.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from typing import Final

from shard_runtime import contract
from shard_runtime.delivery.lanes import Lane
from shard_runtime.delivery.ledger import Ledger
from shard_runtime.delivery.pressure import ENOUGH_MEMORY, MUCH_MEMORY, Pressure

FULL: Final = "queue full"
TOO_LARGE: Final = "larger than forward.queue.maxBytes"

VOLUME_SHARE: Final = 0.8
"""Of the volume that the queue may fill."""

EXCESS_EVENTS: Final = 10_000
EXCESS_BYTES: Final = 16 << 20
"""How far the queue may pass its bounds until the next look: to drop the oldest it may have to be read first, and a
pause begins only when what is in the sockets' buffers has come."""


class Bounds:
    """``forward.queue``, kept to."""

    def __init__(
        self,
        *,
        ledger: Ledger,
        lanes: Callable[[], Iterator[Lane]],
        fill: Callable[[Lane], Awaitable[None]],
        settled: Callable[[], None],
        pressure: Pressure | None,
        spills: Callable[[], bool],
        memory: Callable[[], int],
        monotonic: Callable[[], float],
    ) -> None:
        """*fill* reads what comes next in a lane from disk; *settled* is called when something was dropped; *spills*
        says whether the disk takes events now, and *memory* how many bytes of them are only in memory."""
        self._ledger = ledger
        self._lanes = lanes
        self._fill = fill
        self._settled = settled
        self._pressure = pressure
        self._spills = spills
        self._memory = memory
        self._monotonic = monotonic
        self.max_events = 1
        self.max_bytes = 1
        self.max_age: float | None = None
        """Seconds."""
        self._keep_oldest = False
        self._pauses = False

    def apply(self, queue: contract.QueueBounds, *, volume: int | None) -> None:
        """Keep to *queue* from now on; *volume* is what there is of the disk for this queue, in bytes, where it
        has one."""
        self.max_events = max(1, queue.max_events)
        self.max_bytes = max(1, queue.max_bytes)
        if volume is not None:
            self.max_bytes = min(self.max_bytes, round(volume * VOLUME_SHARE))
        self.max_age = queue.max_age_seconds
        self._keep_oldest = queue.overflow == "DropNewest"
        self._pauses = queue.overflow == "Pause" and self._pressure is not None

    def make_room(self, size: int) -> str | None:
        """Make room for *size* bytes (0: for nothing, only keep to the bounds); the reason if there is none.

        What is in flight counts, but is never dropped.
        """
        if size > self.max_bytes:
            return TOO_LARGE
        if self.max_age is not None:
            before = self._monotonic() - self.max_age
            for lane in self._lanes():
                lane.expire(before)
        refused = None
        while self._is_over(size):
            if self._keep_oldest:
                refused = FULL if size else None
                break
            if self._pauses and not self._give_way():
                break
            oldest = self._oldest_lane()
            if oldest is None or not oldest.drop_oldest(FULL):
                # what is on disk alone is dropped at the next look, see trim
                refused = FULL if oldest is None or self._is_far_over() else None
                break
        self._settled()
        return refused

    def _is_over(self, size: int) -> bool:
        ledger = self._ledger
        return ledger.queued + (1 if size else 0) > self.max_events or ledger.bytes + size > self.max_bytes

    def _is_far_over(self) -> bool:
        ledger = self._ledger
        return ledger.queued > self.max_events + EXCESS_EVENTS or ledger.bytes > self.max_bytes + EXCESS_BYTES

    def _oldest_lane(self) -> Lane | None:
        """The lane with the oldest event that is not in flight."""
        oldest: tuple[float, Lane] | None = None
        for lane in self._lanes():
            moment = lane.oldest_waiting()
            if moment is not None and (oldest is None or moment < oldest[0]):
                oldest = moment, lane
        return None if oldest is None else oldest[1]

    async def trim(self) -> None:
        """Keep to the bounds where what is to be dropped is on disk."""
        if self.max_age is not None:
            before = self._monotonic() - self.max_age
            for lane in list(self._lanes()):
                lane.expire(before)
                while lane.backlog.count and not lane.head and lane.backlog.oldest < before:
                    if not await self._filled(lane):
                        break
                    lane.expire(before)
        while self._is_over(0) and not self._keep_oldest and not (self._pauses and not self._give_way()):
            oldest = self._oldest_lane()
            if oldest is None or not (oldest.drop_oldest(FULL) or await self._filled(oldest)):
                break
        self._settled()

    async def _filled(self, lane: Lane) -> bool:
        """Whether something of *lane* that is not in flight is in memory now."""
        await self._fill(lane)
        return bool(lane.head)

    def _give_way(self) -> bool:
        """With ``Pause``: whether events are to be dropped after all."""
        assert self._pressure is not None
        if not self._pressure.gave_way and not self._is_far_over():
            self.look_at_pressure()
            return False
        return True

    def look_at_pressure(self) -> None:
        pressure, ledger = self._pressure, self._ledger
        if pressure is None:
            return
        reason = None
        if self._pauses:
            share = 0.95 if pressure.paused or pressure.gave_way else 1.0
            if ledger.queued >= self.max_events * share or ledger.bytes >= self.max_bytes * share:
                reason = "the queue is full"
        full = reason is not None
        if not full and self._spills() and self._memory() > (ENOUGH_MEMORY if pressure.paused else MUCH_MEMORY):
            reason = "events come faster than the disk takes them"
        pressure.look(self._monotonic(), reason=reason, full=full)
