"""One pod on its node, through all lives of its container: restarts and their backoff, mounts that lag, power cuts.

A container that ends is started again on the same disk; a mounted ConfigMap follows its object within 75 s, or within a
second after the pod's annotations were changed, and may skip versions. What a volume holds is the process cluster's
code.
"""

from __future__ import annotations

import asyncio
import random
from dataclasses import replace
from pathlib import Path

from gateway_operator.api.generation import GATEWAY_LABEL
from gateway_operator.cluster.port import POD, Kind, Manifest
from gateway_operator.cluster.processes import statefulsets
from gateway_operator.cluster.processes.objects import ObjectStore
from gateway_operator.cluster.processes.volumes import MissingSourceError, _files, referenced
from gateway_operator.resources.naming import headless_service_name
from system.cluster import ADDRESS_ANNOTATION
from system.pod import Machine, PodLife
from system.tally import Tally
from system.trace import Trace
from virtual.disk import VirtualDisk
from virtual.world import World

from shard_runtime.contract import RUNTIME_PORT

MOUNT_LAG_SECONDS = (1.0, 75.0)
TOUCHED_SECONDS = (0.1, 1.0)
RESTART_SECONDS = (0.3, 1.5)
FIRST_BACKOFF_SECONDS = 10.0
LONGEST_BACKOFF_SECONDS = 300.0
STEADY_SECONDS = 600.0


