"""Objects and small files on disk: whole or not at all, and nobody else's to read.

A reader never sees half a file: content is written beside and renamed. Objects are fsynced before the write counts,
because the record is among them and a commit must outlive the machine.
"""

from __future__ import annotations

import json
import logging
import os
import shutil
from pathlib import Path
from typing import Final

from gateway_operator.cluster.port import KINDS, POD, Manifest

log = logging.getLogger(__name__)

PRIVATE_FILE: Final = 0o600
PRIVATE_FOLDER: Final = 0o700


def make_private(folder: Path) -> Path:
    """Create *folder* (and its parents) for this user alone. Raises ``OSError``."""
    folder.mkdir(mode=PRIVATE_FOLDER, parents=True, exist_ok=True)
    return folder


def write_whole(path: Path, data: bytes, *, mode: int = PRIVATE_FILE, durable: bool = False) -> None:
    """Replace *path* by *data* in one step. Raises ``OSError``."""
    beside = path.with_name(f".{path.name}.new")
    descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode)
    with os.fdopen(descriptor, "wb") as file:
        os.fchmod(file.fileno(), mode)
        file.write(data)
        if durable:
            file.flush()
            os.fsync(file.fileno())
    beside.replace(path)
    if durable:
        _sync_folder(path.parent)


def remove_tree(folder: Path) -> None:
    """Remove *folder* with all in it; what cannot be removed is logged and left."""
    shutil.rmtree(folder, onerror=lambda _function, path, _error: log.warning("%s could not be removed", path))


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


class FileStorage:
    """``objects/<kind>/<namespace>/<name>.json`` below the state directory."""

    def __init__(self, folder: Path) -> None:
        self._folder = make_private(folder)

    def load(self) -> list[Manifest]:
        """All objects. Raises ``ValueError`` that names the file for one that cannot be read as JSON."""
        found: list[Manifest] = []
        for path in sorted(self._folder.glob("*/*/*.json")):
            try:
                found.append(json.loads(path.read_bytes()))
            except ValueError as error:
                raise ValueError(f"{path} is damaged ({error}); restore it or start with another --state.") from None
        return found

    def save(self, manifest: Manifest) -> None:
        path = self._path(manifest)
        make_private(path.parent)
        data = json.dumps(manifest, indent=1, sort_keys=True).encode()
        write_whole(path, data, durable=manifest["kind"] != POD.kind)

    def remove(self, manifest: Manifest) -> None:
        self._path(manifest).unlink(missing_ok=True)

    def _path(self, manifest: Manifest) -> Path:
        namespace, name = str(manifest["metadata"]["namespace"]), str(manifest["metadata"]["name"])
        return self._folder / KINDS[manifest["kind"]].plural / namespace / f"{name}.json"
