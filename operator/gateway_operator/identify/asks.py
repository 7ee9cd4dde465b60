"""What is asked of the identify gate, what it must know of Discord for it, and how it answers."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import NamedTuple

from shard_runtime.contract import Permit, PermitWait


class ShardKey(NamedTuple):
    """A shard of a generation of a gateway."""

    namespace: str
    gateway: str
    generation: int
    shard: int


class Urgency(enum.IntEnum):
    """The order in which permits are given."""

    RECOVERY = 0
    """A session of the active generation."""
    RESHARD = 1
    """A session of a target."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ask:
    """A pod's wish to IDENTIFY one shard."""

    application: str
    key: ShardKey
    pod_uid: str
    urgency: Urgency
    reserve: int = 0
    """Session starts that a reshard must leave."""
    wish: str = ""
    attempt: int = 0
    """As in :class:`shard_runtime.contract.PermitRequest`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Discord's session start limit of an application."""

    total: int
    remaining: int
    reset_at: float
    max_concurrency: int
    read_at: float
    """When the call that read it was begun."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Refused:
    """No permit until a person has acted."""

    reason: str


Answer = Permit | PermitWait | Refused
