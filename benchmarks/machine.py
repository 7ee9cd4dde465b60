"""On what and when something was measured: it stands beside every number, since the numbers mean nothing without it."""

from __future__ import annotations

import datetime
import importlib.metadata
import os
import platform
import subprocess
import sys
from pathlib import Path
from typing import Any, Final

_PACKAGES: Final = ("picows", "uvloop", "aiohttp", "msgspec", "zstandard", "zlib-ng")
_ROOT: Final = Path(__file__).resolve().parent.parent


def circumstances() -> dict[str, Any]:
    """The machine, its load just before (an average over a minute), the time, and the versions of what was run."""
    model = [line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")]
    speeds = [line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("cpu MHz")]
    return {
        "at": datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "cpu": model[0].partition(":")[2].strip() if model else platform.machine(),
        "megahertz": round(float(speeds[0].partition(":")[2])) if speeds else None,
        "cores": os.cpu_count(),
        "kernel": platform.release(),
        "load_before": round(os.getloadavg()[0], 1),
        "commit": _commit(),
        "python": f"{platform.python_version()} of {Path(sys.executable).resolve().parent}",
        "packages": {name: importlib.metadata.version(name) for name in _PACKAGES},
    }


def _commit() -> str:
    """Which commit was measured, ``+`` where the tree differs from it; "unknown" outside of a clone."""
    command = ["git", "-C", str(_ROOT), "describe", "--always", "--dirty=+", "--exclude=*"]
    found = subprocess.run(command, capture_output=True, text=True, check=False)
    return found.stdout.strip() or "unknown"
