"""What of a changed status is worth an Event: things that happen, not states that last.

An Event is written when a state begins or ends, from the status of the pass before and this one's; so an operator that
starts again tells nothing twice. How often one reason may be told is the shell's to bound: a receiver that comes and
goes every second is one Event, not sixty.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final

from gateway_operator.api.conditions import Condition, ConditionStatus, ConditionType
from gateway_operator.api.status import Outcome, ReshardOutcome, Status
from gateway_operator.planning.actions import Action, DeletePods


@dataclass(frozen=True, slots=True, kw_only=True)
class News:
    """One Event about the gateway."""

    reason: str
    message: str
    warning: bool = False


_HOLDS: Final = frozenset({"IdentifyBudget", "MaxShards", "PartOfShards", "ReshardGivenUp"})
"""Reasons for which a wanted reshard waits and that a person may want to do something about."""


def news(before: Status, after: Status) -> list[News]:
    """What happened between two statuses; nothing for the very first one."""
    if not before.conditions:
        return []
    return [*_conditions(before, after), *_rollout(before, after), *_reshards(before, after)]


def unpulled(actions: Iterable[Action]) -> list[News]:
    """Pods that are replaced although their image may have to be pulled meanwhile."""
    return [
        News(reason="ImageNotPulledAhead", message=action.unpulled, warning=True)
        for action in actions
        if isinstance(action, DeletePods) and action.unpulled is not None
    ]


def _conditions(before: Status, after: Status) -> Iterator[News]:
    old = {condition.type: condition for condition in before.conditions}
    for condition in after.conditions:
        was = old.get(condition.type)
        if was is not None and (was.status, was.reason) != (condition.status, condition.reason):
            yield from _changed(was, condition)


def _changed(was: Condition, now: Condition) -> Iterator[News]:
    turned = was.status is not now.status
    match now.type, now.status:
        case ConditionType.READY, ConditionStatus.TRUE:
            yield News(reason="Ready", message=now.message)
        case ConditionType.READY, ConditionStatus.FALSE if now.reason in (
            "PodsNotRunning",
            "InvalidSpec",
            "Unsupported",
        ):
            yield News(reason=now.reason, message=now.message, warning=True)
        case ConditionType.DEGRADED, ConditionStatus.TRUE:
            yield News(reason=now.reason, message=now.message, warning=True)
        case ConditionType.DEGRADED, ConditionStatus.FALSE:
            yield News(reason="Recovered", message=f"Over: {was.message}")
        case ConditionType.TOKEN_VALID, ConditionStatus.FALSE:
            yield News(reason=now.reason, message=now.message, warning=True)
        case ConditionType.TOKEN_VALID, ConditionStatus.TRUE if turned and was.status is ConditionStatus.FALSE:
            yield News(reason="TokenAccepted", message=now.message)
        case ConditionType.RECEIVER_REACHABLE, ConditionStatus.FALSE:
            yield News(reason="ReceiverUnreachable", message=now.message, warning=True)
        case ConditionType.RECEIVER_REACHABLE, ConditionStatus.TRUE if was.status is ConditionStatus.FALSE:
            yield News(reason="ReceiverReachable", message="The receiver acknowledges again.")
        case ConditionType.RESHARDING, ConditionStatus.FALSE if now.reason in _HOLDS:
            yield News(reason=now.reason, message=now.message, warning=True)
        case ConditionType.RESHARDING, ConditionStatus.TRUE if now.reason == "Holding":
            yield News(reason="ReshardHolding", message=now.message)
        case ConditionType.PAUSED, ConditionStatus.TRUE:
            yield News(reason="Paused", message=now.message)
        case ConditionType.PAUSED, ConditionStatus.FALSE:
            yield News(reason="Resumed", message="spec.paused is false again.")
        case _:
            pass


def _rollout(before: Status, after: Status) -> Iterator[News]:
    if before.rollout is None and after.rollout is not None:
        message = f"{after.rollout.pods - after.rollout.updated_pods} pods are to be replaced, one at a time."
        yield News(reason="RolloutStarted", message=message)
    # With a reshard the rest of a rollout is left to the generation that takes over.
    if before.rollout is not None and after.rollout is None and after.reshard is None:
        yield News(reason="RolloutCompleted", message=f"All {before.rollout.pods} pods run the present template.")


def _reshards(before: Status, after: Status) -> Iterator[News]:
    for past in after.history:
        if past not in before.history and past.outcome is Outcome.COMPLETED:
            yield News(
                reason="ReshardCompleted",
                message=f"{past.from_} to {past.to} shards in {past.duration_seconds:.0f} s, "
                f"the cutover in {past.cutover_seconds:.1f} s; {past.delivered_marked} events are maybeDuplicate."
                f"{_cutover(past)}",
            )


def _cutover(past: ReshardOutcome) -> str:
    """What the alignment did; nothing where no pod said so."""
    if not past.released_guilds:
        return ""
    lag = ""
    if past.lag_least_milliseconds is not None and past.lag_most_milliseconds is not None:
        lag = f" The new sessions were {past.lag_least_milliseconds} to {past.lag_most_milliseconds} ms behind the old."
    return (
        f" Guilds: {past.aligned} aligned ({past.by_occurrence} by occurrence only), {past.ambiguous} ambiguous, "
        f"{past.repaired} repaired. Pause: p50 {past.pause_median_milliseconds:.0f} ms, "
        f"p99 {past.pause_p99_milliseconds:.0f} ms, longest {past.longest_pause_milliseconds:.0f} ms.{lag} "
        f"Identifies alone take {past.identify_limit_seconds:.0f} s."
    )
