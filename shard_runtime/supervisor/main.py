"""The supervisor process: reads the mounts, serves the surface, runs the workers, stops in order."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import random
import signal
import sys
from collections.abc import Coroutine, Mapping
from typing import Any, Final

import msgspec

from gateway_hooks import HookLoadError, Hooks, Side, find_installed
from shard_runtime import contract
from shard_runtime.admin.server import AdminServer
from shard_runtime.connection.clock import SystemClock
from shard_runtime.disk import SystemDisk
from shard_runtime.environment import Environment, SetupError, read_environment
from shard_runtime.hooked.lines import NAME as LOG_HOOK
from shard_runtime.hooked.lines import HookedLines
from shard_runtime.hooked.setup import make_hooks
from shard_runtime.locks import hold_lock
from shard_runtime.logs import Redaction, configure_logging, guard_crashes
from shard_runtime.mounts import Mounts, Secrets
from shard_runtime.orders import Handlers
from shard_runtime.ports import Clock
from shard_runtime.supervisor.pod import Pod, StaleRecordError
from shard_runtime.supervisor.processes import WorkerProcess
from shard_runtime.supervisor.standing import SupersededError
from shard_runtime.supervisor.surface import Surface

WATCH_SECONDS: Final = 1.0

EXIT_OK: Final = 0
EXIT_FAILED: Final = 1
EXIT_SETUP: Final = 2


def main(variables: Mapping[str, str] = os.environ) -> int:
    """Run the pod until SIGTERM or SIGINT; the process's exit code."""
    redaction = Redaction()
    guard_crashes(redaction)
    try:
        environment = read_environment(variables)
        disk = SystemDisk()
        mounts = Mounts(folder=environment.config, disk=disk)
        config = mounts.config(environment.pod)
        mounts.forward()
        secrets = mounts.secrets()
        redaction.learn(secrets.token, secrets.operator, secrets.bot, *(secrets.signing or "").split())
        fields = {"gateway": config.gateway, "generation": config.generation, "pod": environment.pod}
        log = configure_logging(level=environment.log_level, redaction=redaction, fields=fields)
        mounts.record()
        handlers, hooks = _hooks(mounts, environment.pod, log)
        lines = None if hooks is None or LOG_HOOK not in hooks else HookedLines.install(hooks, redaction)
    except SetupError as error:
        print(redaction.clean(f"error: {error}"), file=sys.stderr)
        return EXIT_SETUP
    return asyncio.run(_with_lines(lines, _run(environment, mounts, redaction, log, handlers)))


def _hooks(mounts: Mounts, pod: int, log: logging.Logger) -> tuple[Handlers, Hooks | None]:
    """What workers are to load, and the same loaded here: what is wrong with it must stop the pod with a sentence."""
    config, source = mounts.config(pod), mounts.handlers()
    try:
        installed = [(origin.name, origin.value) for origin in find_installed(Side.RUNTIME)]
        handlers = Handlers(source=source, installed=installed)
        hooks = make_hooks(handlers, config=config, pod=pod, log=log, monotonic=SystemClock().monotonic)
    except HookLoadError as error:
        raise SetupError(str(error)) from error
    if hooks is not None:
        log.info("Handlers are in use: %s.", ", ".join(hooks.names))
    return handlers, hooks


async def _with_lines(lines: HookedLines | None, work: Coroutine[Any, Any, int]) -> int:
    """Run *work* with the hook for log lines beside it."""
    if lines is None:
        return await work
    running = asyncio.create_task(lines.run(), name="hook: log")
    try:
        return await work
    finally:
        running.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await running


