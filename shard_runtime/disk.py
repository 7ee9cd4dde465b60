"""The real disk behind :class:`~shard_runtime.ports.Disk`: small files, replaced whole.

A reader sees the old bytes or the new ones, never a mixture, whenever the process or the machine stops.
"""

from __future__ import annotations

import contextlib
import os
import secrets
from pathlib import Path

from shard_runtime.ports import Spill


class SystemDisk:
    """Files of the machine, readable by this user alone. Folders are made as needed."""

    def read(self, path: Path) -> bytes | None:
        try:
            return path.read_bytes()
        except FileNotFoundError:
            return None

    def write(self, path: Path, data: bytes) -> None:
        _replace(path, data, durable=True)

    def write_soon(self, path: Path, data: bytes) -> None:
        _replace(path, data, durable=False)

    def remove(self, path: Path) -> None:
        path.unlink(missing_ok=True)

    def oldest_first(self, folder: Path) -> list[Path]:
        try:
            files = [path for path in folder.iterdir() if path.is_file()]
        except FileNotFoundError:
            return []
        return sorted(files, key=lambda path: (path.stat().st_mtime_ns, path.name))

    def spill(self, path: Path) -> Spill:
        from shard_runtime.spill_store import SqliteSpill  # not loaded by the supervisor, which spills nothing

        return SqliteSpill(path)


def _replace(path: Path, data: bytes, *, durable: bool) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        handle = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            if durable:
                file.flush()
                os.fsync(file.fileno())
        fresh.replace(path)
    except BaseException:
        with contextlib.suppress(OSError):
            fresh.unlink()
        raise
    if durable:
        _sync_folder(path.parent)


def _sync_folder(folder: Path) -> None:
    """Make the new name itself durable."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
