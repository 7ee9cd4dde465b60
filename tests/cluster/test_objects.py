"""The object store keeps Kubernetes' promises that the operator relies on."""

from __future__ import annotations

import base64
import itertools
import json
import stat
from pathlib import Path
from typing import Any

import pytest
from gateway_operator.cluster.port import (
    CONFIG_MAP,
    GATEWAY,
    POD,
    SECRET,
    STATEFUL_SET,
    AlreadyExistsError,
    ConflictError,
    NotFoundError,
)
from gateway_operator.cluster.processes.files import FileStorage
from gateway_operator.cluster.processes.objects import ObjectStore


def new_store(storage: FileStorage | None = None) -> ObjectStore:
    numbers = itertools.count(1)
    return ObjectStore(new_uid=lambda: f"uid-{next(numbers)}", unix=lambda: 1_700_000_000.0, storage=storage)


def manifest(kind: str, name: str, *, owner: str | None = None, **content: Any) -> dict[str, Any]:
    metadata: dict[str, Any] = {"name": name, "namespace": "default", "labels": {"app": name}}
    if owner is not None:
        metadata["ownerReferences"] = [{"uid": owner}]
    return {"apiVersion": "v1", "kind": kind, "metadata": metadata, **content}


def test_an_apply_without_change_writes_nothing() -> None:
    store = new_store()
    first = store.apply(manifest("ConfigMap", "a", data={"k": "1"}))
    heard: list[Any] = []
    store.subscribe(heard.append)
    assert store.apply(manifest("ConfigMap", "a", data={"k": "1"})) == first
    assert heard == []
    changed = store.apply(manifest("ConfigMap", "a", data={"k": "2"}))
    assert changed["metadata"]["resourceVersion"] != first["metadata"]["resourceVersion"]
    assert len(heard) == 1


def test_an_apply_keeps_status_uid_and_foreign_annotations() -> None:
    store = new_store()
    made = store.apply(manifest("DiscordGateway", "a", spec={"n": 1}))
    store.change(GATEWAY, "default", "a", lambda found: found.update(status={"ready": 3}))
    store.change(GATEWAY, "default", "a", lambda found: found["metadata"].update(annotations={"touched": "1"}))
    again = store.apply(manifest("DiscordGateway", "a", spec={"n": 2}))
    assert again["status"] == {"ready": 3}
    assert again["metadata"]["uid"] == made["metadata"]["uid"]
    assert again["metadata"]["annotations"] == {"touched": "1"}
    assert again["metadata"]["generation"] == 2


def test_a_replace_needs_the_current_version() -> None:
    store = new_store()
    with pytest.raises(NotFoundError):
        store.replace(manifest("ConfigMap", "a"))
    made = store.create(manifest("ConfigMap", "a", data={"k": "1"}))
    with pytest.raises(AlreadyExistsError):
        store.create(manifest("ConfigMap", "a"))
    made["data"] = {"k": "2"}
    store.replace(made)
    with pytest.raises(ConflictError):
        store.replace(made)
    unversioned = manifest("ConfigMap", "a", data={"k": "3"})
    with pytest.raises(ConflictError):
        store.replace(unversioned)
    found = store.get(CONFIG_MAP, "default", "a")
    assert found is not None
    assert found["data"] == {"k": "2"}


def test_what_an_owner_owns_goes_with_it_and_pods_are_only_told() -> None:
    store = new_store()
    gateway = store.create(manifest("DiscordGateway", "g"))
    owned = store.create(manifest("StatefulSet", "s", owner=gateway["metadata"]["uid"]))
    store.create(manifest("Pod", "p", owner=owned["metadata"]["uid"]))
    store.create(manifest("ConfigMap", "kept"))
    store.delete(GATEWAY, "default", "g")
    store.delete(GATEWAY, "default", "g")
    assert store.get(STATEFUL_SET, "default", "s") is None
    pod = store.get(POD, "default", "p")
    assert pod is not None
    assert pod["metadata"]["deletionTimestamp"]
    assert store.get(CONFIG_MAP, "default", "kept") is not None


def test_select_is_by_labels_and_namespace_and_hands_out_copies() -> None:
    store = new_store()
    store.create(manifest("ConfigMap", "a"))
    store.create(manifest("ConfigMap", "b"))
    (found,) = store.select(CONFIG_MAP, None, {"app": "b"})
    found["metadata"]["labels"]["app"] = "spoilt"
    assert len(store.select(CONFIG_MAP, "default", {"app": "b"})) == 1
    assert store.select(CONFIG_MAP, "elsewhere", {}) == []


def test_objects_outlive_the_process_in_files_that_are_this_users_alone(tmp_path: Path) -> None:
    store = new_store(FileStorage(tmp_path / "objects"))
    store.apply(manifest("Secret", "s", stringData={"token": "hush"}))
    store.create(manifest("ConfigMap", "gone"))
    store.delete(CONFIG_MAP, "default", "gone")
    path = tmp_path / "objects" / "secrets" / "default" / "s.json"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE((tmp_path / "objects").stat().st_mode) == 0o700
    again = new_store(FileStorage(tmp_path / "objects"))
    found = again.get(SECRET, "default", "s")
    assert found is not None
    assert base64.b64decode(found["data"]["token"]) == b"hush"
    assert again.get(CONFIG_MAP, "default", "gone") is None
    assert int(again.create(manifest("ConfigMap", "new"))["metadata"]["resourceVersion"]) > int(
        json.loads(path.read_text())["metadata"]["resourceVersion"]
    )


def test_a_damaged_file_is_named(tmp_path: Path) -> None:
    folder = tmp_path / "objects" / "configmaps" / "default"
    folder.mkdir(parents=True)
    (folder / "a.json").write_text("{")
    with pytest.raises(ValueError, match=r"configmaps/default/a\.json is damaged"):
        new_store(FileStorage(tmp_path / "objects"))
