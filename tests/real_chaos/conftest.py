"""Makes ``chaos`` of the end-to-end tests importable, and what it is judged by."""

from __future__ import annotations

import sys
from pathlib import Path

_TESTS = Path(__file__).resolve().parents[1]
for _folder in (str(_TESTS), str(_TESTS.parent / "e2e")):
    if _folder not in sys.path:
        sys.path.insert(0, _folder)
