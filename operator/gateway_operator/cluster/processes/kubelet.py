"""Pods that ought to run, run: one supervised task per pod, driven by what the store holds.

Level-triggered like everything else: every pass compares objects with processes, whatever was missed in between.
"""

from __future__ import annotations

import asyncio
import logging
import os
import socket
from collections.abc import Callable, Sequence
from functools import partial
from typing import Final

from gateway_operator.cluster.port import CONFIG_MAP, POD, SECRET, STATEFUL_SET, Kind, Manifest
from gateway_operator.cluster.processes import statefulsets
from gateway_operator.cluster.processes.container import Container, Start
from gateway_operator.cluster.processes.environment import pod_environment
from gateway_operator.cluster.processes.files import make_private, remove_tree
from gateway_operator.cluster.processes.leftovers import end_leftovers
from gateway_operator.cluster.processes.objects import ObjectStore
from gateway_operator.cluster.processes.surfaces import PORT_ANNOTATION, StateFolder
from gateway_operator.cluster.processes.volumes import MissingSourceError, materialise, referenced
from gateway_operator.ports import Chance, Clock

log = logging.getLogger(__name__)

DEFAULT_GRACE_SECONDS: Final = 30.0

FAILED_PASS_SECONDS: Final = 1.0

PodKey = tuple[str, str]
"""Namespace and name."""


