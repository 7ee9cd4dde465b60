"""A changed pod template reaches the pods one at a time, and no session is lost over it.

Theory. The StatefulSet is ``OnDelete``: it makes pods of its present template, and the operator says when, by deleting
them. A pod that stops gracefully leaves its sessions resumable, and its replacement resumes them, if it is back before
Discord forgets what it would replay. So a pod is deleted only while nothing of the generation is on its way already,
what it has accepted is delivered (or on a volume), its sessions' replay buffers last for longer than a restart takes,
and its node has the image (``pulling``). What is on its way is seen, not remembered: a pod that is missing, ending, or
of the present template and not whole.

A pod that never ran holds nothing and is replaced at once, or a mistake in the template (an image that does not exist)
could not be mended by mending the template. A pod that runs and is not whole for long is replaced before those that
are, for the same reason.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

from gateway_operator.api.conditions import ConditionStatus, ConditionType, milliseconds
from gateway_operator.api.spec import Spec
from gateway_operator.planning.actions import DeletePods, PodToDelete, PullImage
from gateway_operator.planning.health import answer, layout_of, listing
from gateway_operator.planning.observed import Life, Observation, ObservedGeneration, ObservedPod
from gateway_operator.planning.pulling import image_ahead, kept
from gateway_operator.planning.replay import RESTART_SECONDS, hastiest
from gateway_operator.planning.reshard import YOUNG_SECONDS
from shard_runtime.contract import ShardState

PATIENCE_SECONDS: Final = 30.0
"""How long a pod of the old template may be about to become whole by itself before it is replaced."""
NODE_SECONDS: Final = 20.0
"""How long a node may take to find a pod ready whose shards are back; its word counts for drains, not for sessions."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rollout:
    """Where a rollout is, and what to do next."""

    updated: int
    """Pods of the present template that are whole."""
    pods: int
    message: str
    delete: DeletePods | None = None
    stalls: bool = False
    """Waiting for a pod to come back, or for an image: a person should hear of it when it takes long."""
    stalls_since: int | None = None
    """When that began, in unix milliseconds; None: with the last progress."""
    pull: PullImage | None = None
    keep: frozenset[str] = frozenset()
    """Names of the pods that pull an image, and are still wanted."""


def rollout(observation: Observation, spec: Spec, generation: ObservedGeneration) -> Rollout | None:
    """The next step of bringing *generation* to its present template; None when all pods have it."""
    outdated = [pod for pod in generation.pods if is_outdated(generation, pod)]
    returning = [pod for pod in generation.pods if pod not in outdated and not whole(generation, pod)]
    if not outdated and (observation.previous.rollout is None or not returning):
        return None
    updated = len(generation.pods) - len(outdated) - len(returning)
    found = _step(observation, spec, generation, outdated=outdated, returning=returning)
    keep = frozenset[str]() if spec.paused else kept(observation, generation)
    if isinstance(found, DeletePods):
        why = found.why if found.unpulled is None else f"{found.why} {found.unpulled}"
        return Rollout(updated=updated, pods=len(generation.pods), message=why, delete=found, keep=keep)
    return Rollout(
        updated=updated,
        pods=len(generation.pods),
        message=found.message,
        stalls=found.stalls,
        stalls_since=found.since,
        pull=found.pull,
        keep=keep,
    )


def replace_unstarted(generation: ObservedGeneration, *, failing: bool = False) -> DeletePods | None:
    """Pods of an old template that run nothing, to be replaced at once.

    *failing*: those too that end again and again, since nothing that they hold matters (a target before its commit).
    """
    idle = (Life.UNSTARTED, Life.FAILING) if failing else (Life.UNSTARTED,)
    pods = [
        pod
        for pod in generation.pods
        if is_outdated(generation, pod) and not pod.deleting and pod.life in idle and answer(generation, pod) is None
    ]
    if not pods or not generation.template_seen:
        return None
    why = f"Pods {listing([pod.index for pod in pods])} of generation {generation.number} do not run and are made anew."
    return _delete(generation, pods, why)


def replacements(
    spec: Spec | None, active: ObservedGeneration, target: ObservedGeneration | None = None
) -> tuple[DeletePods, ...]:
    """Pods that run nothing for a mistake that was mended since; a reshard must not wait for them in vain."""
    if spec is None or spec.paused:
        return ()
    found = [replace_unstarted(active)]
    if target is not None:
        found.append(replace_unstarted(target, failing=True))
    return tuple(deletion for deletion in found if deletion is not None)


def is_outdated(generation: ObservedGeneration, pod: ObservedPod) -> bool:
    """Whether the pod exists and was made of another template than the present one."""
    return pod.uid is not None and pod.revision != generation.revision


def whole(generation: ObservedGeneration, pod: ObservedPod) -> bool:
    """Whether all shards of the pod are READY or RESUMED, and it is to stay."""
    status = answer(generation, pod)
    if status is None or pod.deleting:
        return False
    ready = {shard.id for shard in status.shards if shard.state is ShardState.READY}
    return ready >= set(layout_of(generation).pod_shards(pod.index))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Wait:
    message: str
    stalls: bool = False
    since: int | None = None
    pull: PullImage | None = None


