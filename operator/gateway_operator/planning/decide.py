"""Observe → what to do, as a table under a theory.

Theory: the record says which generation is active and which is to take over (the target); StatefulSets say which exist.
Together they are one of few situations, and each has one next act:

==========================  ===============================  ======================================================
record                      StatefulSets                     next act
==========================  ===============================  ======================================================
none                        none                             create the record, naming generation 1 as active
active, no target           none                             create the active one (honour changed wishes before)
active, target              none                             abort
active, no target           active                           wishes changed: begin, or honour if already fulfilled;
                                                             template changed: roll pod by pod; outgrown: begin
active, target              active                           not wanted any more: abort; else create the target
active, target              active, target                   not wanted any more or hopeless: abort; ready: commit
active, no target           active, its predecessor          all handed over: retire; retired: delete it
active, no target           active                           predecessor not retired (deleted by a person): retire
active, no target           active, a higher one             delete the higher one, an aborted target
anything else                                                nothing: the evidence conflicts
==========================  ===============================  ======================================================

Each write of the record is the only one of its pass. What is begun, committed or deleted follows from record and pods
alone; the status contributes only since when.
"""

from __future__ import annotations

from gateway_operator.api.generation import SHARDING_REQUIRED, Generation
from gateway_operator.api.spec import Spec
from gateway_operator.api.status import Step
from gateway_operator.planning import writes
from gateway_operator.planning.actions import DeleteGeneration, EnsureGeneration
from gateway_operator.planning.blockers import blocker
from gateway_operator.planning.budget import FLOOR
from gateway_operator.planning.decision import Decision, living_of, waiting_for, written
from gateway_operator.planning.difference import count_kept, new_generation, why_new
from gateway_operator.planning.evidence import conflict, first_number, next_number
from gateway_operator.planning.growth import Need, grown_count, held, need, no_more
from gateway_operator.planning.health import layout_of
from gateway_operator.planning.hold import Hold
from gateway_operator.planning.observed import Observation, ObservedGeneration
from gateway_operator.planning.progress import previous_reshard, reshard_status
from gateway_operator.planning.reshard import BEFORE_RETIREMENT, Handover, Stage, overlap_of, stage
from gateway_operator.planning.rollout import replacements, rollout
from gateway_operator.planning.starting import affordable, startable, still_starting, wanted_count
from gateway_operator.planning.towards_commit import towards_commit
from gateway_operator.planning.wishes import wishes
from shard_runtime.contract import Record


def decide(observation: Observation, spec: Spec | None) -> Decision:
    """The situation's next act. *spec* is None when it is refused: then what runs is left alone."""
    found = conflict(observation)
    if found is not None:
        return Decision(conflict=found)
    if observation.record is None or observation.record.record is None:
        return _no_record(observation, spec)
    record = observation.record.record
    by_number = {generation.number: generation for generation in observation.generations}
    active = by_number.get(record.active) if record.active is not None else None
    if active is None:
        return _no_generation(observation, spec, record)
    if record.target is not None:
        return towards_commit(observation, spec, record, active, by_number.get(record.target))
    others = [generation for generation in observation.generations if generation.number != active.number]
    before = active.fixed.predecessor.generation if active.fixed is not None and active.fixed.predecessor else 0
    if before > record.retired and before not in by_number:
        # A person deleted it. Whatever it had not delivered is gone; held events must not wait for it.
        why = f"Generation {before} is gone."
        return written(writes.retire(observation, record, number=before, why=why))
    if others:
        return _clear(observation, spec, record, active, others)
    return _idle(observation, spec, record, active)


def _no_record(observation: Observation, spec: Spec | None) -> Decision:
    if spec is None:
        return Decision()
    count, hold = startable(observation, spec, reserve=FLOOR)
    if count is None:
        return waiting_for(hold)
    number = first_number(observation)
    return written(writes.create(spec, number=number, why=f"Generation {number} with {count} shards is the first."))


def _no_generation(observation: Observation, spec: Spec | None, record: Record) -> Decision:
    """The active generation's StatefulSet was not created yet, or somebody deleted it."""
    if record.target is not None:
        return written(writes.give_up(observation, record, why="Neither generation exists any more."))
    if spec is None:
        return Decision()
    if wishes(spec) != record.honoured:
        why = "The first generation is made as the spec is now."
        return written(writes.honour(observation, record, spec, why=why))
    count, hold = startable(observation, spec, reserve=FLOOR)
    if count is None or record.active is None:
        return waiting_for(hold)
    generation = new_generation(spec, number=record.active, count=count, reason="FirstGeneration")
    return Decision(actions=(EnsureGeneration(generation=generation, create=True),))


