"""How a generation is doing, from what its pods say of themselves."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from gateway_operator.planning.observed import ObservedGeneration, ObservedPod
from shard_runtime.contract import PodStatus, ShardLayout, ShardState, ShardStatus

_NEVER: Final = {
    4010: "the shard or the number of shards is not legal",
    4011: "it would have too many guilds",
    4013: "an intent does not exist",
    4014: "an intent is not enabled for the application",
}
"""Close codes that no further try changes, and that a new generation was meant to avoid or brings about."""


def answer(generation: ObservedGeneration, pod: ObservedPod) -> PodStatus | None:
    """The pod's status, unless it is another's: an address may be answered by a pod that had it before."""
    status = pod.status
    if status is None or status.generation != generation.number or status.pod != pod.index:
        return None
    if pod.uid is not None and status.pod_uid != pod.uid:
        return None
    return status


def answers(generation: ObservedGeneration) -> list[PodStatus]:
    """Statuses of all pods that answered, by index."""
    return [status for pod in generation.pods if (status := answer(generation, pod)) is not None]


def silent_pods(generation: ObservedGeneration) -> list[int]:
    """Indices of the pods that should be there and did not answer."""
    heard = {status.pod for status in answers(generation)}
    return [index for index in range(layout_of(generation).pods) if index not in heard]


def layout_of(generation: ObservedGeneration) -> ShardLayout:
    """The generation's layout; empty for one that cannot be read (nothing is ever decided about such a one)."""
    if generation.fixed is None:
        return ShardLayout(count=1, first=0, last=-1)
    return generation.fixed.layout


def shards(generation: ObservedGeneration) -> Iterator[ShardStatus]:
    """All shards of which anything is known, each once and only as its own pod tells."""
    layout = layout_of(generation)
    for status in answers(generation):
        own = layout.pod_shards(status.pod)
        yield from (shard for shard in status.shards if shard.id in own)


def ready_shards(generation: ObservedGeneration) -> int:
    return sum(shard.state is ShardState.READY for shard in shards(generation))


def not_ready(generation: ObservedGeneration) -> list[int]:
    """Ids of the shards that are not READY or not known to be, in order."""
    ready = {shard.id for shard in shards(generation) if shard.state is ShardState.READY}
    return [shard for shard in layout_of(generation).shards if shard not in ready]


def all_ready(generation: ObservedGeneration) -> bool:
    return generation.fixed is not None and not not_ready(generation)


def stopped(generation: ObservedGeneration) -> list[ShardStatus]:
    """Shards that Discord closed for good, or that ended with a problem a person must see to."""
    return [
        shard
        for shard in shards(generation)
        if shard.state is ShardState.STOPPED and (shard.problem is not None or shard.close_code is not None)
    ]


def refused_for_good(generation: ObservedGeneration) -> str | None:
    """Why Discord will never take a shard of the generation as it is; None where it has not said so."""
    for shard in stopped(generation):
        why = _NEVER.get(shard.close_code or 0)
        if why is not None:
            return f"Discord refuses shard {shard.id}: {why} ({shard.close_code})."
    return None


def listing(numbers: list[int], *, most: int = 10) -> str:
    """``1, 2, 3 and 7 more``."""
    shown = ", ".join(str(number) for number in numbers[:most])
    return f"{shown} and {len(numbers) - most} more" if len(numbers) > most else shown
