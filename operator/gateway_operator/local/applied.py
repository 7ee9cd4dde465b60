"""Brings the stored objects to what the file says, as ``kubectl apply --prune`` would, and only where the file changed.

A document that is the same as when it was last applied is left alone, so that what was patched since stays patched over
a restart; one that changed replaces what is stored, patches included.
"""

from __future__ import annotations

from dataclasses import dataclass

from gateway_operator.cluster.port import CONFIG_MAP, GATEWAY, KINDS, SECRET, Manifest
from gateway_operator.cluster.processes.objects import ObjectStore
from gateway_operator.local.manifests import APPLIED_ANNOTATION, ManifestFile


@dataclass(frozen=True, slots=True, kw_only=True)
class Applied:
    """What an application changed."""

    changed: tuple[Manifest, ...]
    gone: tuple[Manifest, ...]
    """Came from the file once and do not stand in it any more; still stored."""


def apply_file(store: ObjectStore, file: ManifestFile) -> Applied:
    """Apply the documents that changed; what left the file is only reported."""
    changed = tuple(store.apply(manifest) for manifest in file.objects if _differs(store, manifest))
    wanted = {_key(manifest) for manifest in file.objects}
    gone = tuple(
        manifest
        for kind in (GATEWAY, SECRET, CONFIG_MAP)
        for manifest in store.select(kind, None, {})
        if _hash(manifest) is not None and _key(manifest) not in wanted
    )
    return Applied(changed=changed, gone=gone)


def _differs(store: ObjectStore, manifest: Manifest) -> bool:
    metadata = manifest["metadata"]
    stored = store.get(KINDS[manifest["kind"]], metadata["namespace"], metadata["name"])
    return stored is None or _hash(stored) != _hash(manifest)


def _hash(manifest: Manifest) -> str | None:
    value = (manifest["metadata"].get("annotations") or {}).get(APPLIED_ANNOTATION)
    return None if value is None else str(value)


def _key(manifest: Manifest) -> tuple[str, str, str]:
    return manifest["kind"], manifest["metadata"]["namespace"], manifest["metadata"]["name"]
