"""Applies manifests, and leaves alone what has not changed on either side since they were applied.

A server-side apply without change writes nothing, but it is a write for the API server to look at, for its audit log
and for whoever counts: five of them per gateway and pass. So what was applied is remembered by its content and by the
version that came of it; anybody's edit changes the version, and the next pass undoes it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from gateway_operator.api.generation import GATEWAY_LABEL
from gateway_operator.cluster.port import STATEFUL_SET, Cluster, Manifest

Present = Mapping[tuple[str, str], Manifest]
"""Objects of a gateway as they were seen, by kind and name."""


class Applier:
    """Remembers, per gateway, what was applied. What is forgotten is applied once more."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._known: dict[tuple[str, str], dict[tuple[str, str], tuple[str, str]]] = {}

    async def apply(self, manifest: Manifest, present: Present) -> None:
        """Make the object as *manifest* says, unless it is known to be so. Raises ``ClusterError``."""
        metadata = manifest["metadata"]
        known = self._known.setdefault((metadata["namespace"], metadata["labels"][GATEWAY_LABEL]), {})
        key, content = (manifest["kind"], metadata["name"]), _digest(manifest)
        found = present.get(key)
        if found is not None and known.get(key) == (content, _mark(found)):
            return
        known[key] = (content, _mark(await self._cluster.apply(manifest)))

    def forget(self, namespace: str, gateway: str) -> None:
        self._known.pop((namespace, gateway), None)


def _mark(manifest: Manifest) -> str:
    """Changes when somebody changes what we apply of the object."""
    metadata = manifest["metadata"]
    if manifest["kind"] != STATEFUL_SET.kind:
        return str(metadata.get("resourceVersion"))
    # A StatefulSet's controller writes its status all the time; the generation counts changes of the spec alone.
    return _digest(
        {
            "uid": metadata.get("uid"),
            "generation": metadata.get("generation"),
            "labels": metadata.get("labels"),
            "annotations": metadata.get("annotations"),
        }
    )


def _digest(value: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:20]
