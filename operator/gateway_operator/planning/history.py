"""What became of past reshards, for the status: how they ended, and what the cutover came to as the pods count it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import accumulate, zip_longest
from typing import Final

from gateway_operator.api.conditions import milliseconds, timestamp
from gateway_operator.api.status import MOST_HISTORY, Outcome, ReshardOutcome, ReshardStatus
from gateway_operator.planning.decision import Decision
from gateway_operator.planning.health import answers, layout_of
from gateway_operator.planning.observed import Observation, ObservedGeneration
from shard_runtime.contract import PAUSE_BOUNDS_MILLISECONDS, HandoverStatus, Record

IDENTIFY_SECONDS: Final = 5.0
"""Discord's pace: one IDENTIFY in this time, for each of ``max_concurrency`` buckets."""


def history(
    observation: Observation, decision: Decision, record: Record | None, active: ObservedGeneration | None
) -> list[ReshardOutcome]:
    """Past reshards: the one that the last pass still saw in progress is over when this pass sees none."""
    past = list(observation.previous.history)
    ended = observation.previous.reshard
    if ended is None or decision.reshard is not None or decision.conflict is not None or record is None:
        return past
    if record.active == ended.generation and active is not None:
        outcome = _completed(observation, ended, active)
    else:
        given_up = record.given_up >= ended.generation
        outcome = _outcome(observation, ended, Outcome.STALLED if given_up else Outcome.ABORTED, ended.message)
    return [outcome, *past][:MOST_HISTORY]


def _outcome(observation: Observation, ended: ReshardStatus, outcome: Outcome, message: str) -> ReshardOutcome:
    return ReshardOutcome(
        outcome=outcome,
        reason=ended.reason,
        message=message,
        from_=ended.from_,
        to=ended.to,
        generation=ended.generation,
        started_at=ended.started_at,
        ended_at=timestamp(observation.now),
        duration_seconds=max(0.0, (observation.now - milliseconds(ended.started_at)) / 1000),
    )


def _completed(observation: Observation, ended: ReshardStatus, active: ObservedGeneration) -> ReshardOutcome:
    handovers = [pod.handover for pod in answers(active) if pod.handover is not None]
    pauses = [sum(counts) for counts in zip_longest(*(handover.pauses for handover in handovers), fillvalue=0)]
    longest = max((handover.longest_pause_milliseconds for handover in handovers), default=0.0)
    least = [h.lag_least_milliseconds for h in handovers if h.lag_least_milliseconds is not None]
    most = [h.lag_most_milliseconds for h in handovers if h.lag_most_milliseconds is not None]
    return _outcome(observation, ended, Outcome.COMPLETED, "").model_copy(
        update={
            "cutover_seconds": _cutover_seconds(handovers),
            "identify_limit_seconds": _identify_limit_seconds(observation, active),
            "released_guilds": sum(handover.released_guilds for handover in handovers),
            "delivered_marked": sum(handover.delivered_marked for handover in handovers),
            "skipped": sum(handover.skipped for handover in handovers),
            "aligned": sum(handover.aligned for handover in handovers),
            "by_occurrence": sum(handover.by_occurrence for handover in handovers),
            "ambiguous": sum(handover.ambiguous for handover in handovers),
            "repaired": sum(handover.repaired for handover in handovers),
            "missed_by_old": sum(handover.missed_by_old for handover in handovers),
            "lag_least_milliseconds": min(least, default=None),
            "lag_most_milliseconds": max(most, default=None),
            "pause_median_milliseconds": _quantile(pauses, 0.5, longest),
            "pause_p99_milliseconds": _quantile(pauses, 0.99, longest),
            "longest_pause_milliseconds": longest,
        }
    )


def _quantile(pauses: Sequence[int], part: float, longest: float) -> float:
    """The upper bound of the class in which the pause lies that *part* of all guilds do not exceed."""
    wanted = part * sum(pauses)
    if not wanted:
        return 0.0
    bounds = (*PAUSE_BOUNDS_MILLISECONDS, math.inf)
    reached = (bound for bound, count in zip(bounds, accumulate(pauses), strict=False) if count >= wanted)
    return min(float(next(reached, math.inf)), longest)


def _identify_limit_seconds(observation: Observation, active: ObservedGeneration) -> float:
    if observation.discord is None:
        return 0.0
    return math.ceil(len(layout_of(active).shards) / observation.discord.max_concurrency) * IDENTIFY_SECONDS


def _cutover_seconds(handovers: Sequence[HandoverStatus]) -> float:
    committed = [handover.committed_at for handover in handovers if handover.committed_at is not None]
    completed = [handover.completed_at for handover in handovers if handover.completed_at is not None]
    return max(0.0, (max(completed) - min(committed)) / 1000) if committed and completed else 0.0
