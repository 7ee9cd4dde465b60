"""The Secret ``<name>-auth``: bearer tokens between operator, pods and bot."""

from __future__ import annotations

from typing import Any

from gateway_operator.api.gateway import Metadata
from gateway_operator.resources.naming import auth_name, gateway_labels, object_metadata


def auth_secret(owner: Metadata, *, operator: str, bot: str) -> dict[str, Any]:
    """The Secret with the two tokens; made once, never changed by a later pass."""
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": object_metadata(owner, auth_name(owner.name), labels=gateway_labels(owner.name)),
        "type": "Opaque",
        "stringData": {"operator": operator, "bot": bot},
    }
