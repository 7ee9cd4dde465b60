"""The headless Service that names the pods, and the Service that takes the bot's commands."""

from __future__ import annotations

from typing import Any

from gateway_operator.api.gateway import Metadata
from gateway_operator.api.generation import GATEWAY_LABEL
from gateway_operator.resources.naming import gateway_labels, headless_service_name, object_metadata
from shard_runtime.contract import RUNTIME_PORT


def headless_service(owner: Metadata) -> dict[str, Any]:
    """``<name>-pods``: pods of all generations by name, also before they are ready: they hand over."""
    return _service(owner, headless_service_name(owner.name), {"clusterIP": "None", "publishNotReadyAddresses": True})


def command_service(owner: Metadata) -> dict[str, Any]:
    """``<name>``: any pod takes a command and passes it on to the pod that holds the guild."""
    return _service(owner, owner.name, {"type": "ClusterIP"})


def _service(owner: Metadata, name: str, kind: dict[str, Any]) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": object_metadata(owner, name, labels=gateway_labels(owner.name)),
        "spec": {
            **kind,
            "selector": {GATEWAY_LABEL: owner.name},
            "ports": [{"name": "http", "port": RUNTIME_PORT, "targetPort": "http", "protocol": "TCP"}],
        },
    }
