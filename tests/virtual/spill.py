"""A store for spilled events in memory: of a machine, so that it outlives processes, and with a disk's faults."""

from __future__ import annotations

import asyncio
import errno
import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final

from shard_runtime.ports import SpilledGroup, SpillError, SpillTransaction

COMMIT_SECONDS: Final = 0.004
READ_SECONDS: Final = 0.001


@dataclass
class SpillFile:
    """What lies on the disk. ``durable`` is what a power cut leaves."""

    groups: dict[int, SpilledGroup] = field(default_factory=dict)
    notes: dict[str, bytes] = field(default_factory=dict)
    durable: tuple[dict[int, SpilledGroup], dict[str, bytes]] = field(default_factory=lambda: ({}, {}))
    damaged: bool = False
    commits: int = 0
    durable_commits: int = 0

    def apply(self, transaction: SpillTransaction) -> None:
        for group in transaction.add:
            assert group.id not in self.groups, "a group is written once"
            self.groups[group.id] = group
        for number in transaction.remove:
            self.groups.pop(number, None)
        for number, skip in transaction.skip.items():
            found = self.groups.get(number)
            if found is not None:
                self.groups[number] = SpilledGroup(
                    id=number, lane=found.lane, skip=skip, summary=found.summary, body=found.body
                )
        for name, value in transaction.notes.items():
            if value is None:
                self.notes.pop(name, None)
            else:
                self.notes[name] = value
        self.commits += 1
        if transaction.durable:
            self.durable_commits += 1
            self.sync()

    def sync(self) -> None:
        self.durable = (dict(self.groups), dict(self.notes))

    def power_cut(self) -> None:
        self.groups, self.notes = dict(self.durable[0]), dict(self.durable[1])

    @property
    def size(self) -> int:
        return sum(len(group.body) for group in self.groups.values())


class VirtualSpill:
    """A process's access to a :class:`SpillFile`; a :class:`~shard_runtime.ports.Spill`."""

    def __init__(self, file: SpillFile, *, fault: Callable[[bool], OSError | None]) -> None:
        """*fault* says what a read (True) or a write fails with now."""
        self._file: SpillFile | None = file
        self._fault = fault

    def die(self) -> None:
        """The process is dead: nothing that it tries has an effect."""
        self._file = None

    def _usable(self, *, reading: bool) -> SpillFile:
        error = self._fault(reading)
        if error is not None:
            raise SpillError(f"cannot be used: {error.strerror or os.strerror(error.errno or errno.EIO)}")
        if self._file is None:
            raise SpillError("is closed")
        if self._file.damaged:
            raise SpillError("is damaged", damaged=True)
        return self._file

    def load(self) -> tuple[Mapping[str, bytes], Iterable[SpilledGroup]]:
        file = self._usable(reading=True)
        return dict(file.notes), [file.groups[number] for number in sorted(file.groups)]

    def set_aside(self) -> str:
        if self._file is not None:
            self._file.damaged = False
            file = self._usable(reading=False)
            file.groups, file.notes = {}, {}
        return "damaged-1"

    async def commit(self, transaction: SpillTransaction) -> None:
        self._usable(reading=False)
        await asyncio.sleep(COMMIT_SECONDS if transaction.durable else READ_SECONDS)
        self._usable(reading=False).apply(transaction)

    async def read(self, lane: int, *, after: int, size: int) -> list[SpilledGroup]:
        self._usable(reading=True)
        await asyncio.sleep(READ_SECONDS)
        file = self._usable(reading=True)
        found: list[SpilledGroup] = []
        for number in sorted(file.groups):
            group = file.groups[number]
            if group.lane != lane or number <= after:
                continue
            size -= len(group.body)
            if size < 0 and found:
                break
            found.append(group)
        return found

    def volume_bytes(self) -> int | None:
        return None

    def close(self) -> None:
        self._file = None
