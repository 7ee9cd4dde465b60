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
                                                             template changed: roll pod by pod
active, target              active                           wishes changed: abort; else create the target
active, target              active, target                   wishes changed or no progress: abort; ready: commit
active, no target           active, its predecessor          all handed over: retire; retired: delete it
active, no target           active                           predecessor not retired (deleted by a person): retire
active, no target           active, a higher one             delete the higher one, an aborted target
anything else                                                nothing: the evidence conflicts
==========================  ===============================  ======================================================

Each write of the record is the only one of its pass. What is begun, committed or deleted follows from record and pods
alone; the status contributes only since when.
"""

from __future__ import annotations

from gateway_operator.api.generation import Generation
from gateway_operator.api.spec import Spec
from gateway_operator.api.status import ReshardStatus, Step
from gateway_operator.planning import writes
from gateway_operator.planning.actions import (
    DeleteGeneration,
    DeletePods,
    EnsureGeneration,
    RefreshDiscord,
    WriteRecord,
)
from gateway_operator.planning.blockers import blocker
from gateway_operator.planning.budget import FLOOR, refusal
from gateway_operator.planning.decision import Decision
from gateway_operator.planning.difference import new_generation, why_new
from gateway_operator.planning.evidence import conflict, first_number, next_number
from gateway_operator.planning.health import all_ready, ready_shards, stopped
from gateway_operator.planning.hold import Hold
from gateway_operator.planning.observed import Observation, ObservedGeneration
from gateway_operator.planning.progress import previous_reshard, reshard_status, stalled
from gateway_operator.planning.reshard import BEFORE_COMMIT, BEFORE_RETIREMENT, Handover, Stage, stage
from gateway_operator.planning.rollout import Rollout, replace_unstarted, rollout
from gateway_operator.planning.shards import layout, resolve_count
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
        return _towards_commit(observation, spec, record, active, by_number.get(record.target))
    others = [generation for generation in observation.generations if generation.number != active.number]
    before = active.fixed.predecessor.generation if active.fixed is not None and active.fixed.predecessor else 0
    if before > record.retired and before not in by_number:
        # A person deleted it. Whatever it had not delivered is gone; held events must not wait for it.
        why = f"Generation {before} is gone."
        return _written(writes.retire(observation, record, number=before, why=why))
    if others:
        return _clear(observation, spec, record, active, others)
    return _idle(observation, spec, record, active)


def _no_record(observation: Observation, spec: Spec | None) -> Decision:
    if spec is None:
        return Decision()
    count, hold = _startable(observation, spec, reserve=FLOOR)
    if count is None:
        return _held(hold)
    number = first_number(observation)
    return _written(writes.create(spec, number=number, why=f"Generation {number} with {count} shards is the first."))


def _no_generation(observation: Observation, spec: Spec | None, record: Record) -> Decision:
    """The active generation's StatefulSet was not created yet, or somebody deleted it."""
    if record.target is not None:
        return _written(writes.give_up(observation, record, why="Neither generation exists any more."))
    if spec is None:
        return Decision()
    if wishes(spec) != record.honoured:
        why = "The first generation is made as the spec is now."
        return _written(writes.honour(observation, record, spec, why=why))
    count, hold = _startable(observation, spec, reserve=FLOOR)
    if count is None or record.active is None:
        return _held(hold)
    generation = new_generation(spec, number=record.active, count=count, reason="FirstGeneration")
    return Decision(actions=(EnsureGeneration(generation=generation, create=True),))


def _idle(observation: Observation, spec: Spec | None, record: Record, active: ObservedGeneration) -> Decision:
    made = active.fixed
    if spec is None or made is None:
        return Decision()
    living = () if active.deleting else (made,)
    rolling = None if active.deleting else rollout(observation, spec, active)
    if wishes(spec) == record.honoured:
        return Decision(living=living, given_up=_given_up(spec, made), rollout=rolling)
    count, hold = _startable(observation, spec, reserve=spec.reshard.identify_reserve, only_count=True)
    if count is None:
        return _held(hold, living=living, rollout=rolling)
    reason = why_new(spec, made, count=count)
    if reason is None:
        why = "The active generation is what the spec asks for."
        return _written(writes.honour(observation, record, spec, why=why))
    count, hold = _startable(observation, spec, reserve=spec.reshard.identify_reserve)
    hold = hold or _starting(observation, spec, active)
    if count is None or hold is not None:
        return _held(hold, living=living, rollout=rolling)
    number = next_number(observation, record, made)
    why = (
        f"Generation {number} with {count} shards is to take over from generation {made.number} "
        f"with {made.layout.count} ({reason})."
    )
    return _written(writes.begin(observation, record, spec, target=number, why=why))


