"""A store for spilled events in memory: of a machine, so that it outlives processes, and with a disk's faults."""

from __future__ import annotations

import asyncio
import errno
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final, Protocol

from shard_runtime.ports import SpilledGroup, SpillError, SpillTransaction

COMMIT_SECONDS: Final = 0.004
READ_SECONDS: Final = 0.001


@dataclass
class SpillFile:
    """What lies on the disk. ``durable`` is what a power cut leaves."""

    groups: dict[int, SpilledGroup] = field(default_factory=dict)
    """In the order of their ids."""
    notes: dict[str, bytes] = field(default_factory=dict)
    damaged: bool = False
    volume: int | None = None
    """Bytes of the volume that it lies on."""
    durable_commits: int = 0
    _durable: tuple[dict[int, SpilledGroup], dict[str, bytes]] = field(default_factory=lambda: ({}, {}))
    _cached: list[SpillTransaction] = field(default_factory=list)
    """Transactions that a power cut would take."""

    def apply(self, transaction: SpillTransaction) -> None:
        assert not any(group.id in self.groups for group in transaction.add), "a group is written once"
        _apply(transaction, self.groups, self.notes)
        self._cached.append(transaction)
        if transaction.durable:
            self.durable_commits += 1
            self.sync()

    def sync(self) -> None:
        for transaction in self._cached:
            _apply(transaction, *self._durable)
        self._cached.clear()

    def power_cut(self) -> None:
        self._cached.clear()
        self.groups, self.notes = dict(self._durable[0]), dict(self._durable[1])

    @property
    def size(self) -> int:
        return sum(len(group.body) for group in self.groups.values())


def _apply(transaction: SpillTransaction, groups: dict[int, SpilledGroup], notes: dict[str, bytes]) -> None:
    groups.update((group.id, group) for group in transaction.add)
    for number in transaction.remove:
        groups.pop(number, None)
    for number, skip in transaction.skip.items():
        found = groups.get(number)
        if found is not None:
            groups[number] = SpilledGroup(id=number, lane=found.lane, skip=skip, summary=found.summary, body=found.body)
    notes.update((name, value) for name, value in transaction.notes.items() if value is not None)
    for name, value in transaction.notes.items():
        if value is None:
            notes.pop(name, None)


class Fault(Protocol):
    def __call__(self, *, reading: bool, durable: bool) -> OSError | None:
        """What a read, or a write that is to be *durable* or not, fails with now."""
        ...


class VirtualSpill:
    """A process's access to a :class:`SpillFile`; a :class:`~shard_runtime.ports.Spill`."""

    def __init__(self, file: SpillFile, *, fault: Fault) -> None:
        """*fault* says what fails now, and with what."""
        self._file: SpillFile | None = file
        self._fault = fault

    def die(self) -> None:
        """The process is dead: nothing that it tries has an effect."""
        self._file = None

    def _usable(self, *, reading: bool, durable: bool = False) -> SpillFile:
        error = self._fault(reading=reading, durable=durable)
        if error is not None:
            raise SpillError(f"cannot be used: {error.strerror or os.strerror(error.errno or errno.EIO)}")
        if self._file is None:
            raise SpillError("is closed")
        if self._file.damaged:
            raise SpillError("is damaged", damaged=True)
        return self._file

    def load(self) -> tuple[Mapping[str, bytes], Iterable[SpilledGroup]]:
        file = self._usable(reading=True)
        return dict(file.notes), list(file.groups.values())

    def set_aside(self) -> str:
        if self._file is not None:
            self._file.damaged = False
            file = self._usable(reading=False)
            file.groups, file.notes = {}, {}
        return "damaged-1"

    async def commit(self, transaction: SpillTransaction) -> None:
        self._usable(reading=False)
        await asyncio.sleep(COMMIT_SECONDS if transaction.durable else READ_SECONDS)
        self._usable(reading=False, durable=transaction.durable).apply(transaction)

    async def read(self, lane: int, *, after: int, size: int) -> list[SpilledGroup]:
        self._usable(reading=True)
        await asyncio.sleep(READ_SECONDS)
        file = self._usable(reading=True)
        found: list[SpilledGroup] = []
        for group in file.groups.values():
            if group.lane != lane or group.id <= after:
                continue
            size -= len(group.body)
            if size < 0 and found:
                break
            found.append(group)
        return found

    def volume_bytes(self) -> int | None:
        return None if self._file is None else self._file.volume

    def close(self) -> None:
        self._file = None
