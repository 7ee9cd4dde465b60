"""The store of spilled events: the real one and the virtual one alike, then what only the real one has to bear."""

from __future__ import annotations

import random
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from shard_runtime.disk import SystemDisk
from shard_runtime.ports import Spill, SpilledGroup, SpillError, SpillTransaction
from shard_runtime.spill_store import SHRINK_BYTES, SqliteSpill
from tests.virtual.disk import VirtualDisk


def group(number: int, lane: int = 0, body: bytes = b"body", skip: int = 0) -> SpilledGroup:
    return SpilledGroup(id=number, lane=lane, skip=skip, summary=b"summary %d" % number, body=body)


@pytest.fixture(params=["sqlite", "virtual"])
def disk(request: pytest.FixtureRequest) -> SystemDisk | VirtualDisk:
    return SystemDisk() if request.param == "sqlite" else VirtualDisk()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "worker-0" / "spill.sqlite"


def contents(store: Spill) -> tuple[dict[str, bytes], list[tuple[int, int, int, bytes]]]:
    notes, groups = store.load()
    return dict(notes), [(found.id, found.lane, found.skip, found.summary) for found in groups]


async def test_what_is_committed_is_there_for_the_next_user(disk: Any, path: Path) -> None:
    store: Spill = disk.spill(path)
    assert contents(store) == ({}, [])
    await store.commit(SpillTransaction(add=[group(1), group(2, lane=1 << 41), group(3)], notes={"a": b"1", "b": b"2"}))
    await store.commit(SpillTransaction(remove=[1], skip={3: 7, 99: 1}, notes={"a": None, "b": b"3"}, durable=False))
    store.close()
    again: Spill = disk.spill(path)
    assert contents(again) == ({"b": b"3"}, [(2, 1 << 41, 0, b"summary 2"), (3, 0, 7, b"summary 3")])
    again.close()


async def test_a_lane_is_read_in_order_by_size(disk: Any, path: Path) -> None:
    store: Spill = disk.spill(path)
    store.load()
    await store.commit(SpillTransaction(add=[group(n, lane=n % 2, body=bytes(100)) for n in range(1, 21)]))
    found = await store.read(0, after=2, size=350)
    assert [one.id for one in found] == [4, 6, 8]
    assert found[0].body == bytes(100) and found[0].summary == b"summary 4"
    assert [one.id for one in await store.read(0, after=2, size=1)] == [4], "at least one, however large"
    assert [one.id for one in await store.read(1, after=17, size=10**6)] == [19]
    assert await store.read(1, after=19, size=10**6) == []
    store.close()


async def test_a_store_that_is_set_aside_is_empty_again(disk: Any, path: Path) -> None:
    store: Spill = disk.spill(path)
    store.load()
    await store.commit(SpillTransaction(add=[group(1)], notes={"a": b"1"}))
    assert "damaged" in store.set_aside()
    assert contents(store) == ({}, [])
    await store.commit(SpillTransaction(add=[group(1)]))
    store.close()


async def test_a_closed_store_says_so(disk: Any, path: Path) -> None:
    store: Spill = disk.spill(path)
    store.load()
    store.close()
    with pytest.raises(SpillError, match="is closed"):
        await store.commit(SpillTransaction(add=[group(1)]))


# --- The real one -----------------------------------------------------------------------------------------------------

WRITER = """
import asyncio, sys
from pathlib import Path
from shard_runtime.ports import SpilledGroup, SpillTransaction
from shard_runtime.spill_store import SqliteSpill

async def main():
    store = SqliteSpill(Path(sys.argv[1]))
    notes, groups = store.load()
    number = max([0] + [found.id for found in groups])
    while True:
        ids = range(number + 1, number + 4)
        add = [SpilledGroup(id=n, lane=0, summary=b"s", body=bytes(30_000)) for n in ids]
        remove = range(max(1, number - 60), number - 30)
        await store.commit(SpillTransaction(add=add, remove=remove, notes={"last": str(number + 3).encode()}))
        number += 3
        print(number, flush=True)

asyncio.run(main())
"""


@pytest.mark.parametrize("seed", range(5))
def test_a_killed_writer_leaves_whole_transactions(seed: int, path: Path) -> None:
    chance = random.Random(seed)
    for _ in range(2):
        writer = subprocess.Popen([sys.executable, "-c", WRITER, str(path)], stdout=subprocess.PIPE, text=True)
        assert writer.stdout is not None
        told = 0
        for _ in range(chance.randint(1, 60)):
            told = int(writer.stdout.readline())
        writer.send_signal(signal.SIGKILL)
        rest = writer.stdout.read().split()
        writer.wait()
        told = int(rest[-1]) if rest else told
        store = SqliteSpill(path)
        notes, groups = store.load()
        ids = [found.id for found in groups]
        last = int(notes["last"])
        assert last >= told, "what was answered is there"
        assert ids == list(range(ids[0], last + 1)), "the groups and the note of a transaction come together"
        store.close()


