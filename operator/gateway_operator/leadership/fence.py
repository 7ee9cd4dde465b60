"""A cluster that only the leader can change."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from gateway_operator.cluster.port import Cluster, ClusterError, Kind, Manifest


class NotLeadingError(ClusterError):
    """This process does not lead (any more), so it leaves the cluster as it is."""


class FencedCluster:
    """The port's calls on another cluster, writes only while *leading* says so."""

    def __init__(self, cluster: Cluster, *, leading: Callable[[], bool]) -> None:
        self._cluster = cluster
        self._leading = leading

    def _check(self) -> None:
        if not self._leading():
            raise NotLeadingError("Another operator leads.")

    @property
    def calls(self) -> Mapping[tuple[str, str], int]:
        return self._cluster.calls

    async def get(self, kind: Kind, namespace: str, name: str) -> Manifest | None:
        return await self._cluster.get(kind, namespace, name)

    async def select(self, kind: Kind, namespace: str | None, labels: Mapping[str, str]) -> list[Manifest]:
        return await self._cluster.select(kind, namespace, labels)

    async def apply(self, manifest: Manifest) -> Manifest:
        self._check()
        return await self._cluster.apply(manifest)

    async def create(self, manifest: Manifest) -> Manifest:
        self._check()
        return await self._cluster.create(manifest)

    async def replace(self, manifest: Manifest) -> Manifest:
        self._check()
        return await self._cluster.replace(manifest)

    async def delete(self, kind: Kind, namespace: str, name: str, *, uid: str | None = None) -> None:
        self._check()
        await self._cluster.delete(kind, namespace, name, uid=uid)

    async def update_status(self, namespace: str, name: str, status: Manifest) -> None:
        self._check()
        await self._cluster.update_status(namespace, name, status)

    async def status_schema(self) -> Manifest | None:
        return await self._cluster.status_schema()

    async def touch_pod(self, namespace: str, name: str, annotation: str, value: str) -> None:
        self._check()
        await self._cluster.touch_pod(namespace, name, annotation, value)

    async def emit_event(self, *, regarding: Manifest, reason: str, message: str, warning: bool = False) -> None:
        if self._leading():
            await self._cluster.emit_event(regarding=regarding, reason=reason, message=message, warning=warning)

    def pod_url(self, pod: Manifest) -> str | None:
        return self._cluster.pod_url(pod)

    def sibling_pattern(self, namespace: str, gateway: str) -> str | None:
        return self._cluster.sibling_pattern(namespace, gateway)
