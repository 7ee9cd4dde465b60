"""Whether sessions may be started now, and how many: token, API and budget permitting."""

from __future__ import annotations

from gateway_operator.api.generation import Generation
from gateway_operator.api.spec import Spec
from gateway_operator.planning.blockers import blocker
from gateway_operator.planning.budget import refusal
from gateway_operator.planning.difference import count_kept
from gateway_operator.planning.health import all_ready, stopped
from gateway_operator.planning.hold import Hold
from gateway_operator.planning.observed import Observation, ObservedGeneration
from gateway_operator.planning.shards import layout, resolve_count


def wanted_count(observation: Observation, spec: Spec, made: Generation) -> tuple[int | None, Hold | None]:
    """The number of shards that the spec asks for, or why it is not known now."""
    count = count_kept(spec, made) or spec.shards.count
    if count > 0:
        return count, None
    hold = blocker(observation)
    if hold is not None or observation.discord is None:
        return None, hold
    return resolve_count(spec, observation.discord), None


def startable(
    observation: Observation, spec: Spec, *, reserve: int, count: int | None = None
) -> tuple[int | None, Hold | None]:
    """The number of shards to start (*count*, or what the spec asks for), or why none may be started now."""
    hold = blocker(observation)
    if hold is not None or observation.discord is None:
        return None, hold
    count = count or resolve_count(spec, observation.discord)
    hold = affordable(observation, spec, count, reserve=reserve)
    return (None, hold) if hold is not None else (count, None)


def affordable(observation: Observation, spec: Spec, count: int, *, reserve: int) -> Hold | None:
    """Why *count* shards may not be started now."""
    hold = blocker(observation)
    if hold is not None or observation.discord is None:
        return hold
    shards = len(layout(spec, count).shards)
    return refusal(observation.discord, shards=shards, reserve=reserve, now=observation.now)


def still_starting(observation: Observation, spec: Spec, active: ObservedGeneration) -> Hold | None:
    """A generation that is still coming up is left to finish, for as long as a target would be."""
    if all_ready(active) or stopped(active) or active.created_at is None:
        return None
    if observation.now - active.created_at > spec.reshard.stall_seconds * 1000:
        return None
    return Hold(reason="Starting", message=f"Generation {active.number} is still starting; the change waits for it.")
