"""What the node says of a pod's process, from the pod's object: does it run, and if not, why not.

The sentences stand in conditions, so they say the same for as long as the trouble is the same: a kubelet alternates
between "ErrImagePull" and "ImagePullBackOff" and counts restarts.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from gateway_operator.cluster.port import Manifest
from gateway_operator.planning.observed import Life

FAILING_RESTARTS: Final = 3
"""A process that ended this often, and does not run now, is said to end again and again."""
LONGEST: Final = 300

BACKING_OFF: Final = "ImagePullBackOff"
NO_IMAGE: Final = frozenset(
    {
        "ErrImagePull",
        BACKING_OFF,
        "InvalidImageName",
        "ErrImageNeverPull",
        "ImageInspectError",
        "RegistryUnavailable",
        "SignatureValidationFailed",
    }
)
"""What a kubelet gives as the reason of a container that waits for an image in vain."""


def life_of(pod: Manifest) -> tuple[Life, str | None]:
    """The pod's life and, where it does not run, the trouble."""
    status: Mapping[str, Any] = pod.get("status") or {}
    containers = status.get("containerStatuses") or []
    if not containers:
        return (Life.UNSTARTED if status.get("phase", "Pending") == "Pending" else Life.RUNNING), _unscheduled(status)
    container: Mapping[str, Any] = containers[0]
    state = container.get("state") or {}
    if container.get("started") or "running" in state:
        return Life.RUNNING, None
    restarts = int(container.get("restartCount") or 0)
    ended = (container.get("lastState") or {}).get("terminated") or state.get("terminated")
    if restarts == 0 and ended is None:
        return Life.UNSTARTED, _waiting(container, state.get("waiting") or {})
    if restarts < FAILING_RESTARTS:
        return Life.RUNNING, None
    code = (ended or {}).get("exitCode")
    return Life.FAILING, "its process ends again and again" + ("" if code is None else f", last with exit code {code}")


def ready_of(pod: Manifest) -> bool | None:
    """The pod's condition Ready; None where nobody has set it."""
    for condition in (pod.get("status") or {}).get("conditions") or []:
        if condition.get("type") == "Ready":
            return bool(condition.get("status") == "True")
    return None


def _unscheduled(status: Mapping[str, Any]) -> str | None:
    for condition in status.get("conditions") or []:
        if condition.get("type") == "PodScheduled" and condition.get("status") == "False":
            return f"no node takes it ({one_line(condition.get('message') or condition.get('reason'))})"
    return None


def _waiting(container: Mapping[str, Any], waiting: Mapping[str, Any]) -> str | None:
    reason = waiting.get("reason")
    if reason in NO_IMAGE:
        return f"its image {container.get('image')} cannot be pulled"
    if reason in (None, "ContainerCreating", "PodInitializing"):
        return None
    return f"its container cannot be made ({one_line(waiting.get('message') or reason)})"


def one_line(text: object) -> str:
    """What somebody else said, fit for a sentence of ours."""
    return " ".join(str(text).split()).rstrip(".")[:LONGEST]
