"""Notices that the manifest file changed, once it has stopped changing."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Final

POLL_SECONDS: Final = 0.3

Stamp = tuple[int, int, int]
"""Modification time, size and inode: different for another content, as far as a file system tells."""


def stamp_of(path: Path) -> Stamp | None:
    """The file's stamp, None while there is no such file."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino


async def watch_file(path: Path, *, since: Stamp | None, on_change: Callable[[], None]) -> None:
    """Call *on_change* after each change that then stood still for one poll; never returns.

    *since* is the stamp from before the file was read. An editor may write in pieces or put another file in place; a
    file that is gone for a moment is no change.
    """
    seen = handled = since
    while True:
        await asyncio.sleep(POLL_SECONDS)
        stamp = stamp_of(path)
        if stamp is not None and stamp == seen and stamp != handled:
            handled = stamp
            on_change()
        seen = stamp
