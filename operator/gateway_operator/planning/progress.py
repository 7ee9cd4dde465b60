"""How long a reshard has been where it is, told by the status of the pass before."""

from __future__ import annotations

from gateway_operator.api.conditions import milliseconds, timestamp
from gateway_operator.api.generation import Generation
from gateway_operator.api.status import Outcome, ReshardStatus, RolloutStatus
from gateway_operator.planning.health import layout_of, ready_shards
from gateway_operator.planning.observed import Observation, ObservedGeneration
from gateway_operator.planning.reshard import Stage
from gateway_operator.planning.rollout import Rollout


def previous_reshard(observation: Observation, generation: int) -> ReshardStatus | None:
    """What the last pass said of the reshard to *generation*."""
    previous = observation.previous.reshard
    return previous if previous is not None and previous.generation == generation else None


def reshard_status(
    observation: Observation,
    stage: Stage,
    *,
    number: int,
    new: ObservedGeneration | None,
    old: ObservedGeneration | None,
    wanted: Generation | None,
) -> ReshardStatus:
    """The status of a reshard that is at *stage*; progress is a later or other step, or more READY shards."""
    now = timestamp(observation.now)
    previous, history = previous_reshard(observation, number), observation.previous.history
    base = old.number if old is not None else number
    fixed = new.fixed if new is not None and new.fixed is not None else wanted
    ready = 0 if new is None else ready_shards(new)
    progressed = previous is None or stage.step is not previous.step or ready > previous.ready_shards
    record = None if observation.record is None else observation.record.record
    begun = record if record is not None and record.target == number else None
    count = fixed.layout.count if fixed is not None else (begun.target_count if begun is not None else None)
    reason = fixed.reason if fixed is not None else (begun.target_reason if begun is not None else None)
    return ReshardStatus(
        step=stage.step,
        reason=reason or (previous.reason if previous is not None else "Requested"),
        message=stage.message,
        from_=layout_of(old).count if old is not None else 0,
        to=count or (previous.to if previous is not None else 0),
        generation=number,
        started_at=previous.started_at if previous is not None else now,
        last_progress_at=now if previous is None or progressed else previous.last_progress_at,
        # The most that were ever READY in this step: a shard that comes and goes is no progress.
        ready_shards=max(ready, previous.ready_shards if previous is not None and not progressed else 0),
        attempt=1 + sum(past.outcome is Outcome.STALLED and past.generation > base for past in history),
    )


def rollout_status(observation: Observation, rollout: Rollout) -> RolloutStatus:
    """The status of a rollout; progress is a pod more that is back, or another pod to be waited for."""
    now = timestamp(observation.now)
    previous = observation.previous.rollout
    progressed = previous is None or rollout.updated > previous.updated_pods or rollout.delete is not None
    return RolloutStatus(
        updated_pods=rollout.updated,
        pods=rollout.pods,
        message=rollout.message,
        started_at=previous.started_at if previous is not None else now,
        last_progress_at=now if previous is None or progressed else previous.last_progress_at,
    )


def rollout_stalled(observation: Observation, rollout: Rollout, *, seconds: int) -> bool:
    """Whether a replaced pod has not come back for *seconds*, or an image could not be pulled for as long."""
    if not rollout.stalls:
        return False
    since = max(milliseconds(rollout_status(observation, rollout).last_progress_at), observation.watched_since)
    since = max(since, rollout.stalls_since or 0)
    return observation.now - since >= seconds * 1000


def stalled(observation: Observation, stage: Stage, *, number: int, ready: int, seconds: int) -> bool:
    """Whether the reshard to *number* has made no progress for *seconds*."""
    previous = previous_reshard(observation, number)
    if not stage.stalls or previous is None or previous.step is not stage.step or ready > previous.ready_shards:
        return False
    since = max(milliseconds(previous.last_progress_at), observation.watched_since)
    return observation.now - since >= seconds * 1000
