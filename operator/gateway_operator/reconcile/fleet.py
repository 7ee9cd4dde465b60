"""One supervised loop per gateway: pass, wait for a change or the time, pass again; it never ends by itself.

What a pass cannot do, the next one tries again, with capped and jittered backoff, whatever went wrong: an operator that
stops looking after a gateway because of one bad answer is worse than one that complains.
"""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass, field
from typing import Final

from gateway_operator.api.generation import GATEWAY_LABEL
from gateway_operator.cluster.port import (
    CONFIG_MAP,
    NETWORK_POLICY,
    POD,
    POD_DISRUPTION_BUDGET,
    SECRET,
    SERVICE,
    STATEFUL_SET,
    Cluster,
    ClusterError,
    Kind,
)
from gateway_operator.ports import Chance
from gateway_operator.reconcile.measures import Measures
from gateway_operator.reconcile.reconciler import GatewayKey, Reconciler
from gateway_operator.resources.pulling import pull_labels

log = logging.getLogger(__name__)

FIRST_BACKOFF_SECONDS: Final = 0.5
LONGEST_BACKOFF_SECONDS: Final = 30.0
SETTLE_SECONDS: Final = 0.05
"""Changes come in crowds (a StatefulSet and its pods); one pass answers them all."""

OWNED_KINDS: Final = (STATEFUL_SET, POD_DISRUPTION_BUDGET, NETWORK_POLICY, SERVICE, CONFIG_MAP, SECRET)
"""What goes with a gateway, in this order: first what runs, last what it authenticates with."""


@dataclass(slots=True)
class _Loop:
    changed: asyncio.Event = field(default_factory=asyncio.Event)
    task: asyncio.Task[None] | None = None


class Fleet:
    """The loops of all gateways. To be used from one event loop."""

    def __init__(self, *, reconciler: Reconciler, cluster: Cluster, chance: Chance, measures: Measures) -> None:
        self.reconciler = reconciler
        self._measures = measures
        self._cluster = cluster
        self._chance = chance
        self._loops: dict[GatewayKey, _Loop] = {}
        self.failures = 0

    @property
    def gateways(self) -> list[GatewayKey]:
        return sorted(self._loops)

    def add(self, namespace: str, name: str) -> None:
        """Look after the gateway from now on."""
        key = (namespace, name)
        if key not in self._loops:
            loop = self._loops[key] = _Loop()
            loop.task = asyncio.get_running_loop().create_task(self._run(key, loop), name=f"gateway {namespace}/{name}")

    def wake(self, namespace: str, name: str) -> None:
        """Something about the gateway changed."""
        loop = self._loops.get((namespace, name))
        if loop is not None:
            loop.changed.set()

    def wake_all(self) -> None:
        for loop in self._loops.values():
            loop.changed.set()

    async def remove(self, namespace: str, name: str) -> None:
        """Stop looking after the gateway; what runs is left running."""
        loop = self._loops.pop((namespace, name), None)
        if loop is not None and loop.task is not None:
            loop.task.cancel()
            await asyncio.gather(loop.task, return_exceptions=True)
        self.reconciler.forget(namespace, name)

    async def clean_up(self, namespace: str, name: str) -> None:
        """Delete all that belongs to a gateway that is being deleted.

        May be done again. Owner references would do the same; this also holds where they were lost. Raises
        :class:`ClusterError` where something could not be deleted, once everything was tried.
        """
        await self.remove(namespace, name)
        failed: ClusterError | None = None
        owned: list[tuple[Kind, dict[str, str]]] = [(kind, {GATEWAY_LABEL: name}) for kind in OWNED_KINDS]
        for kind, labels in [*owned, (POD, pull_labels(name))]:
            try:
                for manifest in await self._cluster.select(kind, namespace, labels):
                    await self._cluster.delete(kind, namespace, manifest["metadata"]["name"])
            except ClusterError as error:
                log.warning("%s: %ss could not be deleted yet: %s", name, kind.kind, error)
                failed = error
        if failed is not None:
            raise failed

    async def stop(self) -> None:
        """End all loops; what runs is left running."""
        for namespace, name in self.gateways:
            await self.remove(namespace, name)

    async def _run(self, key: GatewayKey, loop: _Loop) -> None:
        failures = 0
        while True:
            loop.changed.clear()
            try:
                wait = (await self.reconciler.pass_over(*key)).wait_seconds
                failures = 0
            except Exception as error:
                self.failures += 1
                self._measures.failed()
                failures += 1
                wait = self._backoff(failures)
                expected = isinstance(error, ClusterError)
                log.error(
                    "%s/%s: the pass failed, next in %.1f s: %s",
                    *key,
                    wait,
                    error,
                    exc_info=None if expected else error,
                )
                await asyncio.sleep(wait)  # whatever changes: the failing pass may be what changes it
                continue
            await _wait(loop.changed, wait)

    def _backoff(self, failures: int) -> float:
        backoff: float = min(LONGEST_BACKOFF_SECONDS, FIRST_BACKOFF_SECONDS * 2 ** min(failures - 1, 10))
        return backoff * (0.5 + self._chance.random() / 2)


async def _wait(changed: asyncio.Event, seconds: float) -> None:
    """Return at a change (with those that come with it), or after *seconds*."""
    try:
        async with asyncio.timeout(seconds):
            await changed.wait()
    except TimeoutError:
        return
    await asyncio.sleep(SETTLE_SECONDS)
