"""The steps of a reshard, as a table.

Theory: a reshard is never "in" a step that anything remembers. Each pass asks, in order, what still stands between the
world as it is and the next irreversible act; the first requirement that is not met is the step. There are two such
acts: the commit (a write of the record; before it the target can be given up at no loss, after it only forward), and
the deletion of the predecessor (which ends its sessions). So an operator can die anywhere and another, or none, go on.

What takes time is told from the pods themselves (a session's age) and, for the overlap, from how long the status has
shown the step; a lost status only starts the overlap anew.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from gateway_operator.api.conditions import milliseconds
from gateway_operator.api.status import ReshardStatus, Step
from gateway_operator.planning.health import answers, layout_of, listing, not_ready, shards, silent_pods
from gateway_operator.planning.observed import ObservedGeneration
from shard_runtime.contract import PodStatus, Record, ShardState

YOUNG_SECONDS: Final = 1.0
"""The oldest queued event must be younger at the commit, or held events wait behind a backlog."""

MOMENT_SECONDS: Final = 2.0
"""Sessions that are moved to another of Discord's servers are away for less."""

_AWAY: Final = frozenset({ShardState.CONNECTING, ShardState.RESUMING})

OLD_SIDE_DELAY_SECONDS: Final = 2.0
"""The predecessor begins to record this long after it saw the target."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Handover:
    """A generation that takes over, and the one it takes over from."""

    now: int
    record: Record
    new: ObservedGeneration | None
    old: ObservedGeneration | None
    overlap_seconds: float
    paused: bool
    promoted: bool = True
    """Whether a person, or the spec beforehand, has agreed to the cutover."""
    previous: ReshardStatus | None
    """The status of the last pass, if it was about the same target."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Requirement:
    """Something that must be so before the act, and the step that a reshard is in while it is not."""

    step: Step
    unmet: Callable[[Handover], str | None]
    """What is waited for, as a sentence; None when it is met."""
    stalls: bool = True
    """Whether a target that stays here without progress is given up."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """Where a reshard is."""

    step: Step
    message: str
    stalls: bool = False


def _exists(handover: Handover) -> str | None:
    return "The new generation's StatefulSet is to be created." if handover.new is None else None


def _every_shard_ready(handover: Handover) -> str | None:
    new = _new(handover)
    missing = not_ready(new)
    if not missing:
        return None
    total = len(layout_of(new).shards)
    return f"{total - len(missing)} of {total} shards are READY; waiting for {listing(missing)}."


def _every_shard_settled(handover: Handover) -> str | None:
    waiting = sorted(shard.id for shard in shards(_new(handover)) if not shard.settled)
    return f"Waiting for the guilds of shards {listing(waiting)}." if waiting else None


def _old_pods_answer(handover: Handover) -> str | None:
    if handover.old is None:
        return "The predecessor's StatefulSet is not there."
    silent = silent_pods(handover.old)
    return f"Pods {listing(silent)} of generation {handover.old.number} do not answer." if silent else None


def _every_pod_knows(handover: Handover) -> str | None:
    for generation in (handover.old, handover.new):
        if generation is None:
            continue
        late = [status.pod for status in answers(generation) if status.record_epoch < handover.record.epoch]
        if late:
            return f"Pods {listing(late)} of generation {generation.number} have not read the record yet."
    return None


def _windows_overlap(handover: Handover) -> str | None:
    wanted = handover.overlap_seconds
    youngest = min(
        (shard.session_seconds for shard in shards(_new(handover)) if shard.session_seconds is not None),
        default=wanted,
    )
    left = max(wanted - youngest, overlap_left_seconds(handover))
    return f"Both generations record the same events for {wanted:g} s." if left > 0 else None


def overlap_left_seconds(handover: Handover) -> float:
    """How long both sides have yet to record, given how long the status has shown that they do."""
    wanted = max(handover.overlap_seconds, 2 * OLD_SIDE_DELAY_SECONDS)
    previous = handover.previous
    if previous is None or previous.step in (Step.CREATING, Step.CONNECTING):
        return wanted
    if previous.step is not Step.OVERLAPPING:
        return 0.0
    # Stamps are whole seconds, rounded down: one more makes sure of the whole overlap.
    return wanted + 1 - (handover.now - milliseconds(previous.last_progress_at)) / 1000


def _rehearsed(handover: Handover) -> str | None:
    """A cutover cannot be taken back, so it is tried before without effect; see docs/resharding.md."""
    new = _new(handover)
    for status in answers(new):
        if status.handover is None or not status.handover.rehearsed:
            problem = status.handover.rehearsal_problem if status.handover is not None else None
            reason = problem or "It has not compared what it sees with what the old pods see yet."
            return f"Pod {status.pod} of generation {new.number} rehearses: {reason}"
    return None


def _not_paused(handover: Handover) -> str | None:
    return "spec.paused is true; the cutover waits." if handover.paused else None


def _promoted(handover: Handover) -> str | None:
    if handover.promoted:
        return None
    return "Everything is ready. spec.reshard.autoPromote is false; set it to true to cut over."


def _receiver_up(handover: Handover) -> str | None:
    for status in answers(_old(handover)):
        if not status.receiver.reachable:
            problem = status.receiver.problem or "no answer"
            return f"The receiver is away ({problem}); the cutover waits for it."
    return None


def _queue_young(handover: Handover) -> str | None:
    for status in answers(_old(handover)):
        if status.oldest_seconds >= YOUNG_SECONDS:
            return f"Pod {status.pod} of generation {status.generation} has a backlog; the cutover waits for it."
    return None


def _old_sessions_recorded_live(handover: Handover) -> str | None:
    """A session that was away for more than a moment gets what it missed in one burst, and when that came says nothing
    of when it was sent: both sides must record the same events live again before their streams can be compared."""
    away = sorted(
        shard.id
        for shard in shards(_old(handover))
        if shard.state in _AWAY
        and (
            shard.behind_seconds is None  # its process has not had it live yet
            or shard.silent_seconds is None
            or shard.silent_seconds > MOMENT_SECONDS
        )
    )
    return f"Waiting for shards {listing(away)} of generation {_old(handover).number} to resume." if away else None


def _old_sessions_connected(handover: Handover) -> str | None:
    """What Discord sends a session that is away comes when it resumes, and to nobody else if the target's session is
    younger. A session that is being started, or has stopped for good, has nothing to come."""
    away = sorted(shard.id for shard in shards(_old(handover)) if shard.state in _AWAY)
    return f"Waiting for shards {listing(away)} of generation {_old(handover).number} to resume." if away else None


def _handed_over(handover: Handover) -> str | None:
    new = _new(handover)
    silent = silent_pods(new)
    if silent:
        return f"Pods {listing(silent)} of generation {new.number} do not answer."
    waiting = [status.pod for status in answers(new) if not _complete(status)]
    return f"Pods {listing(waiting)} of generation {new.number} are taking over." if waiting else None


def _complete(status: PodStatus) -> bool:
    return status.handover is not None and status.handover.complete


def _old_drained(handover: Handover) -> str | None:
    # A pod that does not answer has nothing left: no handover is complete before every old pod was sealed and has said
    # that all it accepted was acknowledged.
    old = _old(handover)
    for status in answers(old):
        if status.queued > 0:
            return f"Pod {status.pod} of generation {old.number} has events that are not acknowledged."
    return None


def _old_answered(handover: Handover) -> str | None:
    """Discord answers a request on the session that asked and on no other. Pods wait for a bounded time."""
    old = _old(handover)
    waiting = [status.pod for status in answers(old) if status.awaited]
    return f"Pods {listing(waiting)} of generation {old.number} wait for answers of Discord." if waiting else None


BEFORE_CREATION: Final = (Requirement(step=Step.CREATING, unmet=_exists, stalls=False),)

BEFORE_COMMIT: Final = (
    *BEFORE_CREATION,
    Requirement(step=Step.CONNECTING, unmet=_every_shard_ready),
    Requirement(step=Step.CONNECTING, unmet=_every_shard_settled),
    Requirement(step=Step.OVERLAPPING, unmet=_old_pods_answer),
    # The step before, so that the overlap starts anew.
    Requirement(step=Step.CONNECTING, unmet=_old_sessions_recorded_live, stalls=False),
    Requirement(step=Step.OVERLAPPING, unmet=_every_pod_knows),
    Requirement(step=Step.OVERLAPPING, unmet=_windows_overlap),
    Requirement(step=Step.OVERLAPPING, unmet=_rehearsed),
    Requirement(step=Step.HOLDING, unmet=_not_paused, stalls=False),
    Requirement(step=Step.HOLDING, unmet=_old_sessions_connected, stalls=False),
    Requirement(step=Step.HOLDING, unmet=_receiver_up, stalls=False),
    Requirement(step=Step.HOLDING, unmet=_queue_young, stalls=False),
    Requirement(step=Step.HOLDING, unmet=_promoted, stalls=False),
)
"""All of it must be so before the record's write that makes the target active."""

BEFORE_RETIREMENT: Final = (
    Requirement(step=Step.HANDING_OVER, unmet=_handed_over, stalls=False),
    Requirement(step=Step.HANDING_OVER, unmet=_old_answered, stalls=False),
    Requirement(step=Step.HANDING_OVER, unmet=_old_drained, stalls=False),
)
"""All of it must be so before the predecessor's StatefulSet is deleted. There is no way back, so nothing stalls."""


def stage(requirements: tuple[Requirement, ...], handover: Handover) -> Stage | None:
    """The first requirement that is not met; None when all are."""
    for requirement in requirements:
        message = requirement.unmet(handover)
        if message is not None:
            return Stage(step=requirement.step, message=message, stalls=requirement.stalls)
    return None


def _new(handover: Handover) -> ObservedGeneration:
    if handover.new is None:
        raise ValueError("asked about a generation that does not exist")
    return handover.new


def _old(handover: Handover) -> ObservedGeneration:
    if handover.old is None:
        raise ValueError("asked about a predecessor that does not exist")
    return handover.old


def overlap_of(generation: ObservedGeneration | None) -> float:
    """How long both sides record before *generation* takes over, in seconds."""
    return 0.0 if generation is None or generation.fixed is None else generation.fixed.overlap_seconds
