"""What is done beside the lanes as long as anything is owed: to disk, back from it, and under the bounds."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable
from typing import Final

from shard_runtime.delivery.bounds import Bounds
from shard_runtime.delivery.lanes import Lane
from shard_runtime.delivery.ledger import Ledger
from shard_runtime.delivery.spilling import Spiller
from shard_runtime.ports import Clock

TICK_SECONDS: Final = 0.05
"""How often, while anything is owed, it is looked at what must go to disk and what is past a bound."""


class Housekeeping:
    def __init__(
        self,
        *,
        ledger: Ledger,
        bounds: Bounds,
        spiller: Spiller | None,
        lanes: Callable[[], Iterable[Lane]],
        settled: Callable[[], None],
        clock: Clock,
        log: Callable[..., None],
    ) -> None:
        self._ledger = ledger
        self._bounds = bounds
        self._spiller = spiller
        self._lanes = lanes
        self._settled = settled
        self._clock = clock
        self._log = log
        self._tasks: asyncio.TaskGroup | None = None
        self.busy = asyncio.Event()
        """To be set when something is owed."""

    def begin(self, tasks: asyncio.TaskGroup) -> None:
        """Work among *tasks* from now on."""
        self._tasks = tasks
        tasks.create_task(self._keep_house(), name="delivery housekeeping")

    async def _keep_house(self) -> None:
        more = False
        while True:
            if not self._ledger.queued and not (self._spiller is not None and self._spiller.has_news()):
                self._bounds.look_at_pressure()
                self.busy.clear()
                await self.busy.wait()
            await self._clock.sleep(0.0 if more else TICK_SECONDS)
            more = False
            try:
                if self._spiller is not None:
                    more = await self._spiller.turn()
                await self._bounds.trim()
                self._bounds.look_at_pressure()
            except Exception as error:  # noqa: BLE001 - outermost ladder: without it the queue would grow unseen
                self._log(logging.ERROR, f"The queue's housekeeping failed ({type(error).__name__}: {error}).")
                await self._clock.sleep(1.0)

    async def fill(self, lane: Lane) -> None:
        assert self._spiller is not None, "only a lane that has spilled has anything to read"
        await self._spiller.fill(lane)
        self._settled()

    def let_go_of_settled(self) -> None:
        """Of what an earlier life of the process had begun to deliver, keep what is owed."""
        if self._spiller is None:
            return
        for lane in self._lanes():
            begun = list(lane.head) if lane.spilled else []
            owed = self._spiller.owed(begun)
            if len(owed) < len(begun):
                lane.head.clear()
                lane.head.extend(owed)

    def fill_soon(self, lane: Lane) -> None:
        if self._tasks is not None and not lane.reading.locked():
            self._tasks.create_task(self._read_ahead(lane), name="delivery reads ahead")

    async def _read_ahead(self, lane: Lane) -> None:
        try:
            await self.fill(lane)
        except Exception as error:  # noqa: BLE001 - outermost ladder: the lane itself reads when it has to
            self._log(logging.ERROR, f"Reading ahead from disk failed ({type(error).__name__}: {error}).")
