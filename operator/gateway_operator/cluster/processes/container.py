"""One pod's process: started, started again when it ends, and ended with all its children.

The process leads a session and process group of its own, so that a Ctrl-C meant for the cluster does not reach it and
nothing it spawned outlives it. As with a container's first process, a stop is a SIGTERM to it alone; SIGKILL goes to
the whole group.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from gateway_operator.cluster.processes import launch
from gateway_operator.cluster.processes.leftovers import signal_group, write_down
from gateway_operator.ports import Chance, Clock

log = logging.getLogger(__name__)

FIRST_BACKOFF_SECONDS: Final = 0.25
LONGEST_BACKOFF_SECONDS: Final = 30.0
STEADY_SECONDS: Final = 60.0
"""A process that ran this long starts the next backoff anew."""
LONGEST_LOG_BYTES: Final = 16 << 20
"""A log longer than this is set aside (one older file is kept) at the next start."""


@dataclass(frozen=True, slots=True)
class Start:
    """What one start of the process needs; made anew for each, since ports and mounts may have changed."""

    command: Sequence[str]
    environment: Mapping[str, str]
    folder: Path
    log: Path
    note: Path
    """Where the process is written down for :mod:`leftovers`."""


class Container:
    """Keeps one process running until :meth:`stop`."""

    def __init__(
        self,
        *,
        name: str,
        prepare: Callable[[], Start | None],
        on_change: Callable[[], None],
        clock: Clock,
        chance: Chance,
    ) -> None:
        """*prepare* gives what to start, or None when the pod has to wait; *on_change* hears of starts and ends."""
        self.name = name
        self.pid: int | None = None
        self.restarts = 0
        self.last_exit: int | None = None
        self._prepare = prepare
        self._on_change = on_change
        self._clock = clock
        self._chance = chance
        self._stopping = asyncio.Event()
        self._retry = asyncio.Event()
        self._idle = asyncio.Event()
        self._idle.set()

    def retry(self) -> None:
        """Something the pod may have waited for has changed: try again now."""
        self._retry.set()

    async def run(self) -> None:
        """Start the process and start it again whenever it ends; returns once stopped and ended."""
        failures = 0
        while not self._stopping.is_set():
            self._retry.clear()
            began = self._clock.monotonic()
            try:
                start = self._prepare()
                if start is None:
                    await self._pause(LONGEST_BACKOFF_SECONDS, wake_on_retry=True)
                    continue
                self.last_exit = await self._run_once(start)
                outcome = f"{_ended(self.last_exit)} (log: {start.log})"
                self._on_change()
            except OSError as error:  # a full disk, no more processes: the machine's trouble, which may pass
                outcome = f"could not be run: {error}"
            if self._stopping.is_set():
                break
            failures = 1 if self._clock.monotonic() - began >= STEADY_SECONDS else failures + 1
            pause = min(LONGEST_BACKOFF_SECONDS, FIRST_BACKOFF_SECONDS * 2 ** min(failures - 1, 10))
            pause *= 0.5 + self._chance.random() / 2
            log.warning("pod %s %s; starting it again in %.1f s", self.name, outcome, pause)
            await self._pause(pause, wake_on_retry=False)
            self.restarts += 1

    async def stop(self, *, grace_seconds: float) -> None:
        """Ask the process to end, give it *grace_seconds*, then kill its group. :meth:`run` returns after that."""
        self._stopping.set()
        pid = self.pid
        if pid is None:
            return
        log.debug("pod %s: SIGTERM to %d", self.name, pid)
        _signal(pid, signal.SIGTERM)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(grace_seconds):
                await self._idle.wait()
        if self.pid == pid:
            log.warning("pod %s did not end within %g s and is killed", self.name, grace_seconds)
            signal_group(pid, signal.SIGKILL)

    def kill(self) -> None:
        """End the process and its group at once; only after :meth:`stop`, or it is started again."""
        if self.pid is not None:
            signal_group(self.pid, signal.SIGKILL)

    async def _run_once(self, start: Start) -> int:
        """Run the process to its end; whatever ends this call ends the process and its group."""
        _set_aside(start.log)
        with start.log.open("ab") as output:
            process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-S",
                "-E",
                str(Path(launch.__file__)),
                str(os.getpid()),
                *start.command,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                cwd=start.folder,
                env=dict(start.environment),
                start_new_session=True,
            )
        self.pid = process.pid
        self._idle.clear()
        try:
            write_down(start.note, process.pid)
            self._on_change()
            if self._stopping.is_set():  # asked to stop while starting
                _signal(process.pid, signal.SIGTERM)
            return await process.wait()
        finally:
            signal_group(process.pid, signal.SIGKILL)
            self.pid = None
            self._idle.set()
            start.note.unlink(missing_ok=True)

    async def _pause(self, seconds: float, *, wake_on_retry: bool) -> None:
        waits = [asyncio.ensure_future(self._stopping.wait())]
        if wake_on_retry:
            waits.append(asyncio.ensure_future(self._retry.wait()))
        try:
            await asyncio.wait(waits, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits:
                wait.cancel()


def _signal(pid: int, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)


def _set_aside(path: Path) -> None:
    with contextlib.suppress(FileNotFoundError):
        if path.stat().st_size > LONGEST_LOG_BYTES:
            path.replace(path.with_suffix(".old.log"))


def _ended(code: int) -> str:
    if code < 0:
        return f"was ended by {signal.Signals(-code).name}"
    return f"ended with exit code {code}"
