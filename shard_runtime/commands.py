"""Where a command goes: to workers of this pod, to sibling pods of its generation, or to the generation that is active.

Every pod takes commands, since the Service that bots use points at all of them. Only the active generation's sessions
may send: a pod of another one passes the command on whole, and the pod that gets it knows its own generation's layout.
Pure; who carries it out is the supervisor.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from shard_runtime import contract
from shard_runtime.contract import Role
from shard_runtime.protocol.commands import CommandError, Part, split

MOST_HOPS: Final = 4
"""Pods that may pass a command on. Two are usual; more means that the records they follow disagree."""


class NoGenerationError(Exception):
    """No generation is active."""


class UndecidedError(Exception):
    """Which generation is active cannot be told now; asking again is right."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Whole:
    """Pass the command on as it is, to a pod of the active generation."""

    generation: int
    pod: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Split:
    """The active generation is this pod's own."""

    here: list[Part]
    elsewhere: dict[int, list[Part]]
    """By pod."""


def route(
    request: contract.CommandRequest,
    *,
    config: contract.RuntimeConfig,
    pod: int,
    role: Role,
    record: contract.Record | None,
) -> Whole | Split:
    """Where *request* goes from pod *pod* with *role*, by the latest *record* it has.

    Raises :class:`~shard_runtime.protocol.commands.CommandError`, :class:`NoGenerationError` and
    :class:`UndecidedError`.
    """
    if request.hops > MOST_HOPS:
        raise UndecidedError("The pods do not agree on which generation is active.")
    active = _active(record, own=config.generation, role=role)
    if active == config.generation:
        return _split(request, layout=config.layout, pod=pod)
    predecessor = config.predecessor
    if predecessor is not None and predecessor.generation == active:
        parts = _parts(request, predecessor.layout)
        return Whole(generation=active, pod=predecessor.layout.pod_of(parts[0].shard))
    return Whole(generation=active, pod=0)  # its layout is not known here, but it has a first pod


def _active(record: contract.Record | None, *, own: int, role: Role) -> int:
    if record is None or record.active is None:
        raise NoGenerationError("No generation is active yet.")
    if record.active != own or role is Role.ACTIVE:
        return record.active
    # Sealed before the record has told why: whoever sealed it is active, and was the target.
    if record.target is None:
        raise UndecidedError(f"This pod is {role}, and does not know yet which generation has taken over.")
    return record.target


def _split(request: contract.CommandRequest, *, layout: contract.ShardLayout, pod: int) -> Split:
    here: list[Part] = []
    elsewhere: dict[int, list[Part]] = {}
    for part in _parts(request, layout):
        owner = layout.pod_of(part.shard)
        (here if owner == pod else elsewhere.setdefault(owner, [])).append(part)
    return Split(here=here, elsewhere=elsewhere)


def _parts(request: contract.CommandRequest, layout: contract.ShardLayout) -> list[Part]:
    parts = split(op=request.op, d=request.d, shard=request.shard, count=layout.count)
    for part in parts:
        if part.shard not in layout.shards:
            raise CommandError(
                f"Shard {part.shard} is not one of this gateway, which has the shards {layout.first} to {layout.last}."
            )
    return parts
