"""The environment of a pod's process, pure: what the manifest says, moved to where this machine put things."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from gateway_operator.cluster.port import Manifest
from gateway_operator.cluster.processes.volumes import inside

CONFIG_MOUNT: Final = "/etc/discord-gateway"
STATE_MOUNT: Final = "/var/lib/discord-gateway"


def pod_environment(*, pod: Manifest, root: Path, port: int, inherited: Mapping[str, str]) -> dict[str, str]:
    """Variables of the pod's process; *inherited* is what every program here gets (PATH and the like)."""
    entries = pod["spec"]["containers"][0].get("env") or []
    declared = {entry["name"]: _value(entry, pod) for entry in entries}
    return {
        **inherited,
        **declared,
        "DISCORD_GATEWAY_CONFIG_DIR": str(inside(root, CONFIG_MOUNT)),
        "DISCORD_GATEWAY_STATE_DIR": str(inside(root, STATE_MOUNT)),
        "DISCORD_GATEWAY_HOST": "127.0.0.1",
        "DISCORD_GATEWAY_PORT": str(port),
    }


def _value(entry: Mapping[str, Any], pod: Manifest) -> str:
    if "value" in entry:
        return str(entry["value"])
    path = ((entry.get("valueFrom") or {}).get("fieldRef") or {}).get("fieldPath", "")
    return _field(path, pod)


def _field(path: str, pod: Manifest) -> str:
    """The downward API's fields that a runtime pod can ask for; empty for any other."""
    metadata = pod["metadata"]
    for kind in ("labels", "annotations"):
        prefix = f"metadata.{kind}['"
        if path.startswith(prefix):
            return str((metadata.get(kind) or {}).get(path[len(prefix) : -2], ""))
    match path:
        case "metadata.name" | "metadata.namespace" | "metadata.uid":
            return str(metadata[path.removeprefix("metadata.")])
        case "status.podIP" | "status.hostIP":
            return "127.0.0.1"
        case "spec.nodeName":
            return "localhost"
        case _:
            return ""
