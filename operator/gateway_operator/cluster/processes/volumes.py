"""The kubelet's part: a pod's volumes as directories, laid out as the manifest says.

What a container would see at ``/etc/discord-gateway/token`` lies at ``<pod>/root/etc/discord-gateway/token`` here.
Files change one by one and each whole; keys that left the object leave the directory. A Secret's files are for this
user only.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from gateway_operator.cluster.port import CONFIG_MAP, SECRET, Kind, Manifest
from gateway_operator.cluster.processes.files import PRIVATE_FILE, make_private, write_whole

PUBLIC_FILE = 0o644

Lookup = Callable[[Kind, str], Manifest | None]
"""Finds a ConfigMap or Secret of the pod's namespace by name."""


class MissingSourceError(Exception):
    """A volume's ConfigMap, Secret or key is not there; the pod has to wait, as it would in Kubernetes."""


def referenced(pod: Manifest) -> set[tuple[str, str]]:
    """(kind, name) of every ConfigMap and Secret that the pod mounts."""
    return {(kind.kind, name) for volume in pod["spec"].get("volumes") or [] for kind, name, _ in _sources(volume)}


def materialise(*, pod: Manifest, root: Path, claims: Path, lookup: Lookup) -> None:
    """Write the pod's mounts below *root*, as they are now; claims become directories below *claims*.

    Raises :class:`MissingSourceError` and ``OSError``.
    """
    volumes = {volume["name"]: volume for volume in pod["spec"].get("volumes") or []}
    for mount in pod["spec"]["containers"][0].get("volumeMounts") or []:
        place = inside(root, mount["mountPath"])
        volume = volumes.get(mount["name"])
        if volume is None:
            raise MissingSourceError(f"The pod mounts {mount['name']}, but has no volume of that name.")
        claim = volume.get("persistentVolumeClaim")
        if claim is not None:
            _link_claim(place, claims / claim["claimName"])
            continue
        make_private(place)
        if "emptyDir" not in volume:
            _fill(place, dict(_files(volume, lookup)))


def inside(root: Path, absolute: str) -> Path:
    """Where a container's path lies below *root*."""
    return root.joinpath(*[part for part in Path(absolute).parts if part not in ("/", "..")])


def _link_claim(place: Path, claim: Path) -> None:
    make_private(claim)
    make_private(place.parent)
    if not place.is_symlink():
        place.symlink_to(claim, target_is_directory=True)


def _sources(volume: Mapping[str, Any]) -> Iterator[tuple[Kind, str, Mapping[str, Any]]]:
    """(kind, name, source) of what a volume takes its files from."""
    parts = (volume.get("projected") or {}).get("sources") or [volume]
    for part in parts:
        if "configMap" in part:
            yield CONFIG_MAP, part["configMap"]["name"], part["configMap"]
        if "secret" in part:
            source = part["secret"]
            yield SECRET, source.get("secretName") or source["name"], source


def _files(volume: Mapping[str, Any], lookup: Lookup) -> Iterator[tuple[str, tuple[bytes, int]]]:
    """Relative path, content and mode of each file of a volume."""
    for kind, name, source in _sources(volume):
        manifest = lookup(kind, name)
        if manifest is None:
            if source.get("optional"):
                continue
            raise MissingSourceError(f"{kind.kind} {name} is not there.")
        content = dict(_content(manifest))
        mode = PRIVATE_FILE if kind == SECRET else PUBLIC_FILE
        items = source.get("items")
        for item in items if items is not None else [{"key": key, "path": key} for key in content]:
            if item["key"] not in content:
                if source.get("optional"):
                    continue
                raise MissingSourceError(f"{kind.kind} {name} has no key {item['key']!r} (keys: {', '.join(content)}).")
            yield item["path"], (content[item["key"]], mode)


def _content(manifest: Manifest) -> Iterator[tuple[str, bytes]]:
    secret = manifest["kind"] == SECRET.kind
    for key, value in (manifest.get("data") or {}).items():
        try:
            yield key, base64.b64decode(value, validate=True) if secret else value.encode()
        except binascii.Error:
            name = manifest["metadata"]["name"]
            raise MissingSourceError(
                f"Secret {name}: data.{key} is not base64; use stringData for plain text."
            ) from None
    for key, value in (manifest.get("binaryData") or {}).items():
        yield key, base64.b64decode(value)


def _fill(place: Path, files: Mapping[str, tuple[bytes, int]]) -> None:
    """Make the directory hold exactly *files*; unchanged ones are not touched."""
    for present in place.iterdir():
        if present.name not in files and not present.is_dir():
            present.unlink(missing_ok=True)
    for relative, (data, mode) in files.items():
        path = place / relative
        make_private(path.parent)
        if not path.exists() or path.read_bytes() != data:
            write_whole(path, data, mode=mode)
