"""A folder's lock is held by one process at a time, whatever its disk takes."""

from __future__ import annotations

import logging
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from shard_runtime.connection.clock import SystemClock
from shard_runtime.locks import hold_lock

LOG = logging.getLogger(__name__)


def mount(*arguments: str) -> bool:
    return subprocess.run(["mount", *arguments], capture_output=True, check=False).returncode == 0


@pytest.fixture
def volume(tmp_path: Path) -> Iterator[Path]:
    """A file system of its own."""
    folder = tmp_path / "volume"
    folder.mkdir()
    if os.geteuid() != 0 or not mount("-t", "tmpfs", "tmpfs", str(folder)):
        pytest.skip("to mount a file system wants root")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


async def test_a_restarted_process_holds_the_lock_of_a_volume_that_is_read_only_by_now(volume: Path) -> None:
    path = volume / "worker-0" / "lock"
    os.close(await hold_lock(path, clock=SystemClock(), log=LOG))
    assert mount("-o", "remount,ro", str(volume))
    os.close(await hold_lock(path, clock=SystemClock(), log=LOG))