class Kubelet:
    """Materialises StatefulSets as pods and pods as processes until :meth:`stop`."""

    def __init__(
        self,
        *,
        store: ObjectStore,
        folder: StateFolder,
        command: Sequence[str],
        clock: Clock,
        chance: Chance,
        leftover_grace_seconds: float,
    ) -> None:
        self._store = store
        self._folder = folder
        self._command = command
        self._clock = clock
        self._chance = chance
        self._leftover_grace_seconds = leftover_grace_seconds
        self._containers: dict[PodKey, Container] = {}
        self._lives: dict[PodKey, asyncio.Task[None]] = {}
        self._ends: dict[PodKey, asyncio.Task[None]] = {}
        self._waiting: dict[PodKey, str] = {}
        self._changed = asyncio.Event()
        self._stopping = False
        self.on_pods_changed: Callable[[], None] | None = None
        store.subscribe(self._on_object)

    def container(self, namespace: str, name: str) -> Container | None:
        return self._containers.get((namespace, name))

    def waiting_for(self, namespace: str, name: str) -> str | None:
        """Why a pod has not been started, None if it has."""
        return self._waiting.get((namespace, name))

    async def run(self) -> None:
        """End what an earlier run left, then keep pods as the store says; returns when stopped and all have ended."""
        await end_leftovers(self._folder.notes(), grace_seconds=self._leftover_grace_seconds)
        self._renew_templates()
        async with asyncio.TaskGroup() as group:
            self._changed.set()
            while not self._stopping:
                await self._changed.wait()
                self._changed.clear()
                if not self._stopping:
                    try:
                        self._pass(group)
                    except OSError as error:  # a full disk must not end the pods that run
                        log.error("the state directory cannot be written: %s", error)
                        await asyncio.sleep(FAILED_PASS_SECONDS)
                        self._changed.set()
            for key in list(self._containers):
                group.create_task(self._stop(key), name=f"stop pod {key[1]}")

    def stop(self) -> None:
        """End all pods gracefully; objects and the pods' own state stay for the next run."""
        self._stopping = True
        self._changed.set()

    def kill(self) -> None:
        """End all pods now, without grace: a person is waiting."""
        for container in self._containers.values():
            container.kill()

    # --- One pass ---------------------------------------------------------------------------------------------------

    def _pass(self, group: asyncio.TaskGroup) -> None:
        for statefulset in self._store.select(STATEFUL_SET, None, {}):
            namespace = statefulset["metadata"]["namespace"]
            pods = self._store.select(POD, namespace, {})
            for pod in statefulsets.missing(statefulset, pods):
                self._store.create(pod)
            for pod in statefulsets.surplus(statefulset, pods):
                self._store.delete(POD, namespace, pod["metadata"]["name"])
        for pod in self._store.select(POD, None, {}):
            key = _key(pod)
            if pod["metadata"].get("deletionTimestamp"):
                if key not in self._ends:
                    self._ends[key] = group.create_task(self._end(key, pod), name=f"end pod {key[1]}")
            elif key not in self._lives:
                self._lives[key] = group.create_task(self._live(key), name=f"pod {key[1]}")
        self._write_surfaces()

    def _renew_templates(self) -> None:
        """Give pods that have no process the present template: after a restart of the machine nothing speaks for the
        old one, and it may name an operator's port that is no more."""
        for statefulset in self._store.select(STATEFUL_SET, None, {}):
            metadata = statefulset["metadata"]
            for index in range(statefulset["spec"].get("replicas", 1)):
                wanted = statefulsets.build_pod(statefulset, index)
                self._store.change(
                    POD, metadata["namespace"], wanted["metadata"]["name"], partial(statefulsets.renew, wanted)
                )

    def _on_object(self, manifest: Manifest) -> None:
        if manifest["kind"] in (CONFIG_MAP.kind, SECRET.kind):
            self._refresh_mounts(manifest["kind"], manifest["metadata"]["namespace"], manifest["metadata"]["name"])
        self._changed.set()

    def _refresh_mounts(self, kind: str, namespace: str, name: str) -> None:
        for pod in self._store.select(POD, namespace, {}):
            container = self._containers.get(_key(pod))
            if container is None or (kind, name) not in referenced(pod):
                continue
            if container.pid is None:
                container.retry()
            elif not pod["metadata"].get("deletionTimestamp"):  # what is ending keeps what it has
                self._mount(pod)

    def _write_surfaces(self) -> None:
        self._folder.write_peers(self._store.select(POD, None, {}))
        if self.on_pods_changed is not None:
            self.on_pods_changed()

    # --- One pod ----------------------------------------------------------------------------------------------------

    async def _live(self, key: PodKey) -> None:
        container = Container(
            name=key[1],
            prepare=partial(self._prepare, key),
            on_change=partial(self._report, key),
            clock=self._clock,
            chance=self._chance,
        )
        self._containers[key] = container
        await container.run()

    async def _end(self, key: PodKey, pod: Manifest) -> None:
        """A deleted pod: end its process, then remove its state and its object."""
        await self._stop(key, pod)
        if key in self._lives:
            await self._lives.pop(key)
        self._containers.pop(key, None)
        self._waiting.pop(key, None)
        remove_tree(self._folder.pod(*key))
        self._store.remove(POD, *key)
        del self._ends[key]
        self._changed.set()

    async def _stop(self, key: PodKey, pod: Manifest | None = None) -> None:
        container = self._containers.get(key)
        if container is None:
            return
        pod = pod or self._store.get(POD, *key) or {}
        grace = (pod.get("spec") or {}).get("terminationGracePeriodSeconds")
        await container.stop(grace_seconds=DEFAULT_GRACE_SECONDS if grace is None else float(grace))

    def _prepare(self, key: PodKey) -> Start | None:
        pod = self._store.get(POD, *key)
        if pod is None or not self._mount(pod):
            return None
        folder = self._folder.pod(*key)
        port = self._give_port(key, pod)
        return Start(
            command=self._command,
            environment=pod_environment(pod=pod, root=folder / "root", port=port, inherited=os.environ),
            folder=folder,
            log=self._folder.pod_log(*key),
            note=folder / "process.json",
        )

    def _mount(self, pod: Manifest) -> bool:
        """Write the pod's volumes; False (and the reason kept) if one of them has to be waited for."""
        key = namespace, name = _key(pod)

        def lookup(kind: Kind, source: str) -> Manifest | None:
            return self._store.get(kind, namespace, source)

        root = make_private(self._folder.pod(namespace, name) / "root")
        try:
            materialise(pod=pod, root=root, claims=self._folder.claims / namespace, lookup=lookup)
        except (MissingSourceError, OSError) as error:
            if self._waiting.get(key) != str(error):
                log.warning("pod %s waits: %s", name, error)
            self._waiting[key] = str(error)
            return False
        self._waiting.pop(key, None)
        return True

    def _give_port(self, key: PodKey, pod: Manifest) -> int:
        """The port the pod had, if it is free, or a new one; siblings learn of it before the process starts."""
        noted = (pod["metadata"].get("annotations") or {}).get(PORT_ANNOTATION)
        if noted and _is_free(int(noted)):
            return int(noted)
        port = _free_port()

        def note(manifest: Manifest) -> None:
            manifest["metadata"].setdefault("annotations", {})[PORT_ANNOTATION] = str(port)

        self._store.change(POD, *key, note)
        self._folder.write_peers(self._store.select(POD, None, {}))
        return port

    def _report(self, key: PodKey) -> None:
        """Show in the pod's status what became of its process."""
        container = self._containers[key]
        running = container.pid is not None
        ended = {} if container.last_exit is None else {"lastState": {"terminated": {"exitCode": container.last_exit}}}

        def show(manifest: Manifest) -> None:
            manifest["status"] = {
                "phase": "Running",
                "podIP": "127.0.0.1",
                "containerStatuses": [
                    {
                        "name": manifest["spec"]["containers"][0]["name"],
                        "restartCount": container.restarts,
                        "started": running,
                        **ended,
                    }
                ],
            }

        self._store.change(POD, *key, show)


def _key(pod: Manifest) -> PodKey:
    return pod["metadata"]["namespace"], pod["metadata"]["name"]


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True
