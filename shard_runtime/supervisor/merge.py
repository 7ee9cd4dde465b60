"""One picture of a pod from what its workers say, with what is known of a worker that is just being restarted."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import zip_longest
from typing import NamedTuple

import msgspec

from shard_runtime import contract
from shard_runtime.orders import Windows, WorkerStatus


class Part(NamedTuple):
    """What is known of a worker."""

    shards: range
    status: WorkerStatus | None
    """Its last one."""
    age: float
    """Seconds since it was given, or since the worker was to begin."""
    trouble: str | None
    """Why nothing is known of its shards now; None: the status tells."""
    earlier: Mapping[str, int]
    """Totals of its earlier processes."""


def merged_windows(answers: Sequence[Windows]) -> Windows:
    """The windows of all workers; a guild lies with one worker, so there is nothing to merge within one.

    The record of the pod begins where the last worker's does, and there is none if a worker has none.
    """
    since = [answer.recorded_since for answer in answers]
    known = [moment for moment in since if moment is not None]
    seals = [answer.sealed_at for answer in answers if answer.sealed_at is not None]
    sealed = len(seals) == len(answers) > 0
    recorded = len(known) == len(since) > 0
    # Without a record all that is asked is when certainly nothing more was accepted; with one, the earlier moment is
    # the careful one, since it makes the asker deliver more.
    careful = min if recorded else max
    return Windows(
        sealed_at=careful(seals) if sealed else None,
        recorded_since=max(known) if recorded else None,
        windows=[window for answer in answers for window in answer.windows],
        unacknowledged=sorted({guild for answer in answers for guild in answer.unacknowledged}),
        kept={shard: kept for answer in answers for shard, kept in answer.kept.items()},
        behind_milliseconds=max((answer.behind_milliseconds for answer in answers), default=0),
        sealed_milliseconds=max(
            (ago for answer in answers if (ago := answer.sealed_milliseconds) is not None), default=None
        )
        if sealed
        else None,
        after=None
        if any(answer.after is None for answer in answers)
        else [window for answer in answers for window in answer.after or ()],
    )


def merged_status(
    parts: Sequence[Part], *, generation: int, pod: int, pod_uid: str, role: contract.Role, epoch: int
) -> contract.PodStatus:
    known = [part.status for part in parts if part.status is not None]
    return contract.PodStatus(
        generation=generation,
        pod=pod,
        pod_uid=pod_uid,
        role=role,
        record_epoch=epoch,
        shards=[shard for part in parts for shard in _shards(part)],
        queued=sum(status.queued for status in known),
        stored=sum(status.stored for status in known),
        oldest_seconds=max((status.oldest_seconds for status in known), default=0.0),
        disk_problem=next((status.disk_problem for status in known if status.disk_problem is not None), None),
        receiver=next(
            (status.receiver for status in known if not status.receiver.reachable), contract.ReceiverStatus()
        ),
        awaited=sum(status.awaited for status in known),
        handover=_handover([status.handover for status in known if status.handover is not None], len(parts)),
        counters=_counters(parts),
    )


def _shards(part: Part) -> Iterable[contract.ShardStatus]:
    status, trouble = part.status, part.trouble
    if status is not None and trouble is None and status.shards:
        return [_aged(shard, part.age) for shard in status.shards]
    known = {} if status is None else {shard.id: _aged(shard, part.age).silent_seconds for shard in status.shards}
    return [
        contract.ShardStatus(
            id=shard,
            state=contract.ShardState.CONNECTING,
            problem=trouble or "Its worker is being started.",
            silent_seconds=part.age if status is None else known.get(shard),
        )
        for shard in part.shards
    ]


def _aged(shard: contract.ShardStatus, age: float) -> contract.ShardStatus:
    """What the status said *age* seconds ago, as it is now if nothing came since."""
    if shard.silent_seconds is None or age <= 0:
        return shard
    return msgspec.structs.replace(shard, silent_seconds=shard.silent_seconds + age)


def _counters(parts: Sequence[Part]) -> dict[str, int]:
    totals: dict[str, int] = {}
    for part in parts:
        for source in (part.earlier, {} if part.status is None else part.status.counters):
            for name, value in source.items():
                totals[name] = totals.get(name, 0) + value
    return totals


def _handover(statuses: Sequence[contract.HandoverStatus], workers: int) -> contract.HandoverStatus | None:
    if not statuses:
        return None
    complete = len(statuses) == workers and all(status.complete for status in statuses)
    committed = [status.committed_at for status in statuses if status.committed_at is not None]
    completed = [status.completed_at for status in statuses if status.completed_at is not None]
    least = [status.lag_least_milliseconds for status in statuses if status.lag_least_milliseconds is not None]
    most = [status.lag_most_milliseconds for status in statuses if status.lag_most_milliseconds is not None]
    mean = [status.lag_mean_milliseconds for status in statuses if status.lag_mean_milliseconds is not None]
    return contract.HandoverStatus(
        complete=complete,
        rehearsed=len(statuses) == workers and all(status.rehearsed for status in statuses),
        rehearsal_problem=next((s.rehearsal_problem for s in statuses if s.rehearsal_problem is not None), None),
        lag_least_milliseconds=min(least, default=None),
        lag_most_milliseconds=max(most, default=None),
        lag_mean_milliseconds=sum(mean) / len(mean) if mean else None,
        aligned=sum(status.aligned for status in statuses),
        by_occurrence=sum(status.by_occurrence for status in statuses),
        ambiguous=sum(status.ambiguous for status in statuses),
        repaired=sum(status.repaired for status in statuses),
        missed_by_old=sum(status.missed_by_old for status in statuses),
        sealed_pods=sum(status.sealed_pods for status in statuses),
        waiting_pods=sum(status.waiting_pods for status in statuses),
        held_guilds=sum(status.held_guilds for status in statuses),
        released_guilds=sum(status.released_guilds for status in statuses),
        delivered_marked=sum(status.delivered_marked for status in statuses),
        skipped=sum(status.skipped for status in statuses),
        committed_at=min(committed, default=None),
        completed_at=max(completed) if complete and completed else None,
        longest_pause_milliseconds=max(status.longest_pause_milliseconds for status in statuses),
        pauses=[sum(counts) for counts in zip_longest(*(status.pauses for status in statuses), fillvalue=0)],
    )
