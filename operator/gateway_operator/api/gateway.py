"""The resource as a whole, and the one way in: a manifest becomes a ``DiscordGateway`` or sentences about it."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from gateway_operator.api.base import Observed
from gateway_operator.api.spec import Spec
from gateway_operator.api.status import Status

LONGEST_NAME = 40
"""Names of the gateway's objects are built from its own and must fit a label."""


class Metadata(Observed):
    """The part of an object's metadata that is read."""

    name: Annotated[str, Field(min_length=1, max_length=LONGEST_NAME, pattern=r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$")]
    namespace: str = "default"
    uid: str = ""
    generation: int = 1
    deletion_timestamp: str | None = None


class DiscordGateway(Observed):
    """A bot's gateway sessions as a service."""

    api_version: Literal["discordgateway.dev/v1alpha1"] = "discordgateway.dev/v1alpha1"
    kind: Literal["DiscordGateway"] = "DiscordGateway"
    metadata: Metadata
    spec: Spec
    status: Status = Field(default_factory=Status)
