"""Whether a bot has outgrown its shards, and how many it should get: the automatic rule.

A session of Discord's may hold at most 2,500 guilds; one that would hold more is refused or ended with 4011 ("sharding
required"). So before that, at ``atPercent`` of what the shards are meant to hold, a generation with more shards is
asked for: as many as Discord recommends, or as the growth seen since the present generation was begun needs for some
time to come, whichever is more.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

from gateway_operator.api.conditions import milliseconds
from gateway_operator.api.generation import AUTOMATIC, SHARDING_REQUIRED
from gateway_operator.api.spec import Spec
from gateway_operator.api.status import Outcome, ReshardOutcome
from gateway_operator.planning.health import all_ready, layout_of, shards
from gateway_operator.planning.hold import Hold
from gateway_operator.planning.observed import DiscordInfo, Observation, ObservedGeneration, Opinion
from gateway_operator.planning.shards import legal_count
from shard_runtime.contract import Record, ShardState

SHARDING_REQUIRED_CODE: Final = 4011
HORIZON_DAYS: Final = 90
"""The new generation should do for so long, if the bot goes on growing as it did."""
LEAST_GROWTH, MOST_GROWTH = 1.25, 2.0
"""Bounds of the growth that is provided for: a day's fame is no trend, and a lull no end."""
MOST_FAILURES: Final = 2
"""Targets in a row that may fail before a person is asked."""

_DAY_MILLISECONDS: Final = 86_400_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Need:
    """More shards are needed."""

    reason: str
    message: str
    """A sentence for people."""


def need(spec: Spec, active: ObservedGeneration, opinion: Opinion | None = None) -> Need | None:
    """Why *active* has too few shards; None while it has enough, or while too little is known to tell."""
    if not spec.reshard.auto or active.fixed is None:
        return None
    if opinion is not None and is_counted(active):
        return (
            Need(reason=AUTOMATIC, message="The handler should_reshard asks for more shards.")
            if opinion.wanted
            else None
        )
    refused = [
        shard.id
        for shard in shards(active)
        if shard.state is ShardState.STOPPED and shard.close_code == SHARDING_REQUIRED_CODE
    ]
    if refused:
        return Need(
            reason=SHARDING_REQUIRED,
            message=f"Discord refuses shard {refused[0]} of {active.fixed.layout.count} for too many guilds (4011).",
        )
    if not is_counted(active):
        return None
    guilds, capacity = guilds_of(active), capacity_of(spec, active)
    if guilds * 100 < spec.reshard.at_percent * capacity:
        return None
    # No numbers of guilds: they change all the time, and a condition must not.
    return Need(
        reason=AUTOMATIC,
        message=f"The guilds are {spec.reshard.at_percent} % or more of the {capacity} that "
        f"{active.fixed.layout.count} shards are meant to hold.",
    )


def is_counted(generation: ObservedGeneration) -> bool:
    """Whether all guilds are known."""
    return all_ready(generation) and all(shard.settled for shard in shards(generation))


def held(observation: Observation, spec: Spec, record: Record, active: ObservedGeneration, why: Need) -> Hold | None:
    """Why the need is not met now, whatever the identify budget says."""
    made = active.fixed
    if made is not None and len(made.layout.shards) < made.layout.count:
        return Hold(
            reason="PartOfShards",
            message=f"{why.message} This gateway holds a part of the shards: set a higher spec.shards.count in all "
            "parts.",
        )
    count = layout_of(active).count
    if spec.reshard.max_shards is not None and spec.reshard.max_shards <= count:
        return no_more(spec, why)
    failures = _failures(observation.previous.history, after=active.number)
    failed = record.given_up > active.number
    if len(failures) >= MOST_FAILURES:
        return Hold(
            reason="ReshardGivenUp",
            message=f"{why.message} {len(failures)} automatic reshards made no progress and were given up. See to the "
            "cause, then set spec.reshard.requestID to a new value.",
        )
    if why.reason == SHARDING_REQUIRED and not failed:
        return None
    last = _last_reshard(observation, active)
    if failed and not failures:
        last = max(last, observation.watched_since)  # the history was lost, so it may have been just now
    left = spec.reshard.cooldown_seconds - (observation.now - last) / 1000
    if left > 0:
        return Hold(
            reason="Cooldown",
            message=f"{why.message} The last reshard is less than spec.reshard.cooldownSeconds "
            f"({spec.reshard.cooldown_seconds}) ago.",
        )
    return None


def no_more(spec: Spec, why: Need) -> Hold:
    """No legal count is higher than the present one."""
    most = spec.reshard.max_shards
    limit = "There is no higher count" if most is None else f"spec.reshard.maxShards ({most}) allows no more shards"
    return Hold(reason="MaxShards", message=f"{why.message} {limit}.")


def grown_count(observation: Observation, spec: Spec, active: ObservedGeneration, discord: DiscordInfo) -> int:
    """How many shards the bot should get: more than it has, unless no legal count is within ``maxShards``."""
    present, guilds = layout_of(active).count, guilds_of(active)
    if observation.opinion is not None and observation.opinion.count is not None:
        return legal_count(max(observation.opinion.count, present + 1), discord, most=spec.reshard.max_shards)
    per_shard = spec.reshard.guilds_per_shard * spec.reshard.at_percent / 100
    growth = _growth(observation, active, guilds)
    count = max(discord.recommended_shards, math.ceil(guilds * growth / per_shard), present + 1, spec.shards.count)
    if any(shard.close_code == SHARDING_REQUIRED_CODE for shard in shards(active)):
        # Of a session that was refused nothing is known but that it had more guilds than it may.
        count = max(count, 2 * present)
    return legal_count(count, discord, most=spec.reshard.max_shards)


def guilds_of(generation: ObservedGeneration) -> int:
    """Guilds of all sessions that are known."""
    return sum(shard.guilds for shard in shards(generation))


def capacity_of(spec: Spec, generation: ObservedGeneration) -> int:
    """Guilds that the generation's shards are meant to hold."""
    return len(layout_of(generation).shards) * spec.reshard.guilds_per_shard


def _growth(observation: Observation, active: ObservedGeneration, guilds: int) -> float:
    """Factor by which guilds are to be expected at the horizon."""
    made = active.fixed
    if made is None or not made.guilds or active.created_at is None or guilds == 0:
        return MOST_GROWTH
    days = max((observation.now - active.created_at) / _DAY_MILLISECONDS, 1 / 24)
    factor = 1 + (guilds - made.guilds) / days * HORIZON_DAYS / guilds
    return min(max(factor, LEAST_GROWTH), MOST_GROWTH)


def _failures(history: list[ReshardOutcome], *, after: int) -> list[ReshardOutcome]:
    """Automatic targets after generation *after* that were given up."""
    return [
        past
        for past in history
        if past.generation > after and past.outcome is Outcome.STALLED and past.reason in (AUTOMATIC, SHARDING_REQUIRED)
    ]


def _last_reshard(observation: Observation, active: ObservedGeneration) -> int:
    """When the last one ended, whatever became of it; the first generation's beginning where there was none."""
    ends = [milliseconds(past.ended_at) for past in observation.previous.history]
    return max([*ends, *([] if active.created_at is None or made_first(active) else [active.created_at])], default=0)


def made_first(generation: ObservedGeneration) -> bool:
    """Whether the generation took over from none."""
    return generation.fixed is None or generation.fixed.predecessor is None
