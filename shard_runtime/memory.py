"""Gives freed memory back to the system.

After a backlog the C library keeps the pages of hundreds of thousands of freed payloads, since here and there one is
still in use. glibc hands back the free ones when it is asked to; other C libraries need no asking, or cannot. A buffer
that was full once and is empty now keeps its pages too; Linux takes them, and gives new ones when they are touched.
"""

from __future__ import annotations

import ctypes
import mmap


def give_back_memory() -> None:
    """Take some milliseconds for each hundred megabytes; do nothing where the C library has no such call."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)


def empty(buffer: memoryview) -> None:
    """Give the whole pages within *buffer* back: what is in it is lost, its place is not. Do nothing where the system
    cannot."""
    madvise = getattr(ctypes.CDLL(None), "madvise", None)
    if madvise is None or not hasattr(mmap, "MADV_DONTNEED") or buffer.nbytes < mmap.PAGESIZE:
        return
    start = ctypes.addressof(ctypes.c_char.from_buffer(buffer))
    first = -(-start // mmap.PAGESIZE) * mmap.PAGESIZE
    size = (start + buffer.nbytes - first) // mmap.PAGESIZE * mmap.PAGESIZE
    if size > 0:
        madvise(ctypes.c_void_p(first), ctypes.c_size_t(size), ctypes.c_int(mmap.MADV_DONTNEED))