def _towards_commit(
    observation: Observation,
    spec: Spec | None,
    record: Record,
    active: ObservedGeneration,
    target: ObservedGeneration | None,
) -> Decision:
    made, number = active.fixed, record.target
    if made is None or number is None:
        return Decision()
    if spec is not None and wishes(spec) != record.honoured:
        why = f"The spec changed before generation {number} took over."
        return _written(writes.abort(observation, record, made, why=why), reshard=observation.previous.reshard)
    if target is not None and target.fixed is not None and target.fixed.wishes != record.honoured:
        # A late act of another operator.
        why = f"Generation {number} was not made for what the record says."
        return _written(writes.abort(observation, record, made, why=why), reshard=observation.previous.reshard)
    handover = Handover(
        now=observation.now,
        record=record,
        new=target,
        old=active,
        overlap_seconds=_overlap(target),
        paused=spec is None or spec.paused,
        previous=previous_reshard(observation, number),
    )
    at = stage(BEFORE_COMMIT, handover)
    living = _living(active, target) if spec is not None else ()
    if at is None:
        why = f"Generation {number} takes over from generation {active.number}."
        write = writes.commit(observation, record, target=number, why=why)
        return _written(write, reshard=observation.previous.reshard)
    ready = 0 if target is None else ready_shards(target)
    patience = None if spec is None else spec.reshard.stall_seconds
    if patience is not None and stalled(observation, at, number=number, ready=ready, seconds=patience):
        why = f"Generation {number} made no progress for {patience} s and is given up: {at.message}"
        return _written(writes.give_up(observation, record, why=why), reshard=observation.previous.reshard)
    if target is not None or spec is None:
        return Decision(
            actions=_replacements(spec, active, target),
            living=living,
            reshard=reshard_status(observation, at, number=number, new=target, old=active, wanted=None),
        )
    count, hold = _startable(observation, spec, reserve=0)
    if count is None:
        waiting = at if hold is None else Stage(step=at.step, message=hold.message)
        return _held(
            hold,
            living=living,
            reshard=reshard_status(observation, waiting, number=number, new=None, old=active, wanted=None),
        )
    reason = why_new(spec, made, count=count) or "Requested"
    generation = new_generation(spec, number=number, count=count, reason=reason, predecessor=made, epoch=record.epoch)
    return Decision(
        actions=(EnsureGeneration(generation=generation, create=True),),
        living=living,
        reshard=reshard_status(observation, at, number=number, new=None, old=active, wanted=generation),
    )


def _clear(
    observation: Observation,
    spec: Spec | None,
    record: Record,
    active: ObservedGeneration,
    others: list[ObservedGeneration],
) -> Decision:
    """Without a target, a lower generation was active before the active one, and a higher one was aborted."""
    living = _living(active) if spec is not None else ()
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
                    return _written(
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
    return Decision(actions=(*actions, *_replacements(spec, active)), living=living, reshard=reshard)


def _taking_over(
    observation: Observation, record: Record, *, new: ObservedGeneration, old: ObservedGeneration
) -> Handover:
    return Handover(
        now=observation.now,
        record=record,
        new=new,
        old=old,
        overlap_seconds=_overlap(new),
        paused=False,
        previous=previous_reshard(observation, new.number),
    )


def _startable(
    observation: Observation, spec: Spec, *, reserve: int, only_count: bool = False
) -> tuple[int | None, Hold | None]:
    """The number of shards to start, or why none may be started now."""
    if only_count and spec.shards.count > 0:
        return spec.shards.count, None
    hold = blocker(observation)
    discord = observation.discord
    if hold is not None or discord is None:
        return None, hold
    count = resolve_count(spec, discord)
    if only_count:
        return count, None
    hold = refusal(discord, shards=len(layout(spec, count).shards), reserve=reserve, now=observation.now)
    return (None, hold) if hold is not None else (count, None)


def _starting(observation: Observation, spec: Spec, active: ObservedGeneration) -> Hold | None:
    """A generation that is still coming up is left to finish, for as long as a target would be."""
    if all_ready(active) or stopped(active) or active.created_at is None:
        return None
    if observation.now - active.created_at > spec.reshard.stall_seconds * 1000:
        return None
    return Hold(reason="Starting", message=f"Generation {active.number} is still starting; the change waits for it.")


def _given_up(spec: Spec, made: Generation) -> str | None:
    """The record says that the wishes were honoured, and the active generation is not what they ask for."""
    # A count of 0 may by now be recommended otherwise, which is no wish.
    count = spec.shards.count or made.layout.count
    if why_new(spec, made, count=count) is None:
        return None
    return (
        f"A generation with {count} shards made no progress and was given up; generation {made.number} goes on. "
        "See to the cause, then set spec.reshard.requestID to a new value."
    )


def _replacements(
    spec: Spec | None, active: ObservedGeneration, target: ObservedGeneration | None = None
) -> tuple[DeletePods, ...]:
    """Pods that run nothing for a mistake that was mended since; a reshard must not wait for them in vain."""
    if spec is None or spec.paused:
        return ()
    found = [replace_unstarted(active)]
    if target is not None:
        found.append(replace_unstarted(target, failing=True))
    return tuple(deletion for deletion in found if deletion is not None)


def _held(
    hold: Hold | None,
    *,
    living: tuple[Generation, ...] = (),
    reshard: ReshardStatus | None = None,
    rollout: Rollout | None = None,
) -> Decision:
    """Nothing is begun now. Where a reading is awaited that may change this at once, pods are left alone too."""
    if hold is not None and hold.refresh:
        return Decision(actions=(RefreshDiscord(),), living=living, hold=hold, reshard=reshard)
    return Decision(living=living, hold=hold, reshard=reshard, rollout=rollout)


def _written(write: WriteRecord, *, reshard: ReshardStatus | None = None) -> Decision:
    return Decision(actions=(write,), reshard=reshard)


def _living(*generations: ObservedGeneration | None) -> tuple[Generation, ...]:
    return tuple(g.fixed for g in generations if g is not None and g.fixed is not None and not g.deleting)


def _overlap(generation: ObservedGeneration | None) -> float:
    return 0.0 if generation is None or generation.fixed is None else generation.fixed.overlap_seconds
