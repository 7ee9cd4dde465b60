"""The status that a pass leaves: gauges, generations, what became of reshards."""

from __future__ import annotations

import contextlib
from typing import Final

from gateway_operator.api.conditions import Condition, milliseconds, timestamp
from gateway_operator.api.generation import GATEWAY_LABEL, GENERATION_LABEL
from gateway_operator.api.spec import Reshard
from gateway_operator.api.status import (
    MOST_GENERATIONS,
    MOST_NOT_READY_SHARDS,
    DeliveryStatus,
    GenerationStatus,
    IdentifyBudget,
    Status,
)
from gateway_operator.planning.decision import Decision
from gateway_operator.planning.health import answers, layout_of, not_ready, ready_shards, shards
from gateway_operator.planning.history import history
from gateway_operator.planning.observed import Observation, ObservedGeneration
from gateway_operator.planning.progress import rollout_status
from shard_runtime.contract import Record, Role, ShardState

RESET_JITTER_MILLISECONDS: Final = 10_000


def status(
    observation: Observation,
    decision: Decision,
    record: Record | None,
    active: ObservedGeneration | None,
    conditions: list[Condition],
) -> Status:
    """The whole status."""
    count = 0 if active is None else len(layout_of(active).shards)
    made = Status(
        observed_generation=observation.metadata.generation,
        conditions=conditions,
        shards=count,
        ready_shards=0 if active is None else ready_shards(active),
        pods=0 if active is None else layout_of(active).pods,
        selector="" if active is None else _selector(observation.metadata.name, active.number),
        active_generation=None if record is None else record.active,
        target_generation=None if record is None else record.target,
        reshard=decision.reshard,
        rollout=None if decision.rollout is None else rollout_status(observation, decision.rollout),
        generations=[
            _generation(generation, record)
            for generation in sorted(observation.generations, key=lambda generation: -generation.number)
        ][:MOST_GENERATIONS],
        history=history(observation, decision, record, active),
    )
    return made.model_copy(update=_gauges(observation, active, count))


def _selector(gateway: str, generation: int) -> str:
    return f"{GATEWAY_LABEL}={gateway},{GENERATION_LABEL}={generation}"


def _gauges(observation: Observation, active: ObservedGeneration | None, count: int) -> dict[str, object]:
    """Numbers that move all the time; kept as they were between the times at which they may be written."""
    previous = observation.previous
    per_shard = (observation.spec.reshard if observation.spec is not None else Reshard()).guilds_per_shard
    capacity = count * per_shard
    if not observation.gauges_due:
        kept = ("guilds", "utilisation", "recommended_shards", "identify_budget", "delivery")
        return {"capacity": capacity, **{name: getattr(previous, name) for name in kept}}
    heard = [] if active is None else answers(active)
    guilds = sum(shard.guilds for shard in shards(active)) if active is not None else 0
    discord = observation.discord
    return {
        "guilds": guilds,
        "capacity": capacity,
        "utilisation": 100 * guilds // capacity if capacity else 0,
        "recommended_shards": previous.recommended_shards if discord is None else discord.recommended_shards,
        "identify_budget": previous.identify_budget
        if discord is None
        else IdentifyBudget(
            total=discord.total,
            remaining=max(0, discord.remaining),
            reset_at=_reset_at(discord.reset_at, previous.identify_budget),
            max_concurrency=discord.max_concurrency,
        ),
        "delivery": DeliveryStatus(
            queued=sum(pod.queued for pod in heard),
            oldest_seconds=round(max((pod.oldest_seconds for pod in heard), default=0.0), 1),
        ),
    }


def _reset_at(reset_at: int, previous: IdentifyBudget | None) -> str:
    """When the day starts anew. Discord says how long until then, so each reading differs by what it took to arrive,
    which is no news."""
    if previous is not None and previous.reset_at is not None:
        with contextlib.suppress(ValueError):
            if abs(milliseconds(previous.reset_at) - reset_at) <= RESET_JITTER_MILLISECONDS:
                return previous.reset_at
    return timestamp(reset_at)


def _generation(generation: ObservedGeneration, record: Record | None) -> GenerationStatus:
    layout = layout_of(generation)
    whole = [
        pod
        for pod in answers(generation)
        if {shard.id for shard in pod.shards if shard.state is ShardState.READY} >= set(layout.pod_shards(pod.pod))
    ]
    return GenerationStatus(
        number=generation.number,
        shards=len(layout.shards),
        role=_role(generation, record).value,
        ready_shards=ready_shards(generation),
        pods=layout.pods,
        ready_pods=len(whole),
        not_ready_shards=not_ready(generation)[:MOST_NOT_READY_SHARDS],
        revision=generation.revision,
    )


def _role(generation: ObservedGeneration, record: Record | None) -> Role:
    """A generation's role as the record has it; of a predecessor, whether it still delivers what is new."""
    if record is None or record.active is None or generation.number == record.target:
        return Role.STANDBY
    if generation.number == record.active:
        return Role.ACTIVE
    if generation.number > record.active or generation.deleting:
        return Role.RETIRED
    still = any(pod.role in (Role.ACTIVE, Role.STANDBY) for pod in answers(generation))
    return Role.ACTIVE if still else Role.SEALED
