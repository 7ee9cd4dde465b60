"""Makes the runtime tests' stage importable as ``runtime.stage``, this folder as ``reshard``, and the benchmarks."""

from __future__ import annotations

import sys
from pathlib import Path

_TESTS = Path(__file__).resolve().parent.parent
for folder in (str(_TESTS), str(_TESTS.parent)):
    if folder not in sys.path:
        sys.path.insert(0, folder)
