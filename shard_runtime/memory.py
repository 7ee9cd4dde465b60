"""Gives freed memory back to the system.

After a backlog the C library keeps the pages of hundreds of thousands of freed payloads, since here and there one is
still in use. glibc hands back the free ones when it is asked to; other C libraries need no asking, or cannot.
"""

from __future__ import annotations

import ctypes


def give_back_memory() -> None:
    """Take some milliseconds for each hundred megabytes; do nothing where the C library has no such call."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)