def _step(
    observation: Observation,
    spec: Spec,
    generation: ObservedGeneration,
    *,
    outdated: list[ObservedPod],
    returning: list[ObservedPod],
) -> DeletePods | _Wait:
    if spec.paused:
        return _Wait(message="spec.paused is true; the rollout waits.")
    if not generation.template_seen:
        return _Wait(message="The StatefulSet controller has not seen the changed template yet.")
    unstarted = replace_unstarted(generation)
    if unstarted is not None:
        return unstarted
    ending = [pod for pod in outdated if pod.deleting]
    if ending or returning:
        return _Wait(message=_on_the_way(generation, ending, returning), stalls=True)
    unseen = _unseen(observation, generation, outdated)
    if unseen is not None:
        return _Wait(message=f"Shards of pods {listing(unseen)} are READY; their nodes are yet to say so.")
    pod = _next(observation, generation, outdated)
    if pod is None:
        broken = [each.index for each in outdated if not whole(generation, each)]
        return _Wait(message=f"Shards of pods {listing(broken)} are not all READY; the rollout waits for them.")
    image = image_ahead(observation, generation, pod)
    if image.wait:
        return _Wait(message=image.message, stalls=image.since is not None, since=image.since, pull=image.pull)
    reason = _held(spec, generation, pod)
    if reason is not None:
        return _Wait(message=reason)
    left = len(outdated) - 1
    more = f" {left} more to follow." if left else ""
    why = f"Pod {pod.index} of generation {generation.number} is replaced.{more}"
    return replace(_delete(generation, [pod], why), unpulled=image.message or None)


def _on_the_way(generation: ObservedGeneration, ending: list[ObservedPod], returning: list[ObservedPod]) -> str:
    first = (ending or returning)[0]
    name = f"Pod {first.index} of generation {generation.number}"
    if first.deleting:
        return f"{name} is ending."
    if first.trouble is not None:
        return f"{name} does not start: {first.trouble}."
    if answer(generation, first) is None:
        return f"{name} is starting."
    return f"{name} resumes its sessions."


def _unseen(observation: Observation, generation: ObservedGeneration, outdated: list[ObservedPod]) -> list[int] | None:
    """Pods that are whole, and not ready by their nodes' last word; None once that has lasted."""
    unseen = [pod.index for pod in generation.pods if pod.ready is False and whole(generation, pod)]
    if not unseen:
        return None
    previous, updated = observation.previous.rollout, len(generation.pods) - len(outdated)
    if previous is None or updated > previous.updated_pods:
        return unseen
    waited = (observation.now - milliseconds(previous.last_progress_at)) / 1000
    return unseen if waited < NODE_SECONDS else None


def _next(observation: Observation, generation: ObservedGeneration, outdated: list[ObservedPod]) -> ObservedPod | None:
    """The pod to replace next; None while one that is not whole may still get there by itself."""
    broken = [pod for pod in outdated if not whole(generation, pod)]
    if not broken:
        return outdated[0]
    return broken[0] if _not_ready_for(observation) >= PATIENCE_SECONDS else None


def _not_ready_for(observation: Observation) -> float:
    """Seconds for which the gateway has been shown as not READY."""
    for condition in observation.previous.conditions:
        if condition.type is ConditionType.READY and condition.status is ConditionStatus.FALSE:
            return (observation.now - milliseconds(condition.last_transition_time)) / 1000
    return 0.0


def _held(spec: Spec, generation: ObservedGeneration, pod: ObservedPod) -> str | None:
    """Why the pod may not be deleted now."""
    name = f"Pod {pod.index} of generation {generation.number}"
    status = answer(generation, pod)
    if status is None:
        return None if pod.life is Life.FAILING else f"{name} does not answer; the rollout waits for it."
    behind = status.oldest_seconds >= YOUNG_SECONDS or (status.queued > 0 and not status.receiver.reachable)
    if behind and (generation.fixed is None or generation.fixed.storage is None):
        return f"{name} has a backlog and no volume to keep it on; the rollout waits until it is delivered."
    hasty = hastiest(status.shards, pod.rates)
    if hasty is None:
        return f"How fast events come to {name[0].lower()}{name[1:]} is being measured."
    shard, seconds = hasty
    if seconds < RESTART_SECONDS:
        return (
            f"Events come to shard {shard} so fast that Discord keeps less than {RESTART_SECONDS:g} s of them; "
            "the rollout waits for a quieter time."
        )
    return None


def _delete(generation: ObservedGeneration, pods: list[ObservedPod], why: str) -> DeletePods:
    wanted = tuple(PodToDelete(index=pod.index, uid=pod.uid) for pod in pods if pod.uid is not None)
    return DeletePods(generation=generation.number, pods=wanted, why=why)
