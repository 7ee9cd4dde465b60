"""Sessions that were lost with events that nobody has: counted, and kept for a person to see.

A session that Discord does not resume leaves a gap. How many events it sent into it, Discord does not say; what an
earlier life of the process had received and not finished is known, and is the least number. What Discord leaves out of
a session that lives is counted with it.
"""

from __future__ import annotations

import logging
from pathlib import Path

import msgspec

from shard_runtime import contract
from shard_runtime.ports import Disk


class _File(contract.Wire, frozen=True, kw_only=True):
    """``gaps.json``: by shard."""

    generation: int
    gaps: dict[int, contract.Gap]


class Gaps:
    """The gaps of a worker's shards, on disk so that a restart does not hide them."""

    def __init__(self, *, path: Path, generation: int, disk: Disk, log: logging.Logger) -> None:
        self._path = path
        self._generation = generation
        self._disk = disk
        self._log = log
        self._gaps = self._load()
        self.sessions = 0
        """Gaps since the start of the process."""
        self.events = 0
        """Events that they cost at least."""

    def _load(self) -> dict[int, contract.Gap]:
        try:
            data = self._disk.read(self._path)
            file = None if data is None else contract.decode(data, _File)
        except (OSError, msgspec.DecodeError) as error:
            self._log.warning("%s cannot be used; earlier gaps are not shown any more: %s", self._path, error)
            return {}
        return dict(file.gaps) if file is not None and file.generation == self._generation else {}

    def of(self, shard: int) -> contract.Gap | None:
        return self._gaps.get(shard)

    def note(self, shard: int, *, cause: str, events: int, now: int) -> None:
        """The shard's session was lost for *cause*, and at least *events* with it."""
        before = self._gaps.get(shard)
        self._gaps[shard] = contract.Gap(
            sessions=1 + (0 if before is None else before.sessions),
            events=events + (0 if before is None else before.events),
            at=now,
            cause=cause,
        )
        self.sessions += 1
        self.events += events
        least = f", at least {events} of them had been received" if events else ""
        self._log.error(
            "Shard %d lost its session (%s): what Discord sent since its last acknowledged event is lost%s. The new "
            "session's READY is forwarded.",
            shard,
            cause,
            least,
        )
        self._keep()

    def left_out(self, shard: int, *, events: int) -> None:
        """Discord went on in the shard's session without *events*: counted, though the session lives."""
        self.events += events
        self._log.error("Shard %d: Discord left %d events out of its session; they are lost.", shard, events)

    def _keep(self) -> None:
        try:
            self._disk.write_soon(self._path, contract.encode(_File(generation=self._generation, gaps=self._gaps)))
        except OSError as error:
            self._log.error("%s cannot be written: %s", self._path, error)
