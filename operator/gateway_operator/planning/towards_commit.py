"""While the record names a target: towards the commit, or away from it.

Until the commit the target can be given up at no loss, the old generation never having stopped: because it is not
wanted any more (the spec changed), or because it gets nowhere. Only the latter is remembered as a failure.
"""

from __future__ import annotations

from gateway_operator.api.generation import AUTOMATIC, SHARDING_REQUIRED
from gateway_operator.api.spec import Spec
from gateway_operator.api.status import ReshardStatus
from gateway_operator.planning import writes
from gateway_operator.planning.actions import EnsureGeneration
from gateway_operator.planning.decision import Decision, living_of, waiting_for, written
from gateway_operator.planning.difference import new_generation, why_new
from gateway_operator.planning.growth import guilds_of
from gateway_operator.planning.health import all_ready, ready_shards, refused_for_good
from gateway_operator.planning.observed import Observation, ObservedGeneration
from gateway_operator.planning.progress import previous_reshard, reshard_status, stalled
from gateway_operator.planning.reshard import BEFORE_COMMIT, Handover, Stage, overlap_of, stage
from gateway_operator.planning.rollout import replacements
from gateway_operator.planning.starting import startable
from gateway_operator.planning.wishes import wishes
from shard_runtime.contract import Record

LONGEST_MESSAGE = 2048


def towards_commit(
    observation: Observation,
    spec: Spec | None,
    record: Record,
    active: ObservedGeneration,
    target: ObservedGeneration | None,
) -> Decision:
    made, number = active.fixed, record.target
    if made is None or number is None:
        return Decision()
    unwanted = _unwanted(spec, record, target)
    if unwanted is not None:
        write = writes.abort(observation, record, made, why=unwanted)
        return written(write, reshard=_last_words(observation, unwanted))
    handover = Handover(
        now=observation.now,
        record=record,
        new=target,
        old=active,
        overlap_seconds=overlap_of(target),
        paused=spec is None or spec.paused,
        promoted=spec is None or spec.reshard.auto_promote,
        previous=previous_reshard(observation, number),
    )
    at = stage(BEFORE_COMMIT, handover)
    living = living_of(active, target) if spec is not None else ()
    if at is None:
        why = f"Generation {number} takes over from generation {active.number}."
        write = writes.commit(observation, record, target=number, why=why)
        return written(write, reshard=observation.previous.reshard)
    ready = 0 if target is None else ready_shards(target)
    hopeless = None if spec is None or target is None else refused_for_good(target)
    patience = None if spec is None else spec.reshard.stall_seconds
    if patience is not None and stalled(observation, at, number=number, ready=ready, seconds=patience):
        hopeless = hopeless or f"it made no progress for {patience} s. {at.message}"
    if hopeless is not None:
        why = f"Generation {number} is given up: {hopeless}"
        return written(writes.give_up(observation, record, why=why), reshard=_last_words(observation, why))
    if target is not None or spec is None:
        return Decision(
            actions=replacements(spec, active, target),
            living=living,
            reshard=reshard_status(observation, at, number=number, new=target, old=active, wanted=None),
        )
    count, hold = startable(observation, spec, reserve=0, count=record.target_count)
    if count is None:
        waiting = at if hold is None else Stage(step=at.step, message=hold.message)
        return waiting_for(
            hold,
            living=living,
            reshard=reshard_status(observation, waiting, number=number, new=None, old=active, wanted=None),
        )
    generation = new_generation(
        spec,
        number=number,
        count=count,
        reason=record.target_reason or why_new(spec, made, count=count) or "Requested",
        predecessor=made,
        epoch=record.epoch,
        guilds=guilds_of(active) if all_ready(active) else None,
    )
    return Decision(
        actions=(EnsureGeneration(generation=generation, create=True),),
        living=living,
        reshard=reshard_status(observation, at, number=number, new=None, old=active, wanted=generation),
    )


def _unwanted(spec: Spec | None, record: Record, target: ObservedGeneration | None) -> str | None:
    """Why the target is not wanted any more; None while it is."""
    if spec is not None and wishes(spec) != record.honoured:
        return f"The spec changed before generation {record.target} took over."
    if spec is not None and record.target_reason in (AUTOMATIC, SHARDING_REQUIRED) and not spec.reshard.auto:
        return f"spec.reshard.auto became false before generation {record.target} took over."
    if target is not None and target.fixed is not None and target.fixed.wishes != record.honoured:
        return f"Generation {record.target} was not made for what the record says."  # a late act of another operator
    return None


def _last_words(observation: Observation, why: str) -> ReshardStatus | None:
    """What the history will say of a reshard that ends here."""
    previous = observation.previous.reshard
    return None if previous is None else previous.model_copy(update={"message": why[:LONGEST_MESSAGE]})
