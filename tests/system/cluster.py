"""The API server as one process sees it: takes time, may fail or leave a write uncertain, ignores the dead.

A call that was on its way when its process died is carried out all the same.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final, TypeVar

from gateway_operator.cluster.port import CONFIG_MAP, ClusterError, Kind, Manifest, UncertainError
from gateway_operator.cluster.processes.cluster import StoreCluster
from gateway_operator.cluster.processes.objects import ObjectStore

Result = TypeVar("Result")

ADDRESS_ANNOTATION: Final = "system.test/address"
"""Stands for ``status.podIP``."""


@dataclass(slots=True, kw_only=True)
class ApiFaults:
    """What goes wrong with calls; probabilities from 0 to 1."""

    away: bool = False
    """Nothing is answered."""
    refuse: float = 0.0
    lose_answer: float = 0.0
    """The write happened, and nobody says so."""
    slow: float | None = None
    """Most seconds that a call takes longer to get there; None where that is never to be so."""
    catch: Callable[[], float] | None = None
    """Called when a write of the record sets out; says how many seconds longer it takes to get there."""


class ClusterOfProcess:
    """:class:`~gateway_operator.cluster.port.Cluster` of one life of the operator."""

    def __init__(
        self,
        store: ObjectStore,
        *,
        chance: random.Random,
        faults: ApiFaults,
        delay: tuple[float, float] = (0.001, 0.02),
    ) -> None:
        self._store = store
        self._log = StoreCluster(store)
        self._chance = chance
        self._faults = faults
        self._delay = delay
        self._dead = False
        self.calls: Mapping[tuple[str, str], int] = {}

    def die(self) -> None:
        """The process is gone: what it tries from here on does not happen."""
        self._dead = True

    async def _call(self, do: Callable[[], Result], *, later: float = 0.0) -> Result:
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[Result] = loop.create_future()
        if self._dead:
            return await answer
        faults, chance = self._faults, self._chance

        def arrive() -> None:
            if faults.away or chance.random() < faults.refuse:
                problem: ClusterError | None = ClusterError("the API server cannot be reached")
            else:
                problem = None
                try:
                    result = do()
                except ClusterError as error:
                    problem = error
            if answer.done():
                return
            if problem is not None:
                answer.set_exception(problem)
            else:
                answer.set_result(result)

        delay = later + chance.uniform(*self._delay)
        if faults.slow is not None:
            delay += chance.uniform(0, faults.slow)
        loop.call_later(delay, arrive)
        result = await answer
        await asyncio.sleep(chance.uniform(*self._delay))
        if self._dead:
            return await loop.create_future()
        return result

    async def _write(self, do: Callable[[], Result], *, later: float = 0.0) -> Result:
        result = await self._call(do, later=later)
        if self._chance.random() < self._faults.lose_answer:
            raise UncertainError("the API server gave no answer")
        return result

    async def get(self, kind: Kind, namespace: str, name: str) -> Manifest | None:
        return await self._call(lambda: self._store.get(kind, namespace, name))

    async def select(self, kind: Kind, namespace: str | None, labels: Mapping[str, str]) -> list[Manifest]:
        return await self._call(lambda: self._store.select(kind, namespace, labels))

    async def apply(self, manifest: Manifest) -> Manifest:
        return await self._write(lambda: self._store.apply(manifest))

    async def create(self, manifest: Manifest) -> Manifest:
        return await self._write(lambda: self._store.create(manifest))

    async def replace(self, manifest: Manifest) -> Manifest:
        caught = self._faults.catch if is_record(manifest) and not self._dead else None
        later = 0.0 if caught is None else caught()
        return await self._write(lambda: self._store.replace(manifest), later=later)

    async def delete(self, kind: Kind, namespace: str, name: str, *, uid: str | None = None) -> None:
        await self._write(lambda: self._store.delete(kind, namespace, name, uid=uid))

    async def update_status(self, namespace: str, name: str, status: Manifest) -> None:
        await self._call(lambda: None)
        await self._log.update_status(namespace, name, status)

    async def status_schema(self) -> Manifest | None:
        return await self._call(lambda: None)

    async def touch_pod(self, namespace: str, name: str, annotation: str, value: str) -> None:
        await self._call(lambda: None)
        await self._log.touch_pod(namespace, name, annotation, value)

    async def emit_event(self, *, regarding: Manifest, reason: str, message: str, warning: bool = False) -> None:
        if not self._dead:
            await self._log.emit_event(regarding=regarding, reason=reason, message=message, warning=warning)

    def pod_url(self, pod: Manifest) -> str | None:
        return (pod["metadata"].get("annotations") or {}).get(ADDRESS_ANNOTATION)

    def sibling_pattern(self, namespace: str, gateway: str) -> str | None:
        """None: pods find each other by their names under the headless Service."""
        return None


def is_record(manifest: Manifest) -> bool:
    return bool(manifest["kind"] == CONFIG_MAP.kind and "record.json" in (manifest.get("data") or {}))
