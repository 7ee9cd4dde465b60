"""Worker processes: started, watched, started again after a crash, each on its own."""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import sys
from typing import Final

from shard_runtime.backoff import Backoff
from shard_runtime.channel import LinkLostError, StreamLink
from shard_runtime.orders import Failed
from shard_runtime.ports import Chance, Clock
from shard_runtime.supervisor.pod import Pod

FIRST_RESTART_SECONDS: Final = 0.1
LONGEST_RESTART_SECONDS: Final = 30.0
HEALTHY_SECONDS: Final = 60.0
"""A worker that ran this long starts again as if it had never crashed."""
BEGIN_SECONDS: Final = 60.0
"""Includes waiting for an earlier process's lock."""
HUNG_SECONDS: Final = 45.0
"""A worker that has not answered for so long has missed heartbeats, and its sessions are as good as cut off."""
WATCH_SECONDS: Final = 1.0
LEAVE_SECONDS: Final = 6.0
"""From the end of its channel to the worker's end; then it is killed."""


class WorkerProcess:
    """Keeps one worker of a pod alive until told to stop."""

    def __init__(
        self,
        *,
        pod: Pod,
        worker: int,
        clock: Clock,
        chance: Chance,
        log: logging.Logger,
        hung_seconds: float = HUNG_SECONDS,
    ) -> None:
        self._hung_seconds = hung_seconds
        self._pod = pod
        self._worker = worker
        self._clock = clock
        self._log = log
        self._backoff = Backoff(first=FIRST_RESTART_SECONDS, cap=LONGEST_RESTART_SECONDS, chance=chance)
        self._stopping = asyncio.Event()
        self._finishing = asyncio.Event()
        self.restarts = 0

    def stop(self) -> None:
        """Do not start the worker again when it ends."""
        self._stopping.set()

    def finish(self) -> None:
        """End the process if it has not ended by now; after :meth:`stop`."""
        self._finishing.set()

    async def run(self) -> None:
        """Run until stopped; a cancelled run kills its process."""
        while not self._stopping.is_set():
            began = self._clock.monotonic()
            try:
                code = await self._run_once()
            except OSError as error:  # out of memory or file descriptors, perhaps for a moment
                self._log.error("Worker %d cannot be started: %s.", self._worker, error)
                code = -1
            if self._stopping.is_set():
                return
            if self._clock.monotonic() - began >= HEALTHY_SECONDS:
                self._backoff.reset()
            delay = self._backoff.next()
            self.restarts += 1
            self._log.error("Worker %d ended (exit code %d); started again in %.1f s.", self._worker, code, delay)
            await self._pause(delay)

    async def _pause(self, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                await self._stopping.wait()
        except TimeoutError:
            return

    async def _run_once(self) -> int:
        ours, theirs = socket.socketpair()
        with theirs:
            process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-m",
                "shard_runtime.worker",
                str(theirs.fileno()),
                str(os.getpid()),
                stdin=asyncio.subprocess.DEVNULL,
                pass_fds=(theirs.fileno(),),
            )
        try:
            reader, writer = await asyncio.open_unix_connection(sock=ours)
            link = StreamLink(reader, writer)
            waiting = asyncio.create_task(process.wait(), name=f"worker {self._worker}")
            finishing = asyncio.create_task(self._finishing.wait())
            reading = asyncio.create_task(link.run(), name=f"channel of worker {self._worker}")
            beginning = asyncio.create_task(self._begin(link), name=f"begin of worker {self._worker}")
            watching = asyncio.create_task(self._until_hung(), name=f"watch over worker {self._worker}")
            try:
                await asyncio.wait((waiting, finishing, beginning), return_when=asyncio.FIRST_COMPLETED)
                if beginning.done() and self._has_begun(beginning):
                    await asyncio.wait((waiting, finishing, reading, watching), return_when=asyncio.FIRST_COMPLETED)
                if watching.done():
                    self._log.error("Worker %d hangs; it is killed, and its sessions are resumed.", self._worker)
                    process.kill()
                writer.close()  # a worker that has not stopped yet sees that nobody is left
                await asyncio.wait((waiting,), timeout=LEAVE_SECONDS)
            finally:
                self._pod.detach(self._worker)
                for task in (waiting, finishing, reading, beginning, watching):
                    task.cancel()
                await asyncio.gather(waiting, finishing, beginning, watching, return_exceptions=True)
                (broken,) = await asyncio.gather(reading, return_exceptions=True)
                if isinstance(broken, Exception):
                    self._log.error("The channel to worker %d broke: %s.", self._worker, broken)
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
        return process.returncode if process.returncode is not None else -1

    async def _until_hung(self) -> None:
        """A process can be there and do nothing: stopped, or in a handler that blocks."""
        while self._pod.silent_seconds(self._worker) < self._hung_seconds:
            await self._clock.sleep(WATCH_SECONDS)

    async def _begin(self, link: StreamLink) -> None:
        begin = self._pod.begin(self._worker)
        answer = await link.call(begin, timeout=BEGIN_SECONDS)
        if isinstance(answer, Failed):
            raise LinkLostError(answer.error)
        self._pod.attach(self._worker, link, begin)
        await self._pod.tick()

    def _has_begun(self, beginning: asyncio.Task[None]) -> bool:
        error = beginning.exception()
        if error is None:
            return True
        if not isinstance(error, LinkLostError):
            raise error
        self._log.error("Worker %d does not begin: %s", self._worker, error)
        return False
