"""The real disk: whole files or the old ones."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from shard_runtime.disk import SystemDisk


def test_files_are_replaced_and_read_back(tmp_path: Path) -> None:
    disk, path = SystemDisk(), tmp_path / "folder" / "file"
    assert disk.read(path) is None
    for write in (disk.write, disk.write_soon, disk.write):
        for data in (b"first", b"", b"second" * 1000):
            write(path, data)
            assert disk.read(path) == data
    assert [entry.name for entry in path.parent.iterdir()] == ["file"]
    assert path.stat().st_mode & 0o077 == 0
    disk.remove(path)
    disk.remove(path)
    assert disk.read(path) is None


def test_a_durable_write_syncs_the_file_before_its_name_and_the_folder_after(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps: list[str] = []
    fsync, replace = os.fsync, Path.replace

    def watched_fsync(handle: int) -> None:
        steps.append("folder" if Path(f"/proc/self/fd/{handle}").resolve() == tmp_path else "file")
        fsync(handle)

    def watched_replace(self: Path, target: Path) -> Path:
        steps.append("rename")
        return replace(self, target)

    monkeypatch.setattr(os, "fsync", watched_fsync)
    monkeypatch.setattr(Path, "replace", watched_replace)
    SystemDisk().write(tmp_path / "file", b"x")
    assert steps == ["file", "rename", "folder"]
    steps.clear()
    SystemDisk().write_soon(tmp_path / "file", b"x")
    assert steps == ["rename"]


def test_a_failed_write_leaves_the_old_bytes_and_no_litter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    disk, path = SystemDisk(), tmp_path / "file"
    disk.write(path, b"old")

    def full(handle: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        disk.write(path, b"new")
    assert disk.read(path) == b"old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["file"]


def test_files_of_a_folder_by_age(tmp_path: Path) -> None:
    disk, folder = SystemDisk(), tmp_path / "folder"
    assert disk.oldest_first(folder) == []
    for age, name in enumerate(("b", "c", "a")):
        disk.write(folder / name, b"x")
        os.utime(folder / name, (1000 + age, 1000 + age))
    (folder / "within").mkdir()
    assert [path.name for path in disk.oldest_first(folder)] == ["b", "c", "a"]
