"""What is fixed for the life of a generation.

A generation that lives keeps the intents, the identify options and the layout it was made with while its successor
comes up with others, so these are kept with it (as an annotation of its StatefulSet), not read from the spec again.
"""

from __future__ import annotations

from typing import Final

import msgspec

from shard_runtime.contract import Honoured, IdentifyProperties, Predecessor, ShardLayout, Wire, decode, encode

ANNOTATION: Final = "discordgateway.dev/fixed"
AUTOMATIC: Final = "Automatic"
"""Reason of a generation: the bot has outgrown its shards."""
SHARDING_REQUIRED: Final = "ShardingRequired"
"""Reason of a generation: Discord refuses a session for too many guilds."""
GATEWAY_LABEL: Final = "discordgateway.dev/gateway"
GENERATION_LABEL: Final = "discordgateway.dev/generation"


class Claim(Wire, frozen=True, kw_only=True):
    """The volume that each pod of a generation has; a StatefulSet cannot change it."""

    size: str
    storage_class_name: str | None = None


class Generation(Wire, frozen=True, kw_only=True):
    """One generation as it was begun."""

    number: int
    epoch: int = 1
    """The record's epoch when it was begun; tells how many targets were begun and aborted since."""
    layout: ShardLayout
    predecessor: Predecessor | None = None
    wishes: Honoured
    """The wishes of the spec that it fulfils."""
    reason: str = "FirstGeneration"
    """What asked for it."""
    automatic: bool = False
    """Its count was found by the automatic rule, now or for a generation before it, and stands until a person writes
    another one."""
    guilds: int | None = None
    """Guilds of the bot when it was begun; None where they were not known."""
    intents: int
    compression: str
    properties: IdentifyProperties = IdentifyProperties()
    large_threshold: int | None = None
    capabilities: int | None = None
    overlap_seconds: float = 10.0
    storage: Claim | None = None
    """None: the pods' state is gone with the pod."""


def to_annotation(generation: Generation) -> str:
    """The annotation's value."""
    return encode(generation).decode()


def from_annotation(value: str) -> Generation:
    """Raises ``msgspec.DecodeError`` for a value that is not a generation."""
    return decode(value, Generation)


DecodeError = msgspec.DecodeError
