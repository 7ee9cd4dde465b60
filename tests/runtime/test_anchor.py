"""A worker's wall clock goes on over restarts of its process, and not over those of its machine."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest
from virtual.disk import VirtualDisk

from shard_runtime.connection.clock import SystemClock, system_offset
from shard_runtime.worker.anchor import KEPT_WITHIN_SECONDS, kept_offset

PATH = Path("/state/clock.json")


@pytest.mark.parametrize(
    ("boot", "offset", "kept"),
    [
        ("one", 1_000.0, 1_000.0),
        ("one", 1_020.0, 1_000.0),
        ("one", 1_000.0 - KEPT_WITHIN_SECONDS, 1_000.0),
        ("one", 1_001.0 + KEPT_WITHIN_SECONDS, 1_001.0 + KEPT_WITHIN_SECONDS),
        ("two", 1_020.0, 1_020.0),
        (None, 1_020.0, 1_020.0),
    ],
)
def test_the_first_offset_of_a_boot_is_kept_unless_it_was_very_wrong(
    boot: str | None, offset: float, kept: float
) -> None:
    disk = VirtualDisk()
    assert kept_offset(1_000.0, boot="one", path=PATH, disk=disk) == 1_000.0
    assert kept_offset(offset, boot=boot, path=PATH, disk=disk) == kept
    if boot is not None:
        assert kept_offset(kept + 5, boot=boot, path=PATH, disk=disk) == kept, "what was taken is kept in turn"


def test_a_disk_that_fails_is_as_good_as_an_empty_one() -> None:
    disk = VirtualDisk()
    disk.fail_writes = OSError(errno.ENOSPC, "No space left on device")
    assert kept_offset(1_000.0, boot="one", path=PATH, disk=disk) == 1_000.0
    disk.fail_writes = None
    disk.write(PATH, b"{")
    assert kept_offset(1_001.0, boot="one", path=PATH, disk=disk) == 1_001.0
    disk.fail_reads = OSError(errno.EIO, "Input/output error")
    assert kept_offset(1_002.0, boot="one", path=PATH, disk=disk) == 1_002.0


def test_the_clock_shows_what_its_offset_says() -> None:
    behind = SystemClock(offset=system_offset() - 100)
    assert 99_000 < SystemClock().unix_milliseconds() - behind.unix_milliseconds() < 101_000
