"""One pass: from what is observed to actions and status."""

from __future__ import annotations

from typing import Final

from gateway_operator.api.unsupported import refusals
from gateway_operator.planning.actions import (
    Action,
    DeleteGeneration,
    EnsureGeneration,
    EnsureShared,
    Plan,
    PushRecord,
    RefreshDiscord,
    TouchPods,
    WriteRecord,
)
from gateway_operator.planning.conditions import conditions
from gateway_operator.planning.decide import decide
from gateway_operator.planning.decision import Decision
from gateway_operator.planning.health import all_ready, answer
from gateway_operator.planning.hold import Hold
from gateway_operator.planning.observed import Observation, ObservedGeneration
from gateway_operator.planning.pulling import dropped
from gateway_operator.planning.status import status
from shard_runtime.contract import Record

IDLE_SECONDS: Final = 30.0
STARTING_SECONDS: Final = 2.0
RESHARDING_SECONDS: Final = 1.0


def plan(observation: Observation) -> Plan:
    """What to do now, and what to say of it. Pure: the same observation gives the same plan."""
    refused = refusal(observation)
    spec = None if refused is not None else observation.spec
    decision = decide(observation, spec)
    record = None if observation.record is None else observation.record.record
    active = _active(observation, record)
    actions = _actions(observation, decision, record, spec_is_good=spec is not None)
    return Plan(
        actions=actions,
        status=status(observation, decision, record, active, conditions(observation, decision, active, refused)),
        again=any(isinstance(action, WriteRecord | RefreshDiscord) for action in actions),
        wake_after_seconds=_wake(observation, decision, active),
    )


def refusal(observation: Observation) -> Hold | None:
    """Why the spec is not acted on; what runs is left alone then."""
    if observation.spec is None:
        return Hold(reason="InvalidSpec", message=" ".join(observation.problems) or "The spec cannot be read.")
    if observation.problems:
        return Hold(reason="InvalidSpec", message=" ".join(observation.problems))
    unsupported = refusals(observation.spec)
    if unsupported:
        return Hold(reason="Unsupported", message=" ".join(unsupported))
    return None


def _actions(
    observation: Observation, decision: Decision, record: Record | None, *, spec_is_good: bool
) -> tuple[Action, ...]:
    if decision.conflict is not None:
        return ()
    if any(isinstance(action, WriteRecord) for action in decision.actions):
        return decision.actions
    actions: list[Action] = []
    if spec_is_good and record is not None:
        actions.append(EnsureShared())
        actions.extend(EnsureGeneration(generation=generation) for generation in decision.living)
    aborted = [
        action
        for action in decision.actions
        if isinstance(action, DeleteGeneration) and record is not None and action.number > (record.active or 0)
    ]
    actions.extend(action for action in decision.actions if action not in aborted)
    actions.extend(_rolled(observation, decision))
    if record is not None:
        actions.extend(_told(observation, record))
    # A pod that knows its generation to be over ends its sessions at Discord when it is stopped; those of others would
    # wait there until they expire.
    return (*actions, *aborted)


def _rolled(observation: Observation, decision: Decision) -> list[Action]:
    """The rollout's next step; and what pulled images for it goes when nothing waits for it any more."""
    rolling = decision.rollout
    keep = frozenset[str]() if rolling is None else rolling.keep
    found = (dropped(observation.pulls, keep=keep), *((rolling.pull, rolling.delete) if rolling is not None else ()))
    return [action for action in found if action is not None]


def _told(observation: Observation, record: Record) -> list[Action]:
    """The record goes to every pod that has not seen it: pushed, and by way of a refreshed mount."""
    actions: list[Action] = []
    for generation in observation.generations:
        late = tuple(
            pod.index
            for pod in generation.pods
            if (status := answer(generation, pod)) is not None and status.record_epoch < record.epoch
        )
        if late:
            actions.append(PushRecord(generation=generation.number, pods=late, record=record))
        untouched = tuple(
            pod.index
            for pod in generation.pods
            if pod.uid is not None
            and (pod.touched_epoch or 0) < record.epoch
            and ((status := answer(generation, pod)) is None or status.record_epoch < record.epoch)
        )
        if untouched:
            actions.append(TouchPods(generation=generation.number, pods=untouched, epoch=record.epoch))
    return actions


def _active(observation: Observation, record: Record | None) -> ObservedGeneration | None:
    if record is None:
        return None
    for generation in observation.generations:
        if generation.number == record.active and generation.fixed is not None:
            return generation
    return None


def _wake(observation: Observation, decision: Decision, active: ObservedGeneration | None) -> float:
    rolling = decision.rollout is not None and observation.spec is not None and not observation.spec.paused
    if decision.reshard is not None or rolling or len(observation.generations) > 1:
        return RESHARDING_SECONDS
    if active is None or not all_ready(active):
        return STARTING_SECONDS
    return IDLE_SECONDS