def _idle(observation: Observation, spec: Spec | None, record: Record, active: ObservedGeneration) -> Decision:
    made = active.fixed
    if spec is None or made is None:
        return Decision()
    living = () if active.deleting else (made,)
    rolling = None if active.deleting else rollout(observation, spec, active)
    if wishes(spec) == record.honoured:
        given_up = _given_up(spec, record, made)
        # A reshard that has just ended is in the history from the next pass on, and counts for the cooldown.
        why_grown = need(spec, active, observation.opinion) if observation.previous.reshard is None else None
        if why_grown is None or (rolling is not None and why_grown.reason != SHARDING_REQUIRED):
            return Decision(living=living, given_up=given_up, rollout=rolling)
        grown, hold = _grown(observation, spec, record, active, why_grown)
        if grown is None:
            return waiting_for(hold, living=living, rollout=rolling, given_up=given_up)
        return _begin(observation, spec, record, made, count=grown, reason=why_grown.reason)
    count, hold = wanted_count(observation, spec, made)
    if count is None:
        return waiting_for(hold, living=living, rollout=rolling)
    reason = why_new(spec, made, count=count)
    if reason is None:
        why = "The active generation is what the spec asks for."
        return written(writes.honour(observation, record, spec, why=why))
    hold = affordable(observation, spec, count, reserve=spec.reshard.identify_reserve)
    hold = hold or still_starting(observation, spec, active)
    if hold is not None:
        return waiting_for(hold, living=living, rollout=rolling)
    return _begin(observation, spec, record, made, count=count, reason=reason)


def _begin(
    observation: Observation, spec: Spec, record: Record, made: Generation, *, count: int, reason: str
) -> Decision:
    number = next_number(observation, record, made)
    why = (
        f"Generation {number} with {count} shards is to take over from generation {made.number} "
        f"with {made.layout.count} ({reason})."
    )
    return written(writes.begin(observation, record, spec, target=number, count=count, reason=reason, why=why))


def _grown(
    observation: Observation, spec: Spec, record: Record, active: ObservedGeneration, why: Need
) -> tuple[int | None, Hold | None]:
    """The count that the automatic rule begins a generation with, or why it does not now."""
    hold = held(observation, spec, record, active, why) or blocker(observation)
    if hold is not None or observation.discord is None:
        return None, hold
    count = grown_count(observation, spec, active, observation.discord)
    if count <= layout_of(active).count:
        return None, no_more(spec, why)
    hold = affordable(observation, spec, count, reserve=spec.reshard.identify_reserve)
    return (None, hold) if hold is not None else (count, None)


def _clear(
    observation: Observation,
    spec: Spec | None,
    record: Record,
    active: ObservedGeneration,
    others: list[ObservedGeneration],
) -> Decision:
    """Without a target, a lower generation was active before the active one, and a higher one was aborted."""
    living = living_of(active) if spec is not None else ()
    actions: list[DeleteGeneration] = []
    reshard = None
    for other in others:
        if other.number > active.number:
            why = f"Generation {other.number} was given up before it took over."
        else:
            why = f"Generation {active.number} has taken over from it."
            at = Stage(step=Step.RETIRING, message=f"Generation {other.number} is being deleted.")
            if other.number > record.retired:
                waiting = stage(BEFORE_RETIREMENT, _taking_over(observation, record, new=active, old=other))
                if waiting is None:
                    return written(
                        writes.retire(observation, record, number=other.number, why=why),
                        reshard=reshard_status(
                            observation, at, number=active.number, new=active, old=other, wanted=None
                        ),
                    )
                at = waiting
            reshard = reshard_status(observation, at, number=active.number, new=active, old=other, wanted=None)
            if other.number > record.retired:
                continue
        if not other.deleting:
            actions.append(DeleteGeneration(number=other.number, why=why))
    return Decision(actions=(*actions, *replacements(spec, active)), living=living, reshard=reshard)


def _taking_over(
    observation: Observation, record: Record, *, new: ObservedGeneration, old: ObservedGeneration
) -> Handover:
    return Handover(
        now=observation.now,
        record=record,
        new=new,
        old=old,
        overlap_seconds=overlap_of(new),
        paused=False,
        previous=previous_reshard(observation, new.number),
    )


def _given_up(spec: Spec, record: Record, made: Generation) -> str | None:
    """The record says that the wishes were honoured, and the active generation is not what they ask for; or the
    automatic rule's last target failed."""
    # A count of 0 may by now be recommended otherwise, which is no wish.
    count = count_kept(spec, made) or spec.shards.count or made.layout.count
    if why_new(spec, made, count=count) is None:
        if record.given_up <= made.number:
            return None
        return (
            f"Generation {record.given_up} made no progress and was given up; generation {made.number} goes on. "
            "See to the cause."
        )
    return (
        f"A generation with {count} shards made no progress and was given up; generation {made.number} goes on. "
        "See to the cause, then set spec.reshard.requestID to a new value."
    )
