"""A changed image is on the node before a pod is replaced: a situation, and what is done or waited for."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from gateway_operator.api.conditions import ConditionStatus, ConditionType, timestamp
from gateway_operator.api.status import RolloutStatus, Status
from gateway_operator.planning.observed import Life, Observation, ObservedPull, Pull
from gateway_operator.planning.plan import plan
from planning.situations import DISCORD, EIGHT, NOW, ONE, SIXTEEN, acts, gen, message, observe, record, said, spec

HONOURED = record(1, honoured=EIGHT)
BUSY = "Node n1 pulls image x:1 before pod 0 of generation 1 is replaced."
REPLACED = "Pod 0 of generation 1 is replaced. 1 more to follow."
NO_IMAGE = (
    "Image x:1 cannot be pulled to node n1 (ErrImagePull: not found); no pod is replaced by one that could not start."
)


def pulled(state: Pull, *, seconds: float = 1, problem: str | None = None, **more: Any) -> ObservedPull:
    """A pod that was made so long ago to pull the present image to the pods' node."""
    made: dict[str, Any] = {"name": "p", "uid": "u", "node": "n1", "image": "x:1", **more}
    return ObservedPull(state=state, since=NOW - int(seconds * 1000), problem=problem, **made)


def rolling(*, said: str = "", seconds: float = 1000.0) -> Status:
    stamp = timestamp(NOW - int(seconds * 1000))
    return Status(rollout=RolloutStatus(updated_pods=0, pods=2, started_at=stamp, last_progress_at=stamp, message=said))


def seen(*pulls: ObservedPull, wanted: Any = EIGHT, previous: Status | None = None, **health: Any) -> Observation:
    """Two pods of another image than the present template's."""
    state = {"old": (0, 1), "image": "w:1", **health}
    return observe(wanted, HONOURED, gen(ONE, **state), previous=previous or Status(), pulls=pulls)


FAILED = pulled(Pull.NO_IMAGE, problem="ErrImagePull: not found")
BACKING_OFF = pulled(Pull.NO_IMAGE, problem="ImagePullBackOff: Back-off", backing_off=True)
REFUSED = pulled(Pull.IMPOSSIBLE, uid=None, seconds=29, problem="exceeded quota")
REJECTED = pulled(Pull.IMPOSSIBLE, seconds=29, problem="OutOfpods: too many")

TABLE = {
    "the image is another": (seen(), ["pull x:1 on n1"], BUSY),
    "the image is the same": (seen(image="x:1"), ["replace 1/0"], REPLACED),
    "there are no nodes": (seen(node=None), ["replace 1/0"], REPLACED),
    "the node pulls": (seen(pulled(Pull.PULLING)), [], BUSY),
    "another node has it": (seen(pulled(Pull.DONE, node="n2")), ["drop p", "pull x:1 on n1"], BUSY),
    "the node has an image that is not wanted any more": (
        seen(pulled(Pull.DONE, image="v:1")),
        ["drop p", "pull x:1 on n1"],
        BUSY,
    ),
    "the node has it": (seen(pulled(Pull.DONE)), ["replace 1/0"], REPLACED),
    "the node has it, and the pod a backlog": (
        seen(pulled(Pull.DONE), oldest=1.0, queued=5),
        [],
        "Pod 0 of generation 1 has a backlog and no volume to keep it on; the rollout waits until it is delivered.",
    ),
    "the pod has a backlog, which the pull need not wait for": (
        seen(oldest=1.0, queued=5),
        ["pull x:1 on n1"],
        BUSY,
    ),
    "a pod is away, and the next one is yet to come": (
        seen(pulled(Pull.DONE), old=(1,), silent=(0,)),
        [],
        "Pod 0 of generation 1 is starting.",
    ),
    "the last pod is away": (
        seen(pulled(Pull.DONE), old=(), silent=(1,), previous=rolling()),
        ["drop p"],
        "Pod 1 of generation 1 is starting.",
    ),
    "the rollout is over": (seen(pulled(Pull.DONE), old=()), ["drop p"], None),
    "the image cannot be pulled": (seen(FAILED), [], NO_IMAGE),
    "the image cannot be pulled, for days": (seen(replace(FAILED, since=0)), [], NO_IMAGE),
    "the node waits before it tries again": (seen(BACKING_OFF, previous=rolling(said=NO_IMAGE)), [], NO_IMAGE),
    "the node waits, and nobody knows for what": (
        seen(BACKING_OFF, previous=rolling(said=BUSY)),
        [],
        "Image x:1 cannot be pulled to node n1 (ImagePullBackOff: Back-off); "
        "no pod is replaced by one that could not start.",
    ),
    "a pod that runs nothing is replaced all the same": (
        seen(FAILED, silent=(0,), life=Life.UNSTARTED),
        ["replace 1/0"],
        "Pods 0 of generation 1 do not run and are made anew.",
    ),
    "the API server does not take the pod": (
        seen(REFUSED),
        ["pull x:1 on n1"],
        "Image x:1 cannot be pulled to node n1 ahead (exceeded quota); pod 0 of generation 1 waits a little.",
    ),
    "the API server still does not": (
        seen(replace(REFUSED, since=NOW - 30_000)),
        ["replace 1/0"],
        f"{REPLACED} Image x:1 was not pulled to node n1 ahead (exceeded quota).",
    ),
    "the node does not take the pod": (
        seen(REJECTED),
        [],
        "Image x:1 cannot be pulled to node n1 ahead (OutOfpods: too many); pod 0 of generation 1 waits a little.",
    ),
    "the node still does not": (
        seen(replace(REJECTED, since=NOW - 30_000)),
        ["replace 1/0"],
        f"{REPLACED} Image x:1 was not pulled to node n1 ahead (OutOfpods: too many).",
    ),
    "the node pulls for long": (seen(pulled(Pull.PULLING, seconds=599)), [], BUSY),
    "the node says nothing for very long": (
        seen(pulled(Pull.PULLING, seconds=600)),
        ["replace 1/0"],
        f"{REPLACED} Image x:1 was not pulled to node n1 ahead: its pod says nothing for 600 s.",
    ),
    "paused": (
        seen(pulled(Pull.PULLING), wanted=spec(8, paused=True)),
        ["drop p"],
        "spec.paused is true; the rollout waits.",
    ),
    "the budget is read before anything else is done": (
        replace(seen(pulled(Pull.DONE), wanted=SIXTEEN), discord=replace(DISCORD, read_at=NOW - 31_000)),
        ["read discord"],
        "Discord's session start limit is being read.",
    ),
}


