"""A shard's leave to identify: asked for once at a time, used at once, and accounted for whatever becomes of it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

from shard_runtime import contract
from shard_runtime.contract import PermitOutcome
from shard_runtime.ports import Clock
from shard_runtime.shard_ports import Permits

LATE_SECONDS: Final = 1.0
"""Before another try after a permit that came too late."""


class Permission:
    """Asks the gate for one shard. A request lasts over connections that drop meanwhile."""

    def __init__(
        self,
        *,
        shard: int,
        permits: Permits,
        clock: Clock,
        waiting: Callable[[], bool],
        granted: Callable[[float], None],
        failed: Callable[[Exception], None],
    ) -> None:
        """*waiting*: whether a permit would be used now; *granted* uses it, *failed* begins again."""
        self._shard = shard
        self._permits = permits
        self._clock = clock
        self._waiting = waiting
        self._granted = granted
        self._failed = failed
        self._asking: asyncio.Task[None] | None = None
        self._permit: contract.Permit | None = None
        self.reports: set[asyncio.Task[None]] = set()
        """Those under way."""

    def ask(self) -> None:
        """Ask, unless that is under way."""
        if self._asking is None:
            self._asking = asyncio.create_task(self._ask(), name=f"permit of shard {self._shard}")

    def give_up(self) -> None:
        """Ask no more."""
        if self._asking is not None:
            self._asking.cancel()

    async def _ask(self) -> None:
        """Wait for a permit and use it at once; one that comes too late, or to nobody, goes back unused."""
        try:
            permit = await self._permits.acquire(self._shard)
            arrived = self._clock.monotonic()
            while permit.life_milliseconds <= 0 and self._waiting():
                await self._permits.report(permit, contract.PermitResult(outcome=PermitOutcome.UNUSED))
                await self._clock.sleep(LATE_SECONDS)
                permit = await self._permits.acquire(self._shard)
                arrived = self._clock.monotonic()
        except Exception as error:  # noqa: BLE001 — the shard begins again, with backoff
            self._failed(error)
            return
        finally:
            self._asking = None
        self._permit = permit
        if self._waiting():
            self._granted(arrived)
        else:
            self.settle(contract.PermitResult(outcome=PermitOutcome.UNUSED))

    def settle(self, result: contract.PermitResult) -> None:
        """Tell the gate what became of the permit that was granted last."""
        permit, self._permit = self._permit, None
        if permit is not None:
            task = asyncio.create_task(self._permits.report(permit, result), name=f"report of shard {self._shard}")
            self.reports.add(task)
            task.add_done_callback(self.reports.discard)
