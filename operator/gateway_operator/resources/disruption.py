"""The PodDisruptionBudget of a gateway: a drain takes its pods one by one."""

from __future__ import annotations

from typing import Any

from gateway_operator.api.gateway import Metadata
from gateway_operator.api.generation import GATEWAY_LABEL
from gateway_operator.resources.naming import gateway_labels, object_metadata


def disruption_budget(owner: Metadata) -> dict[str, Any]:
    """``<name>``: over all generations, since a handover needs the pods of both.

    A pod that is not ready holds up no drain: a gateway with a wrong token would keep its nodes for ever.
    """
    return {
        "apiVersion": "policy/v1",
        "kind": "PodDisruptionBudget",
        "metadata": object_metadata(owner, owner.name, labels=gateway_labels(owner.name)),
        "spec": {
            "maxUnavailable": 1,
            "selector": {"matchLabels": {GATEWAY_LABEL: owner.name}},
            "unhealthyPodEvictionPolicy": "AlwaysAllow",
        },
    }
