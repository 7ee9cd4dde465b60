"""What a worker does again and again, whatever happens: it saves its sessions, looks how late its loop is, and gives
memory back."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from shard_runtime.delivery import Delivery
from shard_runtime.measures import Histogram
from shard_runtime.ports import Clock
from shard_runtime.worker.quiet import Quiet
from shard_runtime.worker.shards import Shards

ROUND_SECONDS: Final = 0.25
MUCH_MEMORY: Final = 16 << 20
LITTLE_MEMORY: Final = 4 << 20
"""Bytes of events in memory: when they were more than the one and are less than the other, memory is given back."""
LAG_BOUNDS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)
"""Seconds by which the event loop is late."""


class Upkeep:
    def __init__(
        self,
        *,
        shards: Shards,
        delivery: Delivery,
        clock: Clock,
        look: Callable[[], None],
        save: Callable[[], None],
        give_back_memory: Callable[[], None],
    ) -> None:
        """*look* is called in each round, and *save* after it; *give_back_memory* when some may have become free that
        is not needed soon."""
        self._shards = shards
        self._delivery = delivery
        self._clock = clock
        self._look = look
        self._save = save
        self._give_back_memory = give_back_memory
        self._quiet = Quiet()
        self._largest_memory = 0
        self.lag = Histogram(LAG_BOUNDS)

    async def run(self) -> None:
        while True:
            due = self._clock.monotonic() + ROUND_SECONDS
            await self._clock.sleep(ROUND_SECONDS)
            self.lag.observe(max(0.0, self._clock.monotonic() - due))
            self._shards.look_at_pace()
            self._look_at_memory()
            self._look()
            self._save()

    def sessions_changed(self) -> None:
        """A session began or ended, which leaves memory that is not needed any more."""
        self._quiet.sessions_changed = True

    def _look_at_memory(self) -> None:
        memory = self._delivery.memory
        self._largest_memory = max(self._largest_memory, memory)
        quiet = self._quiet.look(self._shards.received_bytes, self._clock.monotonic())
        if quiet or (self._largest_memory > MUCH_MEMORY and memory < LITTLE_MEMORY):
            self._largest_memory = 0
            self._give_back_memory()
