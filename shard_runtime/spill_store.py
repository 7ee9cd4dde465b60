"""The real store behind :class:`~shard_runtime.ports.Spill`: one SQLite file.

SQLite and not another store: it is in the standard library, its transactions hold events and watermarks together, and
nothing else is tested as hard against kills and power cuts. In WAL mode with pages of 16 KiB and groups of a quarter of
a megabyte it was measured to write 170 MB/s with an fsync for each 2 MB, which is more than a worker receives.

All access but the first load is on one thread of the store's own, so that the event loop never waits for a disk.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import sqlite3
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final, TypeVar

from shard_runtime.ports import SpilledGroup, SpillError, SpillTransaction

Result = TypeVar("Result")

PAGE_BYTES: Final = 16384
CACHE_KIBIBYTES: Final = 2048
LOG_KEPT_BYTES: Final = 16 << 20
"""The write-ahead log is cut back to this after it was larger."""
SHRINK_BYTES: Final = 64 << 20
"""A file that is larger than this is made small again when it holds nothing."""
SET_ASIDE_KEPT: Final = 3
"""Damaged stores that are kept for a person; older ones are removed."""

_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS groups (
    id INTEGER PRIMARY KEY, lane INTEGER NOT NULL, skip INTEGER NOT NULL, size INTEGER NOT NULL,
    summary BLOB NOT NULL, body BLOB NOT NULL
);
CREATE INDEX IF NOT EXISTS groups_by_lane ON groups (lane, id, size);
CREATE TABLE IF NOT EXISTS notes (name TEXT PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID;
"""

_PROBLEMS: Final = {
    "SQLITE_FULL": "has no room: the volume is full",
    "SQLITE_READONLY": "cannot be written: it, or its volume, is read-only",
    "SQLITE_CANTOPEN": "cannot be opened; is its folder writable?",
    "SQLITE_IOERR": "failed to be read or written: the volume reports an error",
    "SQLITE_BUSY": "is in use by another process",
    "SQLITE_CORRUPT": "is damaged",
    "SQLITE_NOTADB": "is damaged: it is not an SQLite database",
}
_DAMAGE: Final = frozenset({"SQLITE_CORRUPT", "SQLITE_NOTADB"})


