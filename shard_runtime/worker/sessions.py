"""A worker's sessions on disk, so that a restart resumes them from the watermark instead of starting new ones.

Written a few times a second without waiting for the disk: the file must survive the process, and one that is a moment
old only makes Discord send again what the receiver may have already, with the same (session, sequence).
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from pathlib import Path

import msgspec

from shard_runtime import contract
from shard_runtime.ports import Disk
from shard_runtime.saved_sessions import saved_session, session_checkpoint
from shard_runtime.shard import SavedSession


class _Saved(contract.SessionCheckpoint, frozen=True, kw_only=True):
    """Spells two fields as files do that were written before there were checkpoints."""

    session_id: str = msgspec.field(name="sessionId")
    resume_url: str | None = msgspec.field(name="resumeUrl")


class _File(contract.Wire, frozen=True, kw_only=True):
    generation: int
    count: int
    sessions: list[_Saved]


class SessionFile:
    """``sessions.json`` of one worker."""

    def __init__(self, *, path: Path, generation: int, count: int, disk: Disk, log: logging.Logger) -> None:
        self._path = path
        self._generation = generation
        self._count = count
        self._disk = disk
        self._log = log
        self._written = b""
        self._failed = False

    def load(self, shards: Iterable[int]) -> dict[int, SavedSession]:
        """Saved sessions of *shards*. Used only if written for the same generation and shard count."""
        try:
            data = self._disk.read(self._path)
            file = None if data is None else contract.decode(data, _File)
        except (OSError, msgspec.DecodeError) as error:
            self._log.error("%s cannot be used, so its sessions are lost: %s", self._path, error)
            return {}
        if file is None or file.generation != self._generation or file.count != self._count:
            return {}
        wanted = frozenset(shards)
        return {saved.shard: saved_session(saved) for saved in file.sessions if saved.shard in wanted}

    def save(self, sessions: Mapping[int, SavedSession]) -> None:
        """Write *sessions* if they have changed; a disk that fails is logged, once, and tried again next time."""
        file = _File(
            generation=self._generation,
            count=self._count,
            sessions=[session_checkpoint(shard, session, form=_Saved) for shard, session in sessions.items()],
        )
        data = contract.encode(file)
        if data == self._written:
            return
        try:
            self._disk.write_soon(self._path, data)
        except OSError as error:
            if not self._failed:
                self._log.error("%s cannot be written; a restart would start new sessions: %s", self._path, error)
            self._failed = True
        else:
            self._written = data
            self._failed = False
