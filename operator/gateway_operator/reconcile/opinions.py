"""The operator's hooks: ``should_reshard`` says whether a bot gets more shards, ``reshard`` is there when it does.

What a hook says is an opinion. Cooldown, identify budget, ``maxShards`` and a rehearsal that fits are none: they hold
whatever a hook answers, and a reshard that was begun goes on without it.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Final

from gateway_hooks import Hooks, HookUseError
from gateway_operator.planning.actions import Change, WriteRecord
from gateway_operator.planning.growth import capacity_of, guilds_of, is_counted, need
from gateway_operator.planning.health import layout_of
from gateway_operator.planning.observed import Observation, ObservedGeneration, Opinion

SHOULD: Final = "should_reshard"
RESHARD: Final = "reshard"


@dataclass(frozen=True, slots=True, kw_only=True)
class OperatorContext:
    """What every hook of the operator gets first."""

    log: logging.Logger
    state: SimpleNamespace = field(default_factory=SimpleNamespace)
    """Free for hooks, to keep something from one call to the next."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GatewayView:
    """A gateway as a hook sees it."""

    namespace: str
    name: str
    generation: int
    shards: int
    guilds: int
    capacity: int
    """Guilds that the shards are meant to hold."""
    recommended_shards: int | None
    """By Discord; None while that is not known."""
    session_starts_left: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ReshardPlan:
    """A reshard that is about to begin."""

    generation: int
    """The new one."""
    shards: int
    reason: str


async def opinion_of(hooks: Hooks | None, observation: Observation) -> Opinion | None:
    """What ``should_reshard`` thinks of the gateway; None where nobody is asked."""
    active = _active(observation)
    spec = observation.spec
    if hooks is None or SHOULD not in hooks or spec is None or active is None or not spec.reshard.auto:
        return None
    if spec.paused or not is_counted(active):
        return None
    rule = need(spec, active) is not None

    async def default(gateway: GatewayView) -> bool:
        return rule

    answer = await hooks.call(SHOULD, default, _view(observation, active), check=_yes_no_or_count)
    present = layout_of(active).count
    if isinstance(answer, bool):
        return Opinion(wanted=answer)
    if answer <= present:
        return Opinion(wanted=False)
    return Opinion(wanted=True, count=answer)


async def begin_reshard(
    hooks: Hooks | None, action: WriteRecord, observation: Observation, begin: Callable[[], Awaitable[None]]
) -> None:
    """Begin a reshard by way of the hook ``reshard``, which may leave it for a later pass."""
    active = _active(observation)
    record = action.record
    if hooks is None or RESHARD not in hooks or action.change is not Change.BEGIN or active is None:
        await begin()
        return
    plan = ReshardPlan(
        generation=record.target or 0, shards=record.target_count or 0, reason=record.target_reason or ""
    )

    async def default(gateway: GatewayView, planned: ReshardPlan) -> None:
        await begin()

    await hooks.call(RESHARD, default, _view(observation, active), plan)


def _active(observation: Observation) -> ObservedGeneration | None:
    """The active generation, while nothing is about to take over from it."""
    record = None if observation.record is None else observation.record.record
    if record is None or record.target is not None:
        return None
    found = [each for each in observation.generations if each.number == record.active and each.fixed is not None]
    return found[0] if found else None


def _view(observation: Observation, active: ObservedGeneration) -> GatewayView:
    assert observation.spec is not None
    discord = observation.discord
    return GatewayView(
        namespace=observation.metadata.namespace,
        name=observation.metadata.name,
        generation=active.number,
        shards=layout_of(active).count,
        guilds=guilds_of(active),
        capacity=capacity_of(observation.spec, active),
        recommended_shards=None if discord is None else discord.recommended_shards,
        session_starts_left=None if discord is None else discord.remaining,
    )


def _yes_no_or_count(found: object) -> bool | int:
    if isinstance(found, bool) or (isinstance(found, int) and found > 0):
        return found
    raise HookUseError(f"returned {found!r} and not True, False or a number of shards")