async def _run(
    environment: Environment, mounts: Mounts, redaction: Redaction, log: logging.Logger, handlers: Handlers
) -> int:
    clock = SystemClock()
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopping.set)
    try:
        locking = asyncio.create_task(hold_lock(environment.state / "lock", clock=clock, log=log))
        waiting = asyncio.create_task(stopping.wait())
        await asyncio.wait((locking, waiting), return_when=asyncio.FIRST_COMPLETED)
        waiting.cancel()
        if not locking.done():
            locking.cancel()
            return EXIT_OK
        locking.result()
        pod = Pod(
            config=mounts.config(environment.pod),
            forward=mounts.forward(),
            secrets=mounts.secrets(),
            pod=environment.pod,
            pod_uid=environment.pod_uid,
            state=environment.state,
            clock=clock,
            disk=SystemDisk(),
            log=log,
            handlers=handlers,
        )
        record = mounts.record()
        if record is not None:
            await _adopt_mounted(pod, record, log)
        server = AdminServer(Surface(pod), log=log)
        port = await server.start(environment.host, environment.port)
    except SetupError as error:
        log.error("%s", error)
        return EXIT_SETUP
    except (SupersededError, OSError, msgspec.DecodeError) as error:
        log.error("The pod cannot start: %s", error)
        return EXIT_FAILED
    log.info(
        "Pod %d of generation %d is %s; it answers on port %d.", environment.pod, pod.config.generation, pod.role, port
    )
    try:
        return await _supervise(environment, mounts, pod, stopping, clock, redaction, log)
    finally:
        await server.close()


async def _supervise(
    environment: Environment,
    mounts: Mounts,
    pod: Pod,
    stopping: asyncio.Event,
    clock: Clock,
    redaction: Redaction,
    log: logging.Logger,
) -> int:
    processes = [
        WorkerProcess(pod=pod, worker=worker, clock=clock, chance=random.Random(), log=log)
        for worker in range(pod.workers)
    ]
    superseded = False
    watcher = MountWatcher(mounts=mounts, pod=pod, redaction=redaction, log=log)
    async with asyncio.TaskGroup() as tasks:
        for worker, process in enumerate(processes):
            tasks.create_task(process.run(), name=f"worker-{worker}")
        while not await _stopped_within(stopping, WATCH_SECONDS):
            await watcher.look()
            await pod.tick()
            if pod.superseded():
                log.error("A newer incarnation of this pod has its state; stopping without ending the sessions.")
                superseded = True
                break
        for process in processes:
            process.stop()
        log.info("Stopping: closing connections, delivering what is queued.")
        await pod.stop(0.0 if superseded else environment.grace_seconds)
        for process in processes:
            process.finish()
    log.info("Stopped.")
    return EXIT_FAILED if superseded else EXIT_OK


async def _stopped_within(stopping: asyncio.Event, seconds: float) -> bool:
    try:
        async with asyncio.timeout(seconds):
            await stopping.wait()
    except TimeoutError:
        return False
    return True


class MountWatcher:
    """Notices changed mounts by their content, and says what is wrong with one once, not every second."""

    def __init__(self, *, mounts: Mounts, pod: Pod, redaction: Redaction, log: logging.Logger) -> None:
        self._mounts = mounts
        self._pod = pod
        self._redaction = redaction
        self._log = log
        self._forward = mounts.forward()
        self._problems: dict[str, str] = {}

    async def look(self) -> None:
        """Read the mounts and let the pod follow what is new."""
        for name, step in (("secrets", self._secrets), ("forward", self._follow_forward), ("record", self._record)):
            try:
                await step()
            except (SetupError, OSError) as error:  # what is known stays in force: a pod does not die of a bad edit
                if self._problems.get(name) != str(error):
                    self._problems[name] = str(error)
                    self._log.error("%s The pod goes on with what it has.", error)
            else:
                self._problems.pop(name, None)

    async def _secrets(self) -> None:
        secrets: Secrets = self._mounts.secrets()
        self._redaction.learn(secrets.token, secrets.operator, secrets.bot, *(secrets.signing or "").split())
        await self._pod.adopt_secrets(secrets)

    async def _follow_forward(self) -> None:
        forward = self._mounts.forward()
        if forward != self._forward:  # a mount that lags behind a push must not undo it
            self._forward = forward
            await self._pod.adopt_forward(forward)

    async def _record(self) -> None:
        record = self._mounts.record()
        if record is not None:
            await _adopt_mounted(self._pod, record, self._log)


async def _adopt_mounted(pod: Pod, record: contract.Record, log: logging.Logger) -> None:
    try:
        await pod.adopt_record(record)
    except StaleRecordError as error:
        # Usual after a push: the mount lags by up to 75 s. Of one epoch there can be only one record.
        if record.epoch == error.current.epoch:
            log.error("The mounted record differs from the pushed one of the same epoch %d; ignored.", record.epoch)