@pytest.mark.parametrize(("observation", "expected", "sentence"), TABLE.values(), ids=TABLE.keys())
def test_pulling(observation: Observation, expected: list[str], sentence: str | None) -> None:
    made = plan(observation)
    assert [act for act in acts(made) if act != "ensure 1"] == expected
    rollout = made.status.rollout
    assert (None if rollout is None else rollout.message) == sentence


def test_a_person_hears_of_an_image_that_cannot_be_pulled_for_long() -> None:
    fresh = seen(replace(FAILED, since=NOW - 299_000), previous=rolling())
    assert said(plan(fresh), ConditionType.DEGRADED)[0] is ConditionStatus.FALSE, "the rollout waited for other things"
    late = seen(replace(FAILED, since=NOW - 300_000), previous=rolling())
    assert said(plan(late), ConditionType.DEGRADED) == (ConditionStatus.TRUE, "RolloutStalled")
    assert message(plan(late), ConditionType.DEGRADED).startswith(NO_IMAGE)
    busy = seen(pulled(Pull.PULLING, seconds=400), previous=rolling())
    assert said(plan(busy), ConditionType.DEGRADED)[0] is ConditionStatus.FALSE, "an image may be large"


def test_what_pulls_is_not_dropped_while_the_shards_of_another_pod_are_away() -> None:
    assert acts(plan(seen(pulled(Pull.PULLING), ready=4))) == ["ensure 1"]


def test_a_replacement_whose_image_was_not_pulled_says_so() -> None:
    made = plan(seen(replace(REFUSED, since=NOW - 30_000)))
    (deletion,) = [action for action in made.actions if type(action).__name__ == "DeletePods"]
    assert deletion.unpulled == "Image x:1 was not pulled to node n1 ahead (exceeded quota)."  # type: ignore[union-attr]


def test_the_longest_names_fit_the_status() -> None:
    image, node = "i" * 1024, "n" * 253
    found = pulled(Pull.NO_IMAGE, node=node, image=image, seconds=400, problem="ErrImagePull: " + "e" * 300)
    generation = replace(gen(ONE, old=(0, 1), image="w:1", node=node), image=image)
    made = plan(observe(EIGHT, HONOURED, generation, previous=rolling(), pulls=(found,)))
    assert said(made, ConditionType.DEGRADED) == (ConditionStatus.TRUE, "RolloutStalled")
