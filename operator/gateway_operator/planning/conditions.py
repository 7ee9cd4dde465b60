"""What a pass says to people: the conditions.

A condition's sentence changes only when what it says changes; numbers that move all the time stand in the gauges.
"""

from __future__ import annotations

from gateway_operator.api.conditions import Condition, ConditionStatus, ConditionType, timestamp
from gateway_operator.api.status import Outcome
from gateway_operator.planning.blockers import token_trouble
from gateway_operator.planning.decision import Decision
from gateway_operator.planning.health import answer, answers, layout_of, listing, not_ready, shards, stopped
from gateway_operator.planning.held import degrading, reserved
from gateway_operator.planning.hold import Hold
from gateway_operator.planning.observed import Observation, ObservedGeneration
from gateway_operator.planning.progress import rollout_stalled

AUTHENTICATION_FAILED = 4004
LONGEST = 2048
EVENTS_LOST_SHOWN_SECONDS = 3600

Said = tuple[ConditionStatus, str, str]
"""Status, reason, message."""

TRUE, FALSE, UNKNOWN = ConditionStatus.TRUE, ConditionStatus.FALSE, ConditionStatus.UNKNOWN


def conditions(
    observation: Observation, decision: Decision, active: ObservedGeneration | None, refused: Hold | None
) -> list[Condition]:
    """All conditions; *refused* says why the spec is not acted on."""
    said = {
        ConditionType.READY: _ready(decision, active, refused),
        ConditionType.RESHARDING: _resharding(observation, decision, active),
        ConditionType.DEGRADED: _degraded(observation, decision, active),
        ConditionType.PAUSED: _paused(observation),
        ConditionType.TOKEN_VALID: _token_valid(observation, active),
        ConditionType.RECEIVER_REACHABLE: _receiver_reachable(active),
    }
    before = {condition.type: condition for condition in observation.previous.conditions}
    now = timestamp(observation.now)
    made = []
    for kind, (status, reason, message) in said.items():
        old = before.get(kind)
        made.append(
            Condition(
                type=kind,
                status=status,
                reason=reason,
                message=message[:LONGEST],
                last_transition_time=now if old is None or old.status is not status else old.last_transition_time,
                observed_generation=observation.metadata.generation,
            )
        )
    return made


def _ready(decision: Decision, active: ObservedGeneration | None, refused: Hold | None) -> Said:
    if refused is not None:
        return FALSE, refused.reason, refused.message
    if active is None:
        reason = decision.conflict or decision.hold
        if reason is not None:
            return FALSE, reason.reason, reason.message
        return FALSE, "Creating", "The first generation is being created."
    missing = not_ready(active)
    total = len(layout_of(active).shards)
    if not missing:
        return TRUE, "AllShardsReady", f"All {total} shards of generation {active.number} are READY."
    troubled = [pod for pod in active.pods if pod.trouble is not None and answer(active, pod) is None]
    if troubled:
        pods = listing([pod.index for pod in troubled])
        return FALSE, "PodsNotRunning", f"Pods {pods} of generation {active.number} do not run: {troubled[0].trouble}."
    return (
        FALSE,
        "ShardsNotReady",
        f"{total - len(missing)} of {total} shards of generation {active.number} are READY; "
        f"not READY: {listing(missing)}.",
    )


def _resharding(observation: Observation, decision: Decision, active: ObservedGeneration | None) -> Said:
    reshard = decision.reshard
    if reshard is not None:
        return TRUE, reshard.step.value, reshard.message + reserved(observation.held)
    if active is not None and decision.hold is not None:
        return FALSE, decision.hold.reason, decision.hold.message
    if decision.given_up is not None:
        return FALSE, Outcome.STALLED.value, decision.given_up
    return FALSE, "Idle", ""


def _degraded(observation: Observation, decision: Decision, active: ObservedGeneration | None) -> Said:
    if decision.conflict is not None:
        return TRUE, decision.conflict.reason, decision.conflict.message
    if observation.refused is not None:
        return TRUE, "ObjectsRefused", f"The API server refuses what the spec asks for: {observation.refused}"
    ended = [] if active is None else stopped(active)
    if ended:
        first = ended[0]
        cause = first.problem or f"Discord closed the session with {first.close_code}."
        return TRUE, "ShardsStopped", f"Shards {listing([shard.id for shard in ended])} are stopped: {cause}"
    waits = degrading(observation, active)
    if waits is not None:
        return TRUE, waits.reason, waits.message
    rolling, spec = decision.rollout, observation.spec
    patience = 0 if spec is None else spec.reshard.stall_seconds
    if rolling is not None and rollout_stalled(observation, rolling, seconds=patience):
        return TRUE, "RolloutStalled", f"{rolling.message} The rollout waits for it; the other pods are left alone."
    if decision.given_up is not None:
        return TRUE, "ReshardGivenUp", decision.given_up
    failing = [] if active is None else [status for status in answers(active) if status.disk_problem is not None]
    if failing:
        pods = listing([status.pod for status in failing])
        return TRUE, "QueueNotOnDisk", f"Pods {pods} of the active generation: {failing[0].disk_problem}"
    lost = None if active is None else _events_lost(observation, active)
    if lost is not None:
        return TRUE, "EventsLost", lost
    if observation.outdated is not None:
        return TRUE, "CRDOutdated", observation.outdated
    return FALSE, "AsExpected", ""


def _events_lost(observation: Observation, active: ObservedGeneration) -> str | None:
    """Sessions that Discord did not resume lately; people must know, and the bot has had a new READY."""
    since = observation.now - EVENTS_LOST_SHOWN_SECONDS * 1000
    gaps = {shard.id: shard.gap for shard in shards(active) if shard.gap is not None and shard.gap.at > since}
    if not gaps:
        return None
    last = max(gaps.values(), key=lambda gap: gap.at)
    least = sum(gap.events for gap in gaps.values())
    known = f" At least {least} of them had been received." if least else ""
    return (
        f"Shards {listing(sorted(gaps))} lost their sessions, the last at {timestamp(last.at)} ({last.cause}); what "
        f"Discord sent meanwhile is lost.{known} The bot got a new READY and can rebuild."
    )


def _paused(observation: Observation) -> Said:
    if observation.spec is not None and observation.spec.paused:
        return TRUE, "Paused", "spec.paused is true; nothing new is started."
    return FALSE, "NotPaused", ""


def _token_valid(observation: Observation, active: ObservedGeneration | None) -> Said:
    trouble = token_trouble(observation)
    if trouble is not None:
        return FALSE, trouble.reason, trouble.message
    if active is not None and any(shard.close_code == AUTHENTICATION_FAILED for shard in stopped(active)):
        return FALSE, "TokenRefused", "Discord closed a session with 4004: it does not accept the token."
    if observation.discord_problem is not None:
        return UNKNOWN, "APIUnreachable", observation.discord_problem.message
    if observation.discord is None:
        return UNKNOWN, "NotChecked", "Discord was not asked yet."
    return TRUE, "Accepted", "Discord accepts the token."


def _receiver_reachable(active: ObservedGeneration | None) -> Said:
    heard = [] if active is None else answers(active)
    if not heard:
        return UNKNOWN, "NoPodAnswers", "No pod of the active generation answers yet."
    for status in heard:
        if not status.receiver.reachable:
            return FALSE, "RequestsFail", status.receiver.problem or "The receiver does not answer."
    return TRUE, "RequestsSucceed", ""