class RunningPod:
    """A pod on its node, through all lives of its container."""

    def __init__(
        self,
        pod: Manifest,
        *,
        world: World,
        store: ObjectStore,
        trace: Trace,
        chance: random.Random,
        skew_seconds: float,
        node: str,
        tally: Tally,
    ) -> None:
        metadata = pod["metadata"]
        self.name: str = metadata["name"]
        self.namespace: str = metadata["namespace"]
        self.restarts = 0
        self.node = node
        """On the network."""
        self.gone = asyncio.Event()
        self.has_volume = any("persistentVolumeClaim" in volume for volume in pod["spec"]["volumes"])
        """Its disk outlives it."""
        self._known = True
        self.life: PodLife | None = None
        """The latest."""
        self._store = store
        self._chance = chance
        self._sources = referenced(pod)
        self._annotations = dict(metadata.get("annotations") or {})
        self._grace = float(pod["spec"].get("terminationGracePeriodSeconds") or 30)
        self._ending = asyncio.Event()
        self.ended_at: float | None = None
        """When it was told of its deletion, on the loop's clock."""
        self._refreshed = asyncio.Event()
        self._missing: str | None = None
        service = headless_service_name(metadata["labels"][GATEWAY_LABEL])
        self._machine = Machine(
            world=world,
            trace=trace,
            name=self.name,
            node=node,
            host=f"{self.name}.{service}.{self.namespace}.svc",
            index=int(metadata["labels"][statefulsets.INDEX_LABEL]),
            uid=metadata["uid"],
            mounts=VirtualDisk(),
            skew_seconds=chance.uniform(-skew_seconds, skew_seconds),
            tally=tally,
        )

    # --- The container ------------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Until the pod is deleted and its processes have ended."""
        loop = asyncio.get_running_loop()
        backoff = 0.0
        while not self._ending.is_set():
            await asyncio.sleep(self._chance.uniform(*RESTART_SECONDS) + backoff)
            if not self._mount():
                self._refreshed.clear()
                await _first(self._refreshed, self._ending)
                continue
            self._give_address()
            began = loop.time()
            self.life = PodLife(self._machine)
            self.life.start()
            self._report(running=True)
            await _first(self.life.ended, self._ending)
            self._report(running=not self.life.ended.is_set())
            if not self._ending.is_set():
                self.restarts += 1
                steady = loop.time() - began >= STEADY_SECONDS
                # the first restart is at once, as the kubelet does it
                crashes = 0.0 if steady or self.restarts == 1 else max(FIRST_BACKOFF_SECONDS, 2 * backoff)
                backoff = min(LONGEST_BACKOFF_SECONDS, crashes)
        if self.life is not None and not self.life.ended.is_set():
            self.life.terminate()
            try:
                async with asyncio.timeout(self._grace):
                    await self.life.ended.wait()
            except TimeoutError:
                self._machine.trace.note(self.name, "did not end within its grace")
                self.life.kill()

    @property
    def ending(self) -> bool:
        return self._ending.is_set()

    def end(self) -> None:
        """The pod is deleted."""
        if self.ended_at is None:
            self.ended_at = asyncio.get_running_loop().time()
        self._ending.set()

    def forget(self) -> None:
        """The cluster knows nothing of it any more, nor it of the cluster."""
        self._known = False

    def set_clock(self, skew_seconds: float) -> None:
        """Set the node's wall clock, for processes that start from now on."""
        self._machine.trace.note(self.name, f"has its clock {skew_seconds:+g} s off")
        self._machine = replace(self._machine, skew_seconds=skew_seconds)

    def power_cut(self) -> None:
        """The node goes down and comes up again; what it had not synced is gone."""
        self._machine.trace.note(self.name, "has a power cut")
        self.kill()
        self._machine.world.disk(self.name).power_cut()
        self._machine = replace(self._machine, boots=self._machine.boots + 1)

    def kill(self) -> None:
        """``kill -9`` to all processes of the container, as an out-of-memory kill does it."""
        assert self.life is not None
        self._machine.trace.note(self.name, "is killed")
        self.life.kill()

    def kill_worker(self, number: int) -> None:
        """``kill -9`` to one worker."""
        assert self.life is not None
        self._machine.trace.note(f"{self.name}/{number}", "is killed")
        self.life.workers[number].kill()

    # --- Mounts -------------------------------------------------------------------------------------------------------

    def source_changed(self, kind: str, name: str) -> None:
        if (kind, name) in self._sources:
            # a pod that waits for a mount is looked at again more often than one that runs
            waits = self._missing is not None
            self._refresh_within(TOUCHED_SECONDS if waits else MOUNT_LAG_SECONDS)

    def touched(self, pod: Manifest) -> None:
        annotations = dict(pod["metadata"].get("annotations") or {})
        if annotations != self._annotations:
            self._annotations = annotations
            self._refresh_within(TOUCHED_SECONDS)

    def _refresh_within(self, seconds: tuple[float, float]) -> None:
        asyncio.get_running_loop().call_later(self._chance.uniform(*seconds), self._refresh)

    def _refresh(self) -> None:
        self._mount()
        self._refreshed.set()

    def _mount(self) -> bool:
        """Bring the volumes up to date; False when one has to be waited for."""
        if not self._known:
            return True
        pod = self._store.get(POD, self.namespace, self.name)
        if pod is None:
            return False

        def lookup(kind: Kind, source: str) -> Manifest | None:
            return self._store.get(kind, self.namespace, source)

        volumes = {volume["name"]: volume for volume in pod["spec"]["volumes"]}
        try:
            files = {
                Path(mount["mountPath"]) / relative: content
                for mount in pod["spec"]["containers"][0]["volumeMounts"]
                if not {"emptyDir", "persistentVolumeClaim"} & volumes[mount["name"]].keys()
                for relative, (content, _) in _files(volumes[mount["name"]], lookup)
            }
        except MissingSourceError as error:
            if str(error) != self._missing:
                self._missing = str(error)
                self._machine.trace.note(self.name, f"waits: {error}")
            return False
        self._missing = None
        mounts = self._machine.mounts
        for path in mounts.files():
            if path not in files:
                mounts.remove(path)
        for path, content in files.items():
            mounts.write(path, content)
        return True

    def _report(self, *, running: bool) -> None:
        """Show in the pod's status what became of the container, which tells whoever watches pods."""

        def show(pod: Manifest) -> None:
            state: dict[str, object] = {"running": {}} if running else {"terminated": {}}
            pod["status"] = {
                "phase": "Running",
                "containerStatuses": [{"name": "gateway", "restartCount": self.restarts, "state": state}],
            }

        if self._known:
            self._store.change(POD, self.namespace, self.name, show)

    def _give_address(self) -> None:
        def give(pod: Manifest) -> None:
            pod["metadata"].setdefault("annotations", {})[ADDRESS_ANNOTATION] = (
                f"http://{self._machine.host}:{RUNTIME_PORT}"
            )

        if not self._known:
            return
        self._annotations.setdefault(ADDRESS_ANNOTATION, f"http://{self._machine.host}:{RUNTIME_PORT}")
        self._store.change(POD, self.namespace, self.name, give)


async def _first(*events: asyncio.Event) -> None:
    waits = [asyncio.ensure_future(event.wait()) for event in events]
    try:
        await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for wait in waits:
            wait.cancel()
