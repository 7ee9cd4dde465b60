"""What all generations of a gateway share."""

from __future__ import annotations

from typing import Any

from gateway_operator.api.gateway import Metadata
from gateway_operator.api.spec import Spec
from gateway_operator.resources.configmaps import forward_config_map
from gateway_operator.resources.disruption import disruption_budget
from gateway_operator.resources.network import network_policy
from gateway_operator.resources.services import command_service, headless_service
from gateway_operator.resources.settings import RuntimeSettings


def shared_manifests(owner: Metadata, spec: Spec, settings: RuntimeSettings) -> list[dict[str, Any]]:
    """To be kept as they are by server-side apply; the Secret ``<name>-auth`` is created once, beside these."""
    return [
        headless_service(owner),
        command_service(owner),
        disruption_budget(owner),
        forward_config_map(owner, spec),
        *([network_policy(owner, spec, settings)] if settings.network_policies else []),
    ]
