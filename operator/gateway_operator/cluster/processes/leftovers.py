"""Processes of a run that died: found by what they wrote down, and ended before their pods start again.

A pid alone proves nothing, since it may have been given to another program; pid and start time together name a process
for the life of the machine.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import signal
import subprocess
import sys
from collections.abc import Awaitable, Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

from gateway_operator.cluster.processes.files import write_whole

log = logging.getLogger(__name__)

GRACE_SECONDS: Final = 10.0
_POLL_SECONDS: Final = 0.05
_START_TIME_FIELD: Final = 19
"""Index of ``starttime`` in /proc/PID/stat after the command's closing parenthesis (proc_pid_stat(5), field 22)."""


@dataclass(frozen=True, slots=True)
class ProcessIdentity:
    pid: int
    started: str


def start_time(pid: int) -> str | None:
    """When the process started, in the system's own spelling; None if there is none or it has ended."""
    if sys.platform == "linux":
        try:
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        except OSError:
            return None
        return None if fields[0] in "ZX" else f"{_boot()}:{fields[_START_TIME_FIELD]}"
    answer = subprocess.run(["ps", "-o", "lstart=", "-p", str(pid)], capture_output=True, text=True, check=False)
    return answer.stdout.strip() or None


def _boot() -> str:
    """Names the machine's present boot, from which start times are counted; empty where a sandbox hides it."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return ""


def write_down(path: Path, pid: int) -> None:
    """Note the process in *path*, so that a later run can find it."""
    started = start_time(pid)
    if started is not None:
        write_whole(path, json.dumps(asdict(ProcessIdentity(pid=pid, started=started))).encode())


def read_alive(path: Path) -> ProcessIdentity | None:
    """The process noted in *path* if it still runs."""
    try:
        noted = json.loads(path.read_bytes())
        identity = ProcessIdentity(pid=int(noted["pid"]), started=str(noted["started"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return identity if start_time(identity.pid) == identity.started else None


def signal_group(pid: int, number: signal.Signals) -> None:
    """Send a signal to the whole process group that *pid* leads, if there is still one."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, number)


async def end_leftovers(
    notes: list[Path],
    *,
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    grace_seconds: float = GRACE_SECONDS,
) -> None:
    """End what an earlier run left running: SIGTERM, *grace_seconds* in all, then SIGKILL to the groups."""
    alive = {path: identity for path in notes if (identity := read_alive(path)) is not None}
    for identity in alive.values():
        log.warning("ending process %d, left over from an earlier run", identity.pid)
        with contextlib.suppress(ProcessLookupError):
            os.kill(identity.pid, signal.SIGTERM)
    for _ in range(int(grace_seconds / _POLL_SECONDS)):
        if not any(read_alive(path) for path in alive):
            break
        await sleep(_POLL_SECONDS)
    for path, identity in alive.items():
        if read_alive(path) is not None:
            signal_group(identity.pid, signal.SIGKILL)
    for path in notes:
        path.unlink(missing_ok=True)
