"""What the operator itself knows and every pod must be told."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class RuntimeSettings:
    """Settings of the operator that reach manifests."""

    image: str
    """Image of the runtime where ``spec.template.image`` names none."""
    operator_url: str
    """Where pods find the operator, such as ``http://release-operator.system.svc:8080``."""
    network_policies: bool = False
    """Whether each gateway gets a NetworkPolicy that bounds where its pods may go."""
    pod_url: str | None = None
    """``RuntimeConfig.podURL``; None: the pods' names under the headless Service."""
