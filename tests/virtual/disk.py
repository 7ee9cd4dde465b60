"""A disk in memory that can lose what was not synced, fill up, and fail."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from shard_runtime.ports import Spill

from .spill import SpillFile, VirtualSpill


@dataclass
class VirtualDisk:
    """:class:`~shard_runtime.ports.Disk` of one machine, which outlives the processes that use it.

    ``write`` reaches the platter; ``write_soon`` the page cache, which survives the death of a process but not
    :meth:`power_cut`. What was removed comes back by a power cut unless :meth:`sync` came between.
    """

    _durable: dict[Path, bytes] = field(default_factory=dict)
    _cached: dict[Path, bytes] = field(default_factory=dict)
    fail_reads: OSError | None = None
    """Raised by each read while set."""
    fail_writes: OSError | None = None
    """Raised by each write while set, before anything changes; ``OSError(errno.ENOSPC, ...)`` is a full disk."""
    fail_syncs: OSError | None = None
    """Raised by each durable write while set, when what was written can be read already and a power cut would take it:
    so fails the ``fsync`` of a folder whose file was replaced."""
    fail_removals: OSError | None = None
    """Raised by each removal while set, before anything changes; a full disk does not."""
    writes: int = 0
    """How many writes of both kinds succeeded."""
    volume: int | None = None
    """Bytes; None where nobody can say. It bounds nothing by itself."""
    spills: dict[Path, SpillFile] = field(default_factory=dict)
    """Stores of spilled events, which fail as the files do."""

    def read(self, path: Path) -> bytes | None:
        if self.fail_reads is not None:
            raise self.fail_reads
        return self._cached.get(path)

    def write(self, path: Path, data: bytes) -> None:
        self.write_soon(path, data)
        if self.fail_syncs is not None:
            raise self.fail_syncs
        self._durable[path] = data

    def write_soon(self, path: Path, data: bytes) -> None:
        if self.fail_writes is not None:
            raise self.fail_writes
        self._cached[path] = bytes(data)
        self.writes += 1

    def remove(self, path: Path) -> None:
        if self.fail_removals is not None and path in self._cached:
            raise self.fail_removals
        self._cached.pop(path, None)

    def oldest_first(self, folder: Path) -> list[Path]:
        if self.fail_reads is not None:
            raise self.fail_reads
        return [path for path in self._cached if path.parent == folder]

    def spill(self, path: Path) -> VirtualSpill:
        file = self.spills.setdefault(path, SpillFile())
        file.volume = self.volume
        return VirtualSpill(file, fault=self._fault)

    def _fault(self, *, reading: bool, durable: bool) -> OSError | None:
        if reading:
            return self.fail_reads
        return self.fail_writes or (self.fail_syncs if durable else None)

    def sync(self) -> None:
        """Everything cached becomes durable."""
        self._durable = dict(self._cached)
        for file in self.spills.values():
            file.sync()

    def power_cut(self) -> None:
        """What was not synced is gone."""
        self._cached = dict(self._durable)
        for file in self.spills.values():
            file.power_cut()

    def wipe(self) -> None:
        """A new, empty disk: the pod was deleted and had no volume."""
        self._cached, self._durable = {}, {}
        self.spills.clear()

    def files(self) -> list[Path]:
        return sorted(self._cached)


class DiskOfProcess:
    """A process's view of its machine's disk: silent once the process is dead, whatever its ``finally`` blocks try."""

    def __init__(self, disk: VirtualDisk) -> None:
        self._disk: VirtualDisk | None = disk
        self._spills: list[VirtualSpill] = []

    def die(self) -> None:
        self._disk = None
        for spill in self._spills:
            spill.die()

    def read(self, path: Path) -> bytes | None:
        return None if self._disk is None else self._disk.read(path)

    def write(self, path: Path, data: bytes) -> None:
        if self._disk is not None:
            self._disk.write(path, data)

    def write_soon(self, path: Path, data: bytes) -> None:
        if self._disk is not None:
            self._disk.write_soon(path, data)

    def remove(self, path: Path) -> None:
        if self._disk is not None:
            self._disk.remove(path)

    def oldest_first(self, folder: Path) -> list[Path]:
        return [] if self._disk is None else self._disk.oldest_first(folder)

    def spill(self, path: Path) -> Spill:
        if self._disk is None:
            return VirtualSpill(SpillFile(), fault=lambda **how: None)
        spill = self._disk.spill(path)
        self._spills.append(spill)
        return spill
