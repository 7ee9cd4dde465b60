"""Runs a manifest file as processes until it is told to stop."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import random
import secrets
import signal
import sys
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from gateway_hooks import Hooks
from gateway_operator.cluster.port import CONFIG_MAP, GATEWAY, KINDS, Manifest
from gateway_operator.cluster.processes.cluster import ProcessCluster
from gateway_operator.cluster.processes.files import write_whole
from gateway_operator.control_plane import ControlPlane
from gateway_operator.http_client import AiohttpClient
from gateway_operator.local.applied import apply_file
from gateway_operator.local.console import Console
from gateway_operator.local.control import ControlRoutes
from gateway_operator.local.manifests import ManifestError, ManifestFile, read_manifests
from gateway_operator.local.patching import token_path
from gateway_operator.local.watch import Stamp, watch_file
from gateway_operator.planning.actions import Plan
from gateway_operator.ports import SystemClock
from gateway_operator.reconcile.fleet import Fleet
from gateway_operator.reconcile.reconciler import GatewayKey
from gateway_operator.resources.settings import RuntimeSettings
from gateway_operator.web.surface import Surface

log = logging.getLogger(__name__)

RUNTIME_COMMAND: Final = (sys.executable, "-m", "shard_runtime")
HOST: Final = "127.0.0.1"
PACE: Final = 0.25
"""Passes cost next to nothing here, so a reshard is followed four times as closely as on Kubernetes."""
FIRST_PASS_SECONDS: Final = 3.0


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalOptions:
    file: Path
    state: Path
    write: Callable[[str], None]
    """Takes the lines for the person who watches."""
    command: Sequence[str] = RUNTIME_COMMAND
    """Starts one pod's runtime."""
    hooks: Hooks | None = None
    """The operator's."""


async def run_local(options: LocalOptions, manifests: ManifestFile, *, since: Stamp | None) -> None:
    """Run until SIGINT or SIGTERM; *manifests* is the file as it was read when its stamp was *since*.

    The caller holds the state directory's lock. Raises ``OSError`` and ``ValueError`` where the directory cannot be
    used.
    """
    cluster = ProcessCluster(state=options.state, command=options.command, clock=SystemClock(), chance=random.Random())
    async with _operating(options, cluster) as run:
        await run.until_stopped(manifests, since)


def surface_of(plane: ControlPlane, control: ControlRoutes) -> Surface:
    """All that it answers."""
    return Surface(ready=lambda: True, metrics=plane.metrics, routes=[*plane.routes(), *control.routes()])


@contextlib.asynccontextmanager
async def _operating(options: LocalOptions, cluster: ProcessCluster) -> AsyncIterator[LocalRun]:
    """The control plane and its HTTP surface around a run; ended last, since pods talk to it while they end."""
    run = LocalRun(options=options, cluster=cluster)
    port = _former_port(cluster.folder.state_file)
    control = ControlRoutes(store=cluster.store, token=_control_token(options.state), on_patched=run.say_patched)
    async with AiohttpClient() as http:
        plane = ControlPlane.assemble(
            cluster=cluster,
            http=http,
            clock=SystemClock(),
            chance=random.Random(),
            settings=lambda: run.settings,
            incarnation=secrets.token_hex(4),
            silent_start=bool(cluster.store.select(CONFIG_MAP, None, {})),
            pace=PACE,
            on_pass=run.on_pass,
            hooks=options.hooks,
        )
        surface = surface_of(plane, control)
        try:
            try:
                port = await surface.start(HOST, port)
            except OSError:  # somebody took the port of the last run; pods learn of the new one at their start
                port = await surface.start(HOST, 0)
            run.begin(plane, url=f"http://{HOST}:{port}")
            yield run
        finally:
            await plane.fleet.stop()
            await surface.stop()


