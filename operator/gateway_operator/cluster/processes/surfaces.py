"""What the state directory tells others: ``state.json`` people and tools, ``peers`` a pod about its siblings."""

from __future__ import annotations

import base64
import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from gateway_operator.api.generation import GATEWAY_LABEL, GENERATION_LABEL
from gateway_operator.cluster.port import Manifest
from gateway_operator.cluster.processes.files import make_private, write_whole
from gateway_operator.cluster.processes.statefulsets import INDEX_LABEL

PORT_ANNOTATION: Final = "discordgateway.dev/local-port"
AUTH_KEYS: Final = ("operator", "bot")


class StateFolder:
    """Names inside the state directory, and its files that are derived from objects."""

    def __init__(self, root: Path) -> None:
        """*root* is created, for this user alone. Raises ``OSError``."""
        self.root = make_private(root.absolute())

    @property
    def state_file(self) -> Path:
        return self.root / "state.json"

    @property
    def claims(self) -> Path:
        return self.root / "claims"

    def pod(self, namespace: str, name: str) -> Path:
        return self.root / "pods" / namespace / name

    def pod_log(self, namespace: str, name: str) -> Path:
        return make_private(self.root / "logs" / namespace) / f"{name}.log"

    def notes(self) -> list[Path]:
        """Where processes are written down."""
        return sorted(self.root.glob("pods/*/*/process.json"))

    def peers(self, namespace: str, gateway: str) -> Path:
        return self.root / "peers" / namespace / f"{gateway}.json"

    def tokens(self, namespace: str, gateway: str) -> Path:
        return self.root / "tokens" / namespace / gateway

    def write_peers(self, pods: Sequence[Manifest]) -> None:
        """Write every gateway's ``{"<generation>/<pod>": url}``; a gateway without pods gets an empty one."""
        urls: dict[Path, dict[str, str]] = defaultdict(dict)
        for known in self.root.glob("peers/*/*.json"):
            urls[known] = {}
        for pod in pods:
            metadata, url = pod["metadata"], pod_url(pod)
            labels = metadata.get("labels") or {}
            if GATEWAY_LABEL in labels and GENERATION_LABEL in labels and url is not None:
                path = self.peers(metadata["namespace"], labels[GATEWAY_LABEL])
                urls[path][f"{labels[GENERATION_LABEL]}/{labels[INDEX_LABEL]}"] = url
        for path, content in urls.items():
            _write_json_if_changed(path, content)

    def write_tokens(self, secret: Manifest, gateway: str) -> None:
        """Keep a gateway's bearer tokens as files, for people and tools on this machine."""
        folder = make_private(self.tokens(secret["metadata"]["namespace"], gateway))
        for key in AUTH_KEYS:
            encoded = (secret.get("data") or {}).get(key)
            if encoded is not None:
                _write_if_changed(folder / key, base64.b64decode(encoded))

    def write_state(self, content: Mapping[str, Any]) -> None:
        _write_json_if_changed(self.state_file, content)


def pod_url(pod: Manifest) -> str | None:
    """Where a local pod answers; None before it was given a port."""
    port = (pod["metadata"].get("annotations") or {}).get(PORT_ANNOTATION)
    return f"http://127.0.0.1:{port}" if port else None


def _write_json_if_changed(path: Path, content: Mapping[str, Any]) -> None:
    _write_if_changed(path, json.dumps(content, indent=2, sort_keys=True).encode() + b"\n")


def _write_if_changed(path: Path, data: bytes) -> None:
    make_private(path.parent)
    if not path.exists() or path.read_bytes() != data:
        write_whole(path, data)
