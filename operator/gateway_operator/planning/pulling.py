"""The image of a changed template is on a pod's node before the pod is deleted.

While a pod is away its sessions are, and Discord keeps what it would replay for some seconds only; pulling an image
takes longer than that. So where a rollout changes the image, a small pod of that image is bound to the node first, and
the pod to be replaced stays until the image is there. An image that cannot be pulled thus takes no pod at all.

Only the image holds a rollout up. Where no such pod can be had (a quota, a full node, a kubelet that says nothing), the
rollout goes on after a while as it would without, and says so.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from gateway_operator.planning.actions import DropPulls, PullImage
from gateway_operator.planning.health import answer
from gateway_operator.planning.observed import (
    Life,
    Observation,
    ObservedGeneration,
    ObservedPod,
    ObservedPull,
    Pull,
)

PULLING_SECONDS: Final = 600.0
"""How long a node may pull without a word; then the pod is replaced, and its replacement waits for the same pull."""
UNPULLABLE_SECONDS: Final = 30.0
"""How long it is tried where something else than the image stands against it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ahead:
    """Whether the image is where a pod's replacement will want it."""

    wait: bool = False
    message: str = ""
    """What is waited for; or, where nothing is, why the image was not pulled ahead."""
    pull: PullImage | None = None
    since: int | None = None
    """Since when the image cannot be pulled, in unix milliseconds: a person should hear of it when that lasts."""


def image_ahead(observation: Observation, generation: ObservedGeneration, pod: ObservedPod) -> Ahead:
    """Where the pull of *generation*'s image to the node of *pod*, which runs another one, has got to."""
    if not _is_wanted(generation, pod) or pod.node is None:
        return Ahead()
    image, node = generation.image, pod.node
    name = f"pod {pod.index} of generation {generation.number}"
    busy = f"Node {node} pulls image {image} before {name} is replaced."
    found = next((pull for pull in observation.pulls if (pull.node, pull.image) == (node, image)), None)
    pull = PullImage(node=node, image=image)
    if found is None:
        return Ahead(wait=True, message=busy, pull=pull)
    seconds = (observation.now - found.since) / 1000
    not_ahead = f"Image {image} was not pulled to node {node} ahead"
    match found.state:
        case Pull.DONE:
            return Ahead()
        case Pull.NO_IMAGE:
            return Ahead(wait=True, message=_no_image(observation, found), since=found.since)
        case Pull.PULLING if seconds < PULLING_SECONDS:
            return Ahead(wait=True, message=busy)
        case Pull.PULLING:
            return Ahead(message=f"{not_ahead}: its pod says nothing for {PULLING_SECONDS:g} s.")
        case Pull.IMPOSSIBLE if seconds < UNPULLABLE_SECONDS:
            message = f"Image {image} cannot be pulled to node {node} ahead ({found.problem}); {name} waits a little."
            return Ahead(wait=True, message=message, pull=pull if found.uid is None else None)
        case Pull.IMPOSSIBLE:
            return Ahead(message=f"{not_ahead} ({found.problem}).")


def kept(observation: Observation, generation: ObservedGeneration) -> frozenset[str]:
    """Names of the pods that pull, or have pulled, what a pod of *generation* still waits for."""
    nodes = {pod.node for pod in generation.pods if pod.uid is not None and _is_wanted(generation, pod)}
    return frozenset(
        pull.name for pull in observation.pulls if pull.image == generation.image and pull.node in nodes and pull.uid
    )


def dropped(pulls: Sequence[ObservedPull], *, keep: frozenset[str]) -> DropPulls | None:
    """Delete the pods that pull for nobody; None where there are none."""
    over = tuple((pull.name, pull.uid) for pull in pulls if pull.uid is not None and pull.name not in keep)
    return DropPulls(pods=over) if over else None


def _is_wanted(generation: ObservedGeneration, pod: ObservedPod) -> bool:
    """Whether the pod runs, and of another image than its replacement will; what runs nothing is replaced at once."""
    if not generation.image or pod.image in (None, generation.image):
        return False
    return pod.life is Life.RUNNING or answer(generation, pod) is not None


def _no_image(observation: Observation, found: ObservedPull) -> str:
    """The node's reason, as it was given at first: while it waits for its next try a node says less of the cause."""
    what = f"Image {found.image} cannot be pulled to node {found.node} ("
    said = "" if observation.previous.rollout is None else observation.previous.rollout.message
    if found.backing_off and said.startswith(what):
        return said
    return f"{what}{found.problem}); no pod is replaced by one that could not start."
