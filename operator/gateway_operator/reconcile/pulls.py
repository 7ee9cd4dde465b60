"""Pods that pull an image ahead: what their nodes say of them, and those that the API server did not take.

They are looked for only while there can be any (a rollout, and an operator's first pass), so that a gateway at rest
costs no call more.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final

from gateway_operator.api.conditions import milliseconds
from gateway_operator.api.gateway import Metadata
from gateway_operator.api.status import Status
from gateway_operator.cluster.port import POD, AlreadyExistsError, Cluster, ClusterError, ConflictError, Manifest
from gateway_operator.planning.actions import DropPulls, PullImage
from gateway_operator.planning.observed import ObservedGeneration, ObservedPull, Pull
from gateway_operator.reconcile.lives import BACKING_OFF, NO_IMAGE, one_line
from gateway_operator.resources.pulling import IMAGE_ANNOTATION, NODE_ANNOTATION, pull_labels, pull_pod_name

log = logging.getLogger(__name__)

_HAS_IMAGE: Final = frozenset(
    {
        "CreateContainerConfigError",
        "CreateContainerError",
        "RunContainerError",
        "PreCreateHookError",
        "PreStartHookError",
        "PostStartHookError",
        "CrashLoopBackOff",
    }
)
"""What a container waits for only once its image is there."""


@dataclass(slots=True)
class PullMemory:
    """What one gateway's passes leave for the next."""

    look: bool = True
    """There may be such pods."""
    refused: dict[tuple[str, str], ObservedPull] = field(default_factory=dict)
    """By node and image, since the API server first refused it."""


async def read_pulls(
    cluster: Cluster,
    metadata: Metadata,
    generations: tuple[ObservedGeneration, ...],
    previous: Status,
    memory: PullMemory,
) -> tuple[ObservedPull, ...]:
    """Pods of the gateway that pull an image. Raises :class:`ClusterError`."""
    outdated = any(pod.uid is not None and pod.revision != each.revision for each in generations for pod in each.pods)
    if not (memory.look or outdated or previous.rollout is not None):
        memory.refused.clear()
        return ()
    pods = await cluster.select(POD, metadata.namespace, pull_labels(metadata.name))
    found = [pull for pod in pods if (pull := _observed(pod)) is not None]
    for pull in found:
        memory.refused.pop((pull.node, pull.image), None)
    memory.look = bool(pods)
    return (*found, *memory.refused.values())


async def start_pull(
    cluster: Cluster, manifest: Manifest, action: PullImage, memory: PullMemory, *, gateway: str, now: int
) -> None:
    """Create the pod, or remember since when the API server does not take it: the rollout must not hang on it."""
    try:
        await cluster.create(manifest)
    except AlreadyExistsError:
        return
    except ClusterError as error:
        key, problem = (action.node, action.image), one_line(error)
        before = memory.refused.get(key)
        if before is None:
            log.warning("%s: no pod to pull image %s on node %s: %s", gateway, action.image, action.node, error)
            name = pull_pod_name(gateway, node=action.node, image=action.image)
            before = ObservedPull(
                name=name, node=action.node, image=action.image, state=Pull.IMPOSSIBLE, since=now, problem=problem
            )
        memory.refused[key] = replace(before, problem=problem)
        return
    log.info("%s: node %s pulls image %s before a pod is replaced", gateway, action.node, action.image)


async def drop_pulls(cluster: Cluster, namespace: str, action: DropPulls) -> None:
    """Delete the pods. Raises :class:`ClusterError`."""
    for name, uid in action.pods:
        try:
            await cluster.delete(POD, namespace, name, uid=uid)
        except ConflictError:
            log.info("pod %s is another by now", name)


def _observed(pod: Manifest) -> ObservedPull | None:
    """None for one that is being deleted."""
    metadata = pod["metadata"]
    annotations = metadata.get("annotations") or {}
    if metadata.get("deletionTimestamp") or NODE_ANNOTATION not in annotations or IMAGE_ANNOTATION not in annotations:
        return None
    state, problem, backing_off = state_of(pod)
    return ObservedPull(
        name=metadata["name"],
        node=annotations[NODE_ANNOTATION],
        image=annotations[IMAGE_ANNOTATION],
        state=state,
        since=milliseconds(metadata["creationTimestamp"]),
        uid=metadata["uid"],
        problem=problem,
        backing_off=backing_off,
    )


def state_of(pod: Manifest) -> tuple[Pull, str | None, bool]:
    """State, problem, and whether the node waits before it tries again, from the pod's status."""
    status: Mapping[str, Any] = pod.get("status") or {}
    if status.get("phase") == "Failed" and status.get("reason"):  # the kubelet did not take it, or threw it out
        return Pull.IMPOSSIBLE, _reason(status), False
    containers = status.get("containerStatuses") or [{}]
    state: Mapping[str, Any] = containers[0].get("state") or {}
    ended = state.get("terminated")
    if ended is not None and ended.get("reason") == "ContainerStatusUnknown":
        return Pull.IMPOSSIBLE, _reason(ended), False
    if ended is not None or "running" in state or status.get("phase") == "Succeeded":
        return Pull.DONE, None, False
    waiting = state.get("waiting") or {}
    if waiting.get("reason") in NO_IMAGE:
        return Pull.NO_IMAGE, _reason(waiting), waiting["reason"] == BACKING_OFF
    return (Pull.DONE if waiting.get("reason") in _HAS_IMAGE else Pull.PULLING), None, False


def _reason(said: Mapping[str, Any]) -> str:
    message = said.get("message")
    return f"{said['reason']}: {one_line(message)}" if message else str(said["reason"])
