"""No number of the page on benchmarks is written by hand."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def test_the_page_says_what_the_runs_found() -> None:
    command = [sys.executable, str(ROOT / "benchmarks" / "report.py"), "--check"]
    found = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert found.returncode == 0, found.stderr
