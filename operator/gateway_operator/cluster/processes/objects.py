"""The API server's part: versioned objects with owners, in memory and, where asked, as files.

Behaves like Kubernetes in what the operator relies on: an apply without change writes nothing, a replace needs the
current resourceVersion, deleting an owner deletes what it owns, and a pod is first told to end and removed once its
process has ended.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from typing import Any, Protocol, TypeVar, cast

from gateway_operator.cluster.port import (
    KINDS,
    POD,
    SECRET,
    AlreadyExistsError,
    ConflictError,
    Kind,
    Manifest,
    NotFoundError,
)

Key = tuple[str, str, str]
"""Kind, namespace, name."""
_Json = TypeVar("_Json")
_CONTAINERS = frozenset({dict, list})


class ObjectStorage(Protocol):
    """Where objects outlive the process."""

    def load(self) -> list[Manifest]: ...

    def save(self, manifest: Manifest) -> None: ...

    def remove(self, manifest: Manifest) -> None: ...


class ObjectStore:
    """All objects; every read and write hands out copies. Not for use from several threads."""

    def __init__(
        self, *, new_uid: Callable[[], str], unix: Callable[[], float], storage: ObjectStorage | None = None
    ) -> None:
        self._new_uid = new_uid
        self._unix = unix
        self._storage = storage
        self._objects: dict[Key, Manifest] = {}
        self._listeners: list[Callable[[Manifest], None]] = []
        self._version = 0
        for manifest in storage.load() if storage else []:
            self._objects[_key(manifest)] = manifest
            self._version = max(self._version, int(manifest["metadata"]["resourceVersion"]))

    def subscribe(self, listener: Callable[[Manifest], None]) -> None:
        """Call *listener* with every object that is written or removed, after the fact."""
        self._listeners.append(listener)

    def get(self, kind: Kind, namespace: str, name: str) -> Manifest | None:
        return _copy(self._objects.get((kind.kind, namespace, name)))

    def select(self, kind: Kind, namespace: str | None, labels: Mapping[str, str]) -> list[Manifest]:
        """Objects of *kind* with *labels*, by namespace and name."""
        found = [
            manifest
            for (object_kind, object_namespace, _), manifest in sorted(self._objects.items())
            if object_kind == kind.kind
            and namespace in (None, object_namespace)
            and labels.items() <= (manifest["metadata"].get("labels") or {}).items()
        ]
        return _copy(found)

    def create(self, manifest: Manifest) -> Manifest:
        """Raises :class:`AlreadyExistsError`."""
        key = _key(manifest)
        if key in self._objects:
            raise AlreadyExistsError(f"{key[0]} {key[1]}/{key[2]} already exists.")
        fresh = _normalised(manifest)
        fresh["metadata"] = {
            **fresh["metadata"],
            "uid": self._new_uid(),
            "generation": 1,
            "creationTimestamp": timestamp(self._unix()),
        }
        return self._write(fresh)

    def apply(self, manifest: Manifest) -> Manifest:
        """Make the fields of *manifest* those of the object; status and foreign annotations stay as they are."""
        present = self._objects.get(_key(manifest))
        if present is None:
            return self.create(manifest)
        wanted = _normalised(manifest)
        metadata = {**present["metadata"], **wanted["metadata"]}
        metadata["annotations"] = {
            **(present["metadata"].get("annotations") or {}),
            **(wanted["metadata"].get("annotations") or {}),
        }
        if not metadata["annotations"]:
            del metadata["annotations"]
        merged = {**wanted, "metadata": metadata}
        if "status" in present and "status" not in wanted:
            merged["status"] = _copy(present["status"])
        return self._write_if_changed(present, merged)

    def replace(self, manifest: Manifest) -> Manifest:
        """Raises :class:`NotFoundError` and :class:`ConflictError`."""
        kind, namespace, name = key = _key(manifest)
        present = self._objects.get(key)
        if present is None:
            raise NotFoundError(f"{kind} {namespace}/{name} is not there any more.")
        if manifest["metadata"].get("resourceVersion") != present["metadata"]["resourceVersion"]:
            raise ConflictError(f"{kind} {namespace}/{name} was changed by somebody else.")
        wanted = _normalised(manifest)
        wanted["metadata"] = {**present["metadata"], **wanted["metadata"]}
        return self._write_if_changed(present, wanted)

    def change(self, kind: Kind, namespace: str, name: str, edit: Callable[[Manifest], None]) -> Manifest | None:
        """Let *edit* change the object in place; None if it is not there."""
        present = self._objects.get((kind.kind, namespace, name))
        if present is None:
            return None
        edited = _copy(present)
        edit(edited)
        return self._write_if_changed(present, edited)

    def delete(self, kind: Kind, namespace: str, name: str, *, uid: str | None = None) -> None:
        """Delete the object and what it owns; a pod is only marked, its node removes it.

        With *uid* only that very object; raises :class:`ConflictError` for another of the same name.
        """
        present = self._objects.get((kind.kind, namespace, name))
        if uid is not None and present is not None and present["metadata"]["uid"] != uid:
            raise ConflictError(f"{kind.kind} {namespace}/{name} is another by now.")
        if kind == POD:
            self.change(kind, namespace, name, self._mark_for_deletion)
        else:
            self.remove(kind, namespace, name)

    def remove(self, kind: Kind, namespace: str, name: str) -> None:
        """Remove the object now and delete what it owns."""
        gone = self._objects.pop((kind.kind, namespace, name), None)
        if gone is None:
            return
        if self._storage:
            self._storage.remove(gone)
        for owned in list(self._owned_by(gone["metadata"]["uid"])):
            metadata = owned["metadata"]
            self.delete(KINDS[owned["kind"]], metadata["namespace"], metadata["name"])
        self._tell(gone)

    def _owned_by(self, uid: str) -> Iterator[Manifest]:
        for manifest in self._objects.values():
            owners = manifest["metadata"].get("ownerReferences") or []
            if any(owner["uid"] == uid for owner in owners):
                yield manifest

    def _mark_for_deletion(self, manifest: Manifest) -> None:
        manifest["metadata"].setdefault("deletionTimestamp", timestamp(self._unix()))

    def _write_if_changed(self, present: Manifest, wanted: Manifest) -> Manifest:
        if wanted == present:
            return _copy(present)
        changed = _copy(wanted)
        if changed.get("spec") != present.get("spec"):
            changed["metadata"]["generation"] = present["metadata"].get("generation", 0) + 1
        return self._write(changed)

    def _write(self, manifest: Manifest) -> Manifest:
        self._version += 1
        manifest["metadata"]["resourceVersion"] = str(self._version)
        if self._storage:
            self._storage.save(manifest)
        self._objects[_key(manifest)] = manifest
        self._tell(manifest)
        return _copy(manifest)

    def _tell(self, manifest: Manifest) -> None:
        for listener in self._listeners:
            listener(_copy(manifest))


def timestamp(unix: float) -> str:
    """Kubernetes' spelling of a time, in whole seconds."""
    return datetime.fromtimestamp(unix, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _copy(value: _Json) -> _Json:
    """A copy of what JSON can say; several times as fast as ``copy.deepcopy``, which has to care for more."""
    return cast(_Json, _copied(value))


def _copied(value: Any) -> Any:
    if type(value) is dict:
        return {name: _copied(content) if type(content) in _CONTAINERS else content for name, content in value.items()}
    if type(value) is list:
        return [_copied(content) if type(content) in _CONTAINERS else content for content in value]
    return value


def _key(manifest: Manifest) -> Key:
    return manifest["kind"], manifest["metadata"]["namespace"], manifest["metadata"]["name"]


def _normalised(manifest: Manifest) -> Manifest:
    """A copy as the API server would store it: a Secret's ``stringData`` becomes ``data``."""
    fresh = _copy(manifest)
    if fresh["kind"] == SECRET.kind and "stringData" in fresh:
        plain = fresh.pop("stringData") or {}
        encoded = {name: base64.b64encode(str(value).encode()).decode() for name, value in plain.items()}
        fresh["data"] = {**(fresh.get("data") or {}), **encoded}
    return fresh
