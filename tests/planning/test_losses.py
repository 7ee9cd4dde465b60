"""What people are told of events that are lost, or could be."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import msgspec
from gateway_operator.api.conditions import ConditionStatus, ConditionType
from gateway_operator.planning.observed import ObservedGeneration
from gateway_operator.planning.plan import plan
from planning.situations import NOW, fixed, gen, observe, record, spec

from shard_runtime.contract import Gap

EIGHT = spec(8)
ONE = fixed(1, EIGHT)


def with_gap(generation: ObservedGeneration, **gaps: Gap) -> ObservedGeneration:
    """*gaps* by ``shard_<id>``."""
    pods = []
    for pod in generation.pods:
        assert pod.status is not None
        shards = [
            msgspec.structs.replace(shard, gap=gaps.get(f"shard_{shard.id}", shard.gap)) for shard in pod.status.shards
        ]
        pods.append(replace(pod, status=msgspec.structs.replace(pod.status, shards=shards)))
    return replace(generation, pods=tuple(pods))


def degraded(generation: ObservedGeneration) -> tuple[ConditionStatus, str, str]:
    made = plan(observe(EIGHT, record(1, honoured=EIGHT), generation))
    (condition,) = [found for found in made.status.conditions if found.type is ConditionType.DEGRADED]
    return condition.status, condition.reason, condition.message


def gap(**more: Any) -> Gap:
    values = {"sessions": 1, "events": 0, "at": NOW - 60_000, "cause": "Discord answered that it is invalid", **more}
    return Gap(**values)


def test_a_lost_session_is_said_for_an_hour() -> None:
    generation = with_gap(gen(ONE), shard_3=gap(events=12), shard_6=gap(events=3, at=NOW - 3_500_000, cause="other"))
    status, reason, message = degraded(generation)
    assert (status, reason) == (ConditionStatus.TRUE, "EventsLost")
    assert message.startswith("Shards 3, 6 lost their sessions, the last at ")
    assert "(Discord answered that it is invalid)" in message
    assert "At least 15 of them had been received." in message
    old = with_gap(gen(ONE), shard_3=gap(at=NOW - 3_700_000))
    assert degraded(old) == (ConditionStatus.FALSE, "AsExpected", "")


def test_the_sentence_stays_the_same_while_nothing_is_lost_anew() -> None:
    generation = with_gap(gen(ONE), shard_3=gap())
    assert degraded(generation) == degraded(generation)
    assert "At least" not in degraded(generation)[2]


def test_a_queue_that_does_not_reach_the_disk_is_said() -> None:
    generation = gen(ONE)
    pods = []
    for pod in generation.pods:
        assert pod.status is not None
        problem = "The store for queued events has no room: the volume is full." if pod.index == 1 else None
        pods.append(replace(pod, status=msgspec.structs.replace(pod.status, disk_problem=problem)))
    status, reason, message = degraded(replace(generation, pods=tuple(pods)))
    assert (status, reason) == (ConditionStatus.TRUE, "QueueNotOnDisk")
    assert message == ("Pods 1 of the active generation: The store for queued events has no room: the volume is full.")
