"""A worker's wall clock is set once in the pod's life, not once in the process's.

What a handover knows is in times: when events came, since when there is a record, by how much the two generations'
clocks differ. All of it is compared across restarts of a worker, of either generation. A process that read the
machine's clock anew would tell other times than the one before it, if the clock was set meanwhile, and what it
recorded would be taken for older or newer than it is.

So the difference between the wall clock and the monotonic one, which goes on for as long as the machine is up, is kept
on the pod's disk. A machine that was started again has it anew, and so has one whose clock was set by more than
:data:`KEPT_WITHIN_SECONDS`: then it was wrong, and receivers that check signatures refuse wrong times.
"""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Final

import msgspec

from shard_runtime import contract
from shard_runtime.ports import Disk

KEPT_WITHIN_SECONDS: Final = 60.0
BOOT_ID: Final = Path("/proc/sys/kernel/random/boot_id")


class _Anchor(contract.Wire, frozen=True, kw_only=True):
    """``clock.json``."""

    boot: str
    offset: float


def kept_offset(offset: float, *, boot: str | None, path: Path, disk: Disk) -> float:
    """Seconds that the wall clock is ahead of the monotonic one, as an earlier process had it, else *offset*.

    *boot* names the time since the machine was started; None if that is not known, and then nothing is kept. A disk
    that fails is as good as an empty one.
    """
    if boot is None:
        return offset
    try:
        data = disk.read(path)
        kept = None if data is None else contract.decode(data, _Anchor)
    except (OSError, msgspec.DecodeError):
        kept = None
    if kept is not None and kept.boot == boot and abs(kept.offset - offset) <= KEPT_WITHIN_SECONDS:
        return kept.offset
    with suppress(OSError):
        disk.write_soon(path, contract.encode(_Anchor(boot=boot, offset=offset)))
    return offset


def this_boot() -> str | None:
    """Names the time since this machine was started, where it says so."""
    try:
        return BOOT_ID.read_text().strip() or None
    except OSError:
        return None
