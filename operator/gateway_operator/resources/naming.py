"""Names and labels of a gateway's objects, and who owns them."""

from __future__ import annotations

from typing import Any, Final

from gateway_operator.api.base import API_VERSION, KIND
from gateway_operator.api.gateway import Metadata
from gateway_operator.api.generation import GATEWAY_LABEL, GENERATION_LABEL

MANAGED_BY: Final = "discord-gateway-operator"
REVISION_ANNOTATION: Final = "discordgateway.dev/revision"
EPOCH_ANNOTATION: Final = "discordgateway.dev/record-epoch"
"""On a pod: touched so that the kubelet refreshes the mounted record."""
HANDLERS_ANNOTATION: Final = "discordgateway.dev/handlers"
INPUTS_ANNOTATION: Final = "discordgateway.dev/inputs"
"""On a pod: touched when the forward configuration or the token's Secret has changed, for the same reason."""


def statefulset_name(gateway: str, generation: int) -> str:
    return f"{gateway}-g{generation}"


def pod_name(gateway: str, generation: int, pod: int) -> str:
    return f"{gateway}-g{generation}-{pod}"


def headless_service_name(gateway: str) -> str:
    return f"{gateway}-pods"


def record_name(gateway: str) -> str:
    return f"{gateway}-active"


def forward_name(gateway: str) -> str:
    return f"{gateway}-forward"


def config_name(gateway: str, digest: str) -> str:
    return f"{gateway}-config-{digest}"


def auth_name(gateway: str) -> str:
    return f"{gateway}-auth"


def gateway_labels(gateway: str) -> dict[str, str]:
    """Labels of everything that belongs to a gateway."""
    return {
        "app.kubernetes.io/name": "discord-gateway",
        "app.kubernetes.io/instance": gateway,
        "app.kubernetes.io/managed-by": MANAGED_BY,
        GATEWAY_LABEL: gateway,
    }


def generation_labels(gateway: str, generation: int) -> dict[str, str]:
    """Labels of everything that belongs to one generation."""
    return {**gateway_labels(gateway), GENERATION_LABEL: str(generation)}


def generation_selector(gateway: str, generation: int) -> dict[str, str]:
    """Labels that select a generation's pods."""
    return {GATEWAY_LABEL: gateway, GENERATION_LABEL: str(generation)}


def object_metadata(
    owner: Metadata, name: str, *, labels: dict[str, str], annotations: dict[str, str] | None = None
) -> dict[str, Any]:
    """``metadata`` of an object that lives and dies with its gateway."""
    made: dict[str, Any] = {
        "name": name,
        "namespace": owner.namespace,
        "labels": labels,
        "ownerReferences": [
            {
                "apiVersion": API_VERSION,
                "kind": KIND,
                "name": owner.name,
                "uid": owner.uid,
                "controller": True,
                "blockOwnerDeletion": True,
            }
        ],
    }
    if annotations:
        made["annotations"] = annotations
    return made