class LocalRun:
    """One life of ``dgw local``."""

    def __init__(self, *, options: LocalOptions, cluster: ProcessCluster) -> None:
        self._options = options
        self._cluster = cluster
        self._console = Console(write=options.write)
        self._stop = asyncio.Event()
        self._unseen: set[GatewayKey] = set()
        self._all_seen = asyncio.Event()
        self._specs: dict[GatewayKey, int] = {}
        self._plane: ControlPlane | None = None
        self.settings = RuntimeSettings(image="local", operator_url="")

    def begin(self, plane: ControlPlane, *, url: str) -> None:
        """The operator answers at *url*."""
        self._plane = plane
        self.settings = RuntimeSettings(image="local", operator_url=url)
        self._cluster.announce({"url": url, "pid": os.getpid(), "controlToken": str(token_path(self._options.state))})

    async def until_stopped(self, manifests: ManifestFile, since: Stamp | None) -> None:
        state = self._cluster.folder.root
        self._console.say(f"state, logs and tokens are in {state} (state.json says where)")
        self._cluster.store.subscribe(self._on_object)
        self._apply(manifests)
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, self._on_signal, number)
        try:
            async with asyncio.TaskGroup() as group:
                watching = group.create_task(
                    watch_file(self._options.file, since=since, on_change=self._reread), name="manifest file"
                )
                kubelet = group.create_task(self._run_pods(), name="pods")
                await self._stop.wait()
                watching.cancel()
                self._console.say("stopping: pods deliver what is queued, sessions stay resumable (again: end at once)")
                await self._fleet.stop()
                self._cluster.kubelet.stop()
                await kubelet
        finally:
            for number in (signal.SIGINT, signal.SIGTERM):
                loop.remove_signal_handler(number)

    # --- Pods --------------------------------------------------------------------------------------------------------

    async def _run_pods(self) -> None:
        """Start pods once every gateway had a pass, so that they start with what is wanted now."""
        stopped = asyncio.ensure_future(self._stop.wait())
        seen = asyncio.ensure_future(self._all_seen.wait())
        await asyncio.wait({stopped, seen}, timeout=FIRST_PASS_SECONDS, return_when=asyncio.FIRST_COMPLETED)
        stopped.cancel()
        seen.cancel()
        await self._cluster.kubelet.run()

    def _on_signal(self, number: signal.Signals) -> None:
        if self._stop.is_set():
            self._console.say("ending the pods at once")
            self._cluster.kubelet.kill()
        log.info("%s", number.name)
        self._stop.set()

    # --- The file ----------------------------------------------------------------------------------------------------

    def _reread(self) -> None:
        try:
            manifests = read_manifests(self._options.file)
        except ManifestError as error:
            for sentence in error.sentences:
                self._console.say(sentence)
            self._console.say(f"{self._options.file} is not applied; what was last good goes on")
            return
        self._apply(manifests)

    def _apply(self, manifests: ManifestFile) -> None:
        for sentence in manifests.ignored:
            self._console.say(sentence)
        applied = apply_file(self._cluster.store, manifests)
        for manifest in applied.changed:
            self._console.say(f"{manifest['kind']} {manifest['metadata']['name']} applied")
        for manifest in applied.gone:
            kind, metadata = KINDS[manifest["kind"]], manifest["metadata"]
            self._console.say(f"{kind.kind} {metadata['name']} is not in the file any more and is deleted")
            self._cluster.store.delete(kind, metadata["namespace"], metadata["name"])
        for gateway in manifests.gateways:
            key = _key(gateway)
            if key not in self._fleet.gateways:
                self._unseen.add(key)
                self._fleet.add(*key)

    def say_patched(self, manifest: Manifest) -> None:
        self._console.say(f"{manifest['kind']} {manifest['metadata']['name']} patched")

    # --- What happens ------------------------------------------------------------------------------------------------

    @property
    def _fleet(self) -> Fleet:
        if self._plane is None:
            raise RuntimeError("the run has not begun")
        return self._plane.fleet

    def on_pass(self, key: GatewayKey, plan: Plan) -> None:
        self._console.show(key, plan)
        if not plan.again:
            self._unseen.discard(key)
        if not self._unseen:
            self._all_seen.set()

    def _on_object(self, manifest: Manifest) -> None:
        """Wake the loops that a change may matter to; a status that was written matters to none."""
        if manifest["kind"] == GATEWAY.kind:
            key = _key(manifest)
            generation = manifest["metadata"]["generation"]
            if self._specs.get(key) != generation:
                self._specs[key] = generation
                self._fleet.wake(*key)
        else:
            self._fleet.wake_all()


def _key(manifest: Manifest) -> GatewayKey:
    return manifest["metadata"]["namespace"], manifest["metadata"]["name"]


def _former_port(state_file: Path) -> int:
    """The operator's port of the last run, so that pods' configuration need not change; 0 if there was none."""
    try:
        return int(json.loads(state_file.read_bytes())["operator"]["url"].rpartition(":")[2])
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return 0


def _control_token(state: Path) -> str:
    path = token_path(state)
    if not path.exists():
        write_whole(path, secrets.token_urlsafe(32).encode())
    return path.read_text().strip()
