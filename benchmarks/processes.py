"""The processes of a measurement, and what Linux says about them: CPU time and memory, from /proc."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any, Final

HERE: Final = Path(__file__).parent
_TICKS: Final = os.sysconf("SC_CLK_TCK")


class Helper:
    """A program beside this one that answers lines with lines of JSON; ended on leaving the context."""

    def __init__(self, program: str, *arguments: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, str(HERE / program), *arguments], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self.hello: dict[str, Any] = self._answer()

    def ask(self, command: str) -> dict[str, Any]:
        assert self.process.stdin is not None
        print(command, file=self.process.stdin, flush=True)
        return self._answer()

    def _answer(self) -> dict[str, Any]:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            raise SystemExit(f"{self.process.args} ended unexpectedly")
        found: dict[str, Any] = json.loads(line)
        return found

    def __enter__(self) -> Helper:
        return self

    def __exit__(self, *error: object) -> None:
        self.process.kill()
        self.process.wait()


def family(pid: int) -> list[int]:
    """*pid* and its children (a pod: the supervisor and its workers)."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [pid, *map(int, children)]


def cpu_seconds(pid: int) -> float:
    """User and system time of the family of *pid* so far; Linux counts in hundredths."""
    total = 0
    for member in family(pid):
        fields = Path(f"/proc/{member}/stat").read_text().rpartition(")")[2].split()
        total += int(fields[11]) + int(fields[12])
    return total / _TICKS


def pss_megabytes(pid: int) -> float:
    """Proportional set size of the family of *pid*, in MB (1 MB = 1,000,000 bytes)."""
    return _rollup(pid, "Pss:")


def rss_megabytes(pid: int) -> float:
    """Resident set sizes of the family of *pid*, added up: pages that its processes share count for each of them."""
    return _rollup(pid, "Rss:")


def _rollup(pid: int, field: str) -> float:
    total = 0
    for member in family(pid):
        for line in Path(f"/proc/{member}/smaps_rollup").read_text().splitlines():
            if line.startswith(field):
                total += int(line.split()[1])
    return total * 1024 / 1e6
