"""Conditions of a gateway, as Kubernetes writes them.

Every condition carries ``observedGeneration``: ``kubectl wait --for=condition=Ready`` accepts a stale condition
otherwise.
"""

from __future__ import annotations

import datetime as dt
import enum

from pydantic import Field

from gateway_operator.api.base import Observed


class ConditionType(enum.StrEnum):
    READY = "Ready"
    RESHARDING = "Resharding"
    DEGRADED = "Degraded"
    PAUSED = "Paused"
    TOKEN_VALID = "TokenValid"
    RECEIVER_REACHABLE = "ReceiverReachable"


class ConditionStatus(enum.StrEnum):
    TRUE = "True"
    FALSE = "False"
    UNKNOWN = "Unknown"


class Condition(Observed):
    """One observation about the gateway."""

    type: ConditionType = Field(description="What the condition is about.")
    status: ConditionStatus = Field(description="True, False or Unknown.")
    reason: str = Field(max_length=128, description="One word for programs.")
    message: str = Field(default="", max_length=2048, description="A sentence for people.")
    last_transition_time: str = Field(max_length=32, description="When the status last changed.")
    observed_generation: int = Field(ge=0, description="metadata.generation that this was observed of.")


def timestamp(unix_milliseconds: int) -> str:
    """Kubernetes' spelling of a time: RFC 3339 in UTC, whole seconds."""
    return dt.datetime.fromtimestamp(unix_milliseconds // 1000, dt.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def milliseconds(stamp: str) -> int:
    """Unix milliseconds of a :func:`timestamp`. Raises ``ValueError`` for another spelling."""
    return int(dt.datetime.fromisoformat(stamp).timestamp()) * 1000
