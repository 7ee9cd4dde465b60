"""A state directory has one user at a time: two operators would hold the same sessions twice."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path
from types import TracebackType

from gateway_operator.cluster.processes.files import make_private


class StateInUseError(Exception):
    """Another ``dgw local`` runs on the state directory."""


class StateLock:
    """Held for the life of the process; the system lets go of it whatever ends the process."""

    def __init__(self, state: Path) -> None:
        self._path = state / "lock"
        self._descriptor: int | None = None

    def __enter__(self) -> StateLock:
        """Raises :class:`StateInUseError` and ``OSError``."""
        make_private(self._path.parent)
        descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            pid = os.read(descriptor, 32).decode(errors="replace").strip()
            os.close(descriptor)
            holder = f" (process {pid})" if pid else ""
            raise StateInUseError(f"{self._path.parent} is in use by another dgw local{holder}.") from None
        os.ftruncate(descriptor, 0)
        os.write(descriptor, f"{os.getpid()}\n".encode())
        self._descriptor = descriptor
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None
