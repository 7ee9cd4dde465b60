"""The cluster port over the object store: alone it is a cluster in memory, with a kubelet it runs processes."""

from __future__ import annotations

import logging
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from gateway_operator.api.generation import GATEWAY_LABEL, GENERATION_LABEL
from gateway_operator.cluster.port import GATEWAY, POD, SECRET, Kind, Manifest
from gateway_operator.cluster.processes.files import FileStorage
from gateway_operator.cluster.processes.kubelet import Kubelet
from gateway_operator.cluster.processes.leftovers import GRACE_SECONDS
from gateway_operator.cluster.processes.objects import ObjectStore
from gateway_operator.cluster.processes.statefulsets import INDEX_LABEL
from gateway_operator.cluster.processes.surfaces import StateFolder, pod_url
from gateway_operator.ports import Chance, Clock

log = logging.getLogger(__name__)


class StoreCluster:
    """The port's calls on an :class:`ObjectStore`; whoever holds the store plays the controllers."""

    def __init__(self, store: ObjectStore, *, sibling_pattern: str | None = None) -> None:
        self.store = store
        self.calls: Mapping[tuple[str, str], int] = {}
        self._sibling_pattern = sibling_pattern

    async def get(self, kind: Kind, namespace: str, name: str) -> Manifest | None:
        return self.store.get(kind, namespace, name)

    async def select(self, kind: Kind, namespace: str | None, labels: Mapping[str, str]) -> list[Manifest]:
        return self.store.select(kind, namespace, labels)

    async def apply(self, manifest: Manifest) -> Manifest:
        return self.store.apply(manifest)

    async def create(self, manifest: Manifest) -> Manifest:
        return self.store.create(manifest)

    async def replace(self, manifest: Manifest) -> Manifest:
        return self.store.replace(manifest)

    async def delete(self, kind: Kind, namespace: str, name: str, *, uid: str | None = None) -> None:
        self.store.delete(kind, namespace, name, uid=uid)

    async def update_status(self, namespace: str, name: str, status: Manifest) -> None:
        self.store.change(GATEWAY, namespace, name, lambda gateway: gateway.update(status=status))

    async def status_schema(self) -> Manifest | None:
        return None

    async def touch_pod(self, namespace: str, name: str, annotation: str, value: str) -> None:
        def touch(pod: Manifest) -> None:
            pod["metadata"].setdefault("annotations", {})[annotation] = value

        self.store.change(POD, namespace, name, touch)

    async def emit_event(self, *, regarding: Manifest, reason: str, message: str, warning: bool = False) -> None:
        name = regarding["metadata"]["name"]
        log.log(logging.WARNING if warning else logging.INFO, "%s: %s: %s", name, reason, message)

    def pod_url(self, pod: Manifest) -> str | None:
        return pod_url(pod)

    def sibling_pattern(self, namespace: str, gateway: str) -> str | None:
        return self._sibling_pattern


class ProcessCluster(StoreCluster):
    """Local processes and a state directory; one user of a directory at a time."""

    def __init__(
        self,
        *,
        state: Path,
        command: Sequence[str],
        clock: Clock,
        chance: Chance,
        leftover_grace_seconds: float = GRACE_SECONDS,
    ) -> None:
        """*command* starts one pod's runtime; processes of a run that died get *leftover_grace_seconds* to end.

        Raises ``OSError`` and ``ValueError`` where *state* cannot be used."""
        self.folder = StateFolder(state)
        storage = FileStorage(self.folder.root / "objects")
        super().__init__(ObjectStore(new_uid=lambda: str(uuid.uuid4()), unix=clock.unix, storage=storage))
        self.kubelet = Kubelet(
            store=self.store,
            folder=self.folder,
            command=command,
            clock=clock,
            chance=chance,
            leftover_grace_seconds=leftover_grace_seconds,
        )
        self.kubelet.on_pods_changed = self._write_state
        self._control: Mapping[str, Any] = {}
        self.store.subscribe(self._on_object)

    def announce(self, control: Mapping[str, Any]) -> None:
        """Say in ``state.json`` where the running operator answers."""
        self._control = control
        self._write_state()

    def sibling_pattern(self, namespace: str, gateway: str) -> str:
        return f"file:{self.folder.peers(namespace, gateway)}"

    def _on_object(self, manifest: Manifest) -> None:
        gateway = (manifest["metadata"].get("labels") or {}).get(GATEWAY_LABEL)
        if manifest["kind"] == SECRET.kind and gateway is not None:
            self.folder.write_tokens(manifest, gateway)

    def _write_state(self) -> None:
        self.folder.write_state(
            {
                "operator": self._control,
                "gateways": [self._describe_gateway(gateway) for gateway in self.store.select(GATEWAY, None, {})],
                "pods": [self._describe_pod(pod) for pod in self.store.select(POD, None, {})],
            }
        )

    def _describe_gateway(self, gateway: Manifest) -> dict[str, Any]:
        metadata = gateway["metadata"]
        tokens = self.folder.tokens(metadata["namespace"], metadata["name"])
        return {
            "namespace": metadata["namespace"],
            "name": metadata["name"],
            "tokens": {"operator": str(tokens / "operator"), "bot": str(tokens / "bot")},
        }

    def _describe_pod(self, pod: Manifest) -> dict[str, Any]:
        metadata, labels = pod["metadata"], pod["metadata"].get("labels") or {}
        namespace, name, url = metadata["namespace"], metadata["name"], pod_url(pod)
        container = self.kubelet.container(namespace, name)
        return {
            "namespace": namespace,
            "name": name,
            "gateway": labels.get(GATEWAY_LABEL),
            "generation": int(labels.get(GENERATION_LABEL, 0)),
            "index": int(labels.get(INDEX_LABEL, 0)),
            "uid": metadata["uid"],
            "url": url,
            "port": int(url.rpartition(":")[2]) if url else None,
            "pid": container.pid if container else None,
            "restarts": container.restarts if container else 0,
            "waitingFor": self.kubelet.waiting_for(namespace, name),
            "log": str(self.folder.pod_log(namespace, name)),
            "state": str(self.folder.pod(namespace, name)),
        }
