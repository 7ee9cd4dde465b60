"""Locks on folders that end with the process that holds them, so that two never hold the same sessions."""

from __future__ import annotations

import fcntl
import logging
import os
from pathlib import Path
from typing import Final

from shard_runtime.ports import Clock

RETRY_SECONDS: Final = 0.2


async def hold_lock(path: Path, *, clock: Clock, log: logging.Logger) -> int:
    """Wait for the exclusive lock *path* and hold it until the process ends; gives the file descriptor.

    Raises ``OSError`` when the file cannot be opened.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    # for reading only: that is enough to lock it, and possible where nothing can be written
    descriptor = os.open(path, os.O_RDONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
    told = False
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if not told:
                log.warning("%s is held by an earlier process; waiting for its end.", path)
                told = True
            await clock.sleep(RETRY_SECONDS)
        else:
            return descriptor
