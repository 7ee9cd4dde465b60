"""StatefulSet controller and kubelets: pods that ought to run, run, as machines of the virtual world.

The rules are Kubernetes': a pod that is deleted is told to end, killed after its grace, and gone with its disk. Which
pods a StatefulSet wants is the process cluster's code.
"""

from __future__ import annotations

import asyncio
import random

from gateway_operator.cluster.port import CONFIG_MAP, POD, SECRET, STATEFUL_SET, Manifest
from gateway_operator.cluster.processes import statefulsets
from gateway_operator.cluster.processes.objects import ObjectStore
from system.forgiven import Wiped
from system.running_pod import RunningPod
from system.tally import Tally
from system.trace import Trace
from virtual.world import World

REACTION_SECONDS = (0.02, 0.3)
"""From a change of an object to what a controller makes of it."""
SKEW_SECONDS = 0.1
"""Nodes' clocks differ by at most twice this."""


class Nodes:
    """All controllers of the cluster and all its nodes; they never fail."""

    def __init__(self, world: World, store: ObjectStore, trace: Trace, *, skew_seconds: float = SKEW_SECONDS) -> None:
        self._world = world
        self._store = store
        self._trace = trace
        self._skew_seconds = skew_seconds
        self._chance = random.Random(f"nodes/{world.seed}")
        self.tally = Tally()
        self.wiped: list[Wiped] = []
        """Pods that were deleted and had no volume."""
        self._pods: dict[str, RunningPod] = {}
        self._forced = 0
        self._changed = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()
        store.subscribe(self._on_object)

    def __getitem__(self, pod: str) -> RunningPod:
        return self._pods[pod]

    def __contains__(self, pod: str) -> bool:
        return pod in self._pods

    @property
    def running(self) -> list[RunningPod]:
        """By name."""
        return [pod for _, pod in sorted(self._pods.items())]

    def force_delete(self, name: str) -> RunningPod:
        """As ``kubectl delete --force``: the object is gone, and the pod lives on, unknown to the cluster, beside the
        next of its name. Both have the one volume. It ends by :meth:`RunningPod.end`."""
        running = self._pods.pop(name)
        running.forget()
        self._forced += 1
        self._store.remove(POD, running.namespace, name)
        self._changed.set()
        return running

    async def run(self) -> None:
        while True:
            await self._changed.wait()
            await asyncio.sleep(self._chance.uniform(*REACTION_SECONDS))
            self._changed.clear()
            self._reconcile()

    def _reconcile(self) -> None:
        for statefulset in self._store.select(STATEFUL_SET, None, {}):
            namespace = statefulset["metadata"]["namespace"]
            pods = self._store.select(POD, namespace, {})
            for pod in statefulsets.missing(statefulset, pods):
                self._store.create(pod)
            for pod in statefulsets.surplus(statefulset, pods):
                self._store.delete(POD, namespace, pod["metadata"]["name"])
        for pod in self._store.select(POD, None, {}):
            name = pod["metadata"]["name"]
            running = self._pods.get(name)
            if running is None:
                if not pod["metadata"].get("deletionTimestamp"):
                    self._start(pod)
            elif pod["metadata"].get("deletionTimestamp"):
                running.end()

    def _start(self, pod: Manifest) -> None:
        running = RunningPod(
            pod,
            world=self._world,
            store=self._store,
            trace=self._trace,
            chance=random.Random(self._chance.random()),
            skew_seconds=self._skew_seconds,
            node=f"{pod['metadata']['name']}+{self._forced}" if self._forced else pod["metadata"]["name"],
            tally=self.tally,
        )
        self._pods[pod["metadata"]["name"]] = running
        task = asyncio.get_running_loop().create_task(self._live(running), name=f"kubelet of {running.name}")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _live(self, running: RunningPod) -> None:
        await running.run()
        running.gone.set()
        if self._pods.get(running.name) is not running:
            return
        del self._pods[running.name]
        if not running.has_volume:
            self._world.disk(running.name).wipe()
            now = asyncio.get_running_loop().time()
            self.wiped.append(Wiped(running.name, now if running.ended_at is None else running.ended_at, now))
        self._store.remove(POD, running.namespace, running.name)
        self._changed.set()

    def _on_object(self, manifest: Manifest) -> None:
        self._changed.set()
        kind, name = manifest["kind"], manifest["metadata"]["name"]
        if kind in (CONFIG_MAP.kind, SECRET.kind):
            for running in self.running:
                running.source_changed(kind, name)
        elif kind == POD.kind and name in self._pods:
            self._pods[name].touched(manifest)