async def test_a_full_volume_is_a_sentence_and_nothing_of_the_transaction_is_there(path: Path) -> None:
    store = SqliteSpill(path)
    store.load()
    await store.commit(SpillTransaction(add=[group(1)]))
    assert store._database is not None
    store._database.execute("PRAGMA max_page_count = 20")
    with pytest.raises(SpillError, match="has no room: the volume is full") as full:
        await store.commit(SpillTransaction(add=[group(2), group(3, body=bytes(1 << 20))], remove=[1]))
    assert not full.value.damaged
    assert [one.id for one in await store.read(0, after=0, size=100)] == [1]
    store._database.execute("PRAGMA max_page_count = 100000")
    await store.commit(SpillTransaction(add=[group(2), group(3, body=bytes(1 << 20))], remove=[1]))
    assert [one.id for one in await store.read(0, after=0, size=1 << 22)] == [2, 3]
    store.close()


async def test_a_read_only_store_is_a_sentence(path: Path) -> None:
    store = SqliteSpill(path)
    store.load()
    assert store._database is not None
    store._database.execute("PRAGMA query_only = ON")
    with pytest.raises(SpillError, match="read-only") as failed:
        await store.commit(SpillTransaction(add=[group(1)]))
    assert not failed.value.damaged
    store.close()


def test_a_folder_that_is_none_is_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "worker-0").write_text("a file")
    with pytest.raises(SpillError, match="cannot be used"):
        SqliteSpill(tmp_path / "worker-0" / "spill.sqlite").load()


async def test_a_damaged_store_is_known_as_such_and_kept(path: Path) -> None:
    for turn in range(5):
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"not a database, turn %d" % turn * 1000)
        store = SqliteSpill(path)
        with pytest.raises(SpillError, match="is damaged") as failed:
            store.load()
        assert failed.value.damaged
        where = Path(store.set_aside())
        assert where.read_bytes().startswith(b"not a database, turn %d" % turn)
        await store.commit(SpillTransaction(add=[group(1)]))
        store.close()
        store._thread.shutdown(wait=True)
    assert len([found for found in path.parent.glob("*.damaged-*") if found.suffix[-1].isdigit()]) == 3


async def test_a_broken_page_is_damage(path: Path) -> None:
    store = SqliteSpill(path)
    store.load()
    await store.commit(SpillTransaction(add=[group(n, body=bytes(50_000)) for n in range(1, 200)]))
    store.close()
    store._thread.shutdown(wait=True)
    data = bytearray(path.read_bytes())
    assert len(data) > 1 << 22
    for at in range(1 << 16, len(data), 1 << 14):
        data[at : at + 200] = b"\xff" * 200
    path.write_bytes(data)
    again = SqliteSpill(path)
    with pytest.raises(SpillError, match="is damaged") as failed:
        _, groups = again.load()
        list(groups)
        await again.read(0, after=0, size=1 << 30)
    assert failed.value.damaged
    again.close()


async def test_payloads_are_for_this_user_alone(path: Path) -> None:
    store = SqliteSpill(path)
    store.load()
    await store.commit(SpillTransaction(add=[group(1)]))
    modes = {found.name: found.stat().st_mode & 0o777 for found in path.parent.iterdir()}
    assert set(modes) == {"spill.sqlite", "spill.sqlite-wal", "spill.sqlite-shm"}
    assert set(modes.values()) == {0o600}
    store.close()


async def test_a_store_that_was_large_is_small_again_when_it_is_empty(path: Path) -> None:
    store = SqliteSpill(path)
    store.load()
    count = SHRINK_BYTES // (1 << 20) + 10
    for number in range(count):
        await store.commit(SpillTransaction(add=[group(number + 1, body=bytes(1 << 20))], durable=False))
    await store.commit(SpillTransaction(remove=range(1, count)))
    assert path.stat().st_size > SHRINK_BYTES // 2
    await store.commit(SpillTransaction(remove=[count]))
    files = sum(found.stat().st_size for found in path.parent.iterdir())
    assert files < 2 << 20
    await store.commit(SpillTransaction(add=[group(count + 1)]))
    assert [one.id for one in await store.read(0, after=0, size=100)] == [count + 1]
    store.close()


def test_another_process_in_the_same_store_is_a_sentence(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = SqliteSpill(path)
    store.load()
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    assert store._database is not None
    store._database.execute("PRAGMA busy_timeout = 0")
    with pytest.raises(SpillError, match="in use by another process"):
        store._commit(SpillTransaction(add=[group(1)]))
    other.close()
    store.close()