class SqliteSpill:
    """See the module; a :class:`~shard_runtime.ports.Spill`."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._database: sqlite3.Connection | None = None
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="spill")
        self._durable = True

    # --- Opening ------------------------------------------------------------------------------------------------------

    def load(self) -> tuple[Mapping[str, bytes], Iterable[SpilledGroup]]:
        with _told():
            database = self._open()
            notes = {str(name): bytes(value) for name, value in database.execute("SELECT name, value FROM notes")}
            return notes, self._heads(database)

    @staticmethod
    def _heads(database: sqlite3.Connection) -> Iterator[SpilledGroup]:
        with _told():
            rows = database.execute(
                "SELECT id, lane, skip, summary, CASE WHEN skip > 0 THEN body ELSE x'' END FROM groups ORDER BY id"
            )
            for number, lane, skip, summary, body in rows:
                yield SpilledGroup(id=number, lane=lane, skip=skip, summary=summary, body=body)

    def _open(self) -> sqlite3.Connection:
        if self._database is not None:
            return self._database
        self._path.parent.mkdir(parents=True, exist_ok=True)
        # made by us first, so that payloads are readable by this user alone
        os.close(os.open(self._path, os.O_RDWR | os.O_CREAT, 0o600))
        database = sqlite3.connect(self._path, isolation_level=None, check_same_thread=False, timeout=5.0)
        try:
            database.execute(f"PRAGMA page_size = {PAGE_BYTES}")
            database.execute("PRAGMA journal_mode = WAL")
            database.execute("PRAGMA synchronous = FULL")
            database.execute(f"PRAGMA cache_size = -{CACHE_KIBIBYTES}")
            database.execute(f"PRAGMA journal_size_limit = {LOG_KEPT_BYTES}")
            database.executescript(_SCHEMA)
        except BaseException:
            database.close()
            raise
        self._database, self._durable = database, True
        return database

    def set_aside(self) -> str:
        self._close_database()
        target = self._path.with_name(f"{self._path.name}.damaged-{time.time_ns() // 1_000_000}")
        with _told():
            for old in sorted(self._path.parent.glob(f"{self._path.name}.damaged-*[0-9]"))[: 1 - SET_ASIDE_KEPT]:
                for suffix in ("", "-wal", "-shm"):
                    old.with_name(old.name + suffix).unlink(missing_ok=True)
            for suffix in ("-wal", "-shm", ""):
                with contextlib.suppress(FileNotFoundError):
                    self._path.with_name(self._path.name + suffix).rename(target.with_name(target.name + suffix))
            self._open()
        return str(target)

    # --- Use ----------------------------------------------------------------------------------------------------------

    async def commit(self, transaction: SpillTransaction) -> None:
        await self._on_thread(lambda: self._commit(transaction))

    async def read(self, lane: int, *, after: int, size: int) -> list[SpilledGroup]:
        return await self._on_thread(lambda: self._read(lane, after, size))

    async def _on_thread(self, work: Callable[[], Result]) -> Result:
        try:
            return await asyncio.get_running_loop().run_in_executor(self._thread, work)
        except RuntimeError as error:
            raise SpillError(f"is closed: {error}") from error

    def _commit(self, transaction: SpillTransaction) -> None:
        with _told():
            database = self._open()
            try:
                self._write(database, transaction)
            except sqlite3.OperationalError as error:
                if not error.sqlite_errorname.startswith("SQLITE_FULL"):
                    raise
                # what was removed before may make room once the log is folded into the file
                database.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
                self._write(database, transaction)
            if transaction.remove:
                self._shrink(database)

    def _write(self, database: sqlite3.Connection, transaction: SpillTransaction) -> None:
        if transaction.durable is not self._durable:
            database.execute(f"PRAGMA synchronous = {'FULL' if transaction.durable else 'NORMAL'}")
            self._durable = transaction.durable
        database.execute("BEGIN IMMEDIATE")
        try:
            database.executemany(
                "INSERT INTO groups (id, lane, skip, size, summary, body) VALUES (?, ?, ?, ?, ?, ?)",
                (
                    (group.id, group.lane, group.skip, len(group.body), group.summary, group.body)
                    for group in transaction.add
                ),
            )
            database.executemany("DELETE FROM groups WHERE id = ?", ((number,) for number in transaction.remove))
            database.executemany(
                "UPDATE groups SET skip = ? WHERE id = ?", ((skip, number) for number, skip in transaction.skip.items())
            )
            for name, value in transaction.notes.items():
                if value is None:
                    database.execute("DELETE FROM notes WHERE name = ?", (name,))
                else:
                    database.execute("INSERT OR REPLACE INTO notes (name, value) VALUES (?, ?)", (name, value))
            database.execute("COMMIT")
        except BaseException:
            if database.in_transaction:
                database.execute("ROLLBACK")
            raise

    @staticmethod
    def _shrink(database: sqlite3.Connection) -> None:
        (pages,) = database.execute("PRAGMA page_count").fetchone()
        if pages * PAGE_BYTES < SHRINK_BYTES or database.execute("SELECT 1 FROM groups LIMIT 1").fetchone():
            return
        with contextlib.suppress(sqlite3.OperationalError):  # it is only large, and next time will do
            database.execute("VACUUM")
            database.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()

    def _read(self, lane: int, after: int, size: int) -> list[SpilledGroup]:
        with _told():
            database = self._open()
            wanted: list[int] = []
            for number, bytes_ in database.execute(
                "SELECT id, size FROM groups WHERE lane = ? AND id > ? ORDER BY id LIMIT 1000", (lane, after)
            ):
                size -= bytes_
                if size < 0 and wanted:
                    break
                wanted.append(number)
            found: list[SpilledGroup] = []
            for number in wanted:
                row = database.execute("SELECT skip, summary, body FROM groups WHERE id = ?", (number,)).fetchone()
                found.append(SpilledGroup(id=number, lane=lane, skip=row[0], summary=row[1], body=row[2]))
            return found

    def volume_bytes(self) -> int | None:
        try:
            volume = os.statvfs(self._path.parent)
        except OSError:
            return None
        return volume.f_blocks * volume.f_frsize

    def close(self) -> None:
        with contextlib.suppress(RuntimeError):  # closed before
            self._thread.submit(self._close_database)
        self._thread.shutdown(wait=False)

    def _close_database(self) -> None:
        database, self._database = self._database, None
        if database is not None:
            database.close()


@contextlib.contextmanager
def _told() -> Iterator[None]:
    """Turn what SQLite and the system raise into a sentence."""
    try:
        yield
    except sqlite3.Error as error:
        name = getattr(error, "sqlite_errorname", None) or ""
        kind = "_".join(name.split("_")[:2])
        raise SpillError(_PROBLEMS.get(kind, f"failed: {error}"), damaged=kind in _DAMAGE) from error
    except OSError as error:
        raise SpillError(f"cannot be used: {error.strerror or error}") from error
