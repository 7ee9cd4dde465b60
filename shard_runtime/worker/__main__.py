"""``python -m shard_runtime.worker FD PARENT``: a worker process, started by the pod's supervisor.

FD is the worker's end of the channel, PARENT the supervisor's process id. The worker ends with its supervisor: the
kernel signals the death of the parent, and the channel ends. Then nobody tells it a role any more, so it closes its
connections resumably and goes. Signals that a terminal or a process group sends to all are the supervisor's business.
"""

from __future__ import annotations

import asyncio
import ctypes
import gc
import os
import random
import signal
import socket
import sys
from pathlib import Path
from typing import Final

import uvloop

from gateway_hooks import HookLoadError
from shard_runtime.channel import serve_channel
from shard_runtime.connection.clock import SystemClock, system_offset
from shard_runtime.connection.network import SystemNetwork
from shard_runtime.disk import SystemDisk
from shard_runtime.hooked.lines import NAME as LOG_HOOK
from shard_runtime.hooked.lines import HookedLines
from shard_runtime.hooked.setup import make_hooks
from shard_runtime.locks import hold_lock
from shard_runtime.logs import Redaction, configure_logging, guard_crashes
from shard_runtime.memory import give_back_memory
from shard_runtime.orders import Begin, Done, Failed, FromWorker, NewSecrets, Stop, ToWorker
from shard_runtime.worker.anchor import kept_offset, this_boot
from shard_runtime.worker.core import Worker

PR_SET_PDEATHSIG: Final = 1
ORPHAN_SECONDS: Final = 5.0
"""How long an orphaned worker may take to close its connections; the alarm ends it after twice the time."""

ANSWER_SECONDS: Final = 1.0

COLLECT_AFTER: Final = 10_000
"""New objects after which Python looks among them for cycles. Hardly any event makes one, and to look after every 700,
as usual, costs a fiftieth of an event."""


def main(arguments: list[str]) -> None:
    descriptor, parent = int(arguments[0]), int(arguments[1])
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    _end_with_parent(parent)
    gc.freeze()  # modules and their like stay
    gc.set_threshold(COLLECT_AFTER)
    uvloop.run(WorkerProcess().run(socket.socket(fileno=descriptor)))


def _end_with_parent(parent: int) -> None:
    # The alarm's default action ends the process even if its loop is stuck.
    signal.signal(signal.SIGHUP, lambda number, frame: signal.alarm(round(2 * ORPHAN_SECONDS)))
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGHUP)
    if os.getppid() != parent:
        sys.exit("the supervisor ended before its worker had begun")


class WorkerProcess:
    """Answers the supervisor's calls; the first must be :class:`~shard_runtime.orders.Begin`."""

    def __init__(self) -> None:
        self._redaction = Redaction()
        guard_crashes(self._redaction)
        self._worker: Worker | None = None
        self._running: asyncio.Task[None] | None = None
        self._begun = asyncio.Event()
        self._network = SystemNetwork()
        self._lines: asyncio.Task[None] | None = None

    async def run(self, channel: socket.socket) -> None:
        """Serve until the worker has stopped. A worker that fails ends its process with the trace."""
        reader, writer = await asyncio.open_unix_connection(sock=channel)
        serving = asyncio.create_task(serve_channel(reader, writer, self._handle), name="channel")
        begun = asyncio.create_task(self._begun.wait(), name="first message")
        try:
            await asyncio.wait((serving, begun), return_when=asyncio.FIRST_COMPLETED)
            if self._worker is None or self._running is None:
                serving.result()
                return
            await asyncio.wait((serving, self._running), return_when=asyncio.FIRST_COMPLETED)
            if self._running.done():
                reader.feed_eof()  # the last answers still go out
                await asyncio.wait((serving,), timeout=ANSWER_SECONDS)
            else:  # orphaned
                await self._worker.handle(Stop(seconds=0.0, end_sessions=False))
                await asyncio.wait((self._running,), timeout=ORPHAN_SECONDS)
            if self._running.done():
                self._running.result()
        finally:
            for task in (serving, begun, self._lines):
                if task is not None:
                    task.cancel()
            if self._lines is not None:
                await asyncio.wait((self._lines,))
            await self._network.close()
            writer.close()

    async def _handle(self, message: ToWorker) -> FromWorker:
        if isinstance(message, Begin):
            return await self._begin(message)
        if self._worker is None:
            return Failed(error="The worker has not begun.")
        if isinstance(message, NewSecrets):
            self._redaction.learn(message.token, message.operator, *(message.signing or "").split())
        return await self._worker.handle(message)

    async def _begin(self, begin: Begin) -> FromWorker:
        if self._worker is not None:
            return Failed(error="The worker has begun already.")
        self._redaction.learn(begin.token, begin.operator, *(begin.signing or "").split())
        log = configure_logging(
            level=os.environ.get("DISCORD_GATEWAY_LOG_LEVEL", "info"),
            redaction=self._redaction,
            fields={
                "gateway": begin.config.gateway,
                "generation": begin.config.generation,
                "pod": begin.pod,
                "worker": begin.worker,
            },
        )
        disk, state = SystemDisk(), Path(begin.state)
        offset = kept_offset(system_offset(), boot=this_boot(), path=state / "clock.json", disk=disk)
        clock = SystemClock(offset=offset)
        try:
            hooks = make_hooks(
                begin.handlers,
                config=begin.config,
                pod=begin.pod,
                worker=begin.worker,
                shards=tuple(begin.shards),
                log=log,
                monotonic=clock.monotonic,
            )
        except HookLoadError as error:  # though they have loaded in the supervisor
            return Failed(error=str(error))
        if hooks is not None and LOG_HOOK in hooks:
            self._lines = asyncio.create_task(HookedLines.install(hooks, self._redaction).run(), name="hook: log")
        await hold_lock(state / "lock", clock=clock, log=log)
        self._worker = Worker(
            begin=begin,
            clock=clock,
            chance=random.Random(),
            network=self._network,
            disk=disk,
            log=log,
            give_back_memory=self._give_back_memory,
            hooks=hooks,
        )
        self._running = asyncio.create_task(self._worker.run(), name="worker")
        self._begun.set()
        return Done()

    def _give_back_memory(self) -> None:
        self._network.give_back_memory()
        give_back_memory()


if __name__ == "__main__":
    main(sys.argv[1:])
