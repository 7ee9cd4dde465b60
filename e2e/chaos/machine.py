"""Processes of pods as the machine sees them: found by their cgroup, killed and stopped from outside.

Works for pods of a node on this machine, of which ``/proc`` tells everything; a pod of kind is in a machine of its own.
"""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

_PROC: Final = Path("/proc")
_STARTED: Final = 19
"""Field of ``/proc/<pid>/stat`` after the name: when it began, by which a number given anew is told apart."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Process:
    pid: int
    started: str
    command: tuple[str, ...]

    @property
    def module(self) -> str:
        """What ``python -m`` runs; empty for other programs."""
        return self.command[2] if len(self.command) > 2 and self.command[1] == "-m" else ""

    @property
    def alive(self) -> bool:
        return _started(self.pid) == self.started

    def signal(self, number: signal.Signals) -> None:
        """Nothing if it has ended."""
        if self.alive:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)


def _started(pid: int) -> str:
    try:
        text = (_PROC / str(pid) / "stat").read_text()
    except OSError:
        return ""
    return text.rpartition(") ")[2].split()[_STARTED]


def process(pid: int) -> Process | None:
    """None if there is none."""
    started = _started(pid)
    try:
        command = (_PROC / str(pid) / "cmdline").read_bytes().decode(errors="replace").split("\0")
    except OSError:
        return None
    return Process(pid=pid, started=started, command=tuple(command[:-1])) if started else None


def processes_of(uid: str) -> list[Process]:
    """All of the pod with that UID, its sandbox's too."""
    found = []
    for folder in _PROC.iterdir():
        if not folder.name.isdigit():
            continue
        with contextlib.suppress(OSError):  # it may end while it is looked at
            if f"pod{uid}/" in (folder / "cgroup").read_text():
                found.append(process(int(folder.name)))
    return [each for each in found if each is not None and each.command]


def _is_sandbox(each: Process) -> bool:
    return each.command[:1] == ("/pause",) or each.command[:2] == ("/busybox", "sleep")


def sandbox(processes: Iterable[Process]) -> Process | None:
    """The one that holds the pod's network namespace, and lives as long as it."""
    return next(filter(_is_sandbox, processes), None)


def contained(processes: Iterable[Process]) -> list[Process]:
    """Those of its containers."""
    return [each for each in processes if not _is_sandbox(each)]


def workers(processes: Iterable[Process]) -> list[Process]:
    return [each for each in processes if each.module == "shard_runtime.worker"]


def supervisors(processes: Iterable[Process]) -> list[Process]:
    return [each for each in processes if each.module == "shard_runtime"]


def kill(processes: Sequence[Process]) -> None:
    for each in processes:
        each.signal(signal.SIGKILL)


def stop(processes: Sequence[Process]) -> None:
    for each in processes:
        each.signal(signal.SIGSTOP)


def go_on(processes: Sequence[Process]) -> None:
    for each in processes:
        each.signal(signal.SIGCONT)
