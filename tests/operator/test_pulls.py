"""A changed image is pulled to a pod's node before the pod is replaced, by the loop and in a cluster with nodes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from gateway_operator.cluster.port import GATEWAY, POD, Kind, Manifest, RefusedError
from gateway_operator.cluster.processes.cluster import StoreCluster
from gateway_operator.planning.observed import Pull
from gateway_operator.reconcile.pulls import state_of
from gateway_operator.reconcile.reconciler import Reconciler
from gateway_operator.resources.pulling import PULL_LABEL

if TYPE_CHECKING:
    from conftest import World

FAST: dict[str, Any] = {"overlapSeconds": 4, "stallSeconds": 20}


def pulls(world: World) -> list[Manifest]:
    return world.store.select(POD, None, {PULL_LABEL: "bot"})


def images(world: World) -> set[str]:
    """Of the pods that hold shards."""
    pods = world.store.select(POD, None, {"discordgateway.dev/gateway": "bot"})
    return {pod["spec"]["containers"][0]["image"] for pod in pods}


def rollout(world: World) -> str:
    """What is said of the rollout; empty when there is none."""
    return str(world.gateway()["status"].get("rollout", {}).get("message", ""))


async def up(world: World, cluster: StoreCluster | None = None) -> Reconciler:
    """A READY gateway, its pods on one node each."""
    world.nodes = True
    world.apply(reshard=FAST)
    reconciler = world.operator(cluster).fleet.reconciler
    assert await world.passes(reconciler, until=lambda: world.condition("Ready")[0] == "True")
    return reconciler


async def test_each_node_has_the_image_before_its_pod_is_replaced(world: World) -> None:
    reconciler = await up(world)
    before = world.pod_uids()
    story: list[str] = []

    def hear(manifest: Manifest) -> None:
        metadata = manifest["metadata"]
        if manifest["kind"] != "Pod":
            return
        labels, deleted = metadata["labels"], bool(metadata.get("deletionTimestamp"))
        what = "pull" if PULL_LABEL in labels else "pod"
        entry = f"{what} on {manifest['spec'].get('nodeName')} {'deleted' if deleted else 'there'}"
        if entry not in story:
            story.append(entry)

    world.store.subscribe(hear)
    world.apply(reshard=FAST, template={"image": "next:1"})
    assert await world.passes(reconciler, until=lambda: images(world) == {"next:1"})
    assert await world.passes(reconciler, until=lambda: "rollout" not in world.gateway()["status"])
    assert story.index("pull on node-0 there") < story.index("pod on node-0 deleted")
    assert story.index("pod on node-0 deleted") < story.index("pull on node-1 there")
    assert story.index("pull on node-1 there") < story.index("pod on node-1 deleted")
    assert set(world.pod_uids().values()).isdisjoint(before.values())
    assert pulls(world) == []


async def test_an_image_that_cannot_be_pulled_takes_no_pod_and_is_mended(world: World) -> None:
    reconciler = await up(world)
    before = world.pod_uids()
    world.missing_images.add("typo:1")
    world.apply(reshard=FAST, template={"image": "typo:1"})
    await world.passes(reconciler, seconds=40)
    assert world.pod_uids() == before
    assert world.condition("Ready")[0] == "True"
    status, reason, message = world.condition("Degraded")
    assert (status, reason) == ("True", "RolloutStalled")
    assert message.startswith("Image typo:1 cannot be pulled to node node-0 (ErrImagePull: no such image)")
    written = world.gateway()["metadata"]["resourceVersion"]
    await world.passes(reconciler, seconds=30)
    assert world.gateway()["metadata"]["resourceVersion"] == written, "the same trouble is said once"

    world.apply(reshard=FAST, template={"image": "right:1"})
    assert await world.passes(reconciler, until=lambda: images(world) == {"right:1"})
    assert await world.passes(reconciler, until=lambda: "rollout" not in world.gateway()["status"])
    assert world.condition("Degraded")[0] == "False"
    assert pulls(world) == []


async def test_an_image_that_is_taken_back_leaves_nothing_behind(world: World) -> None:
    reconciler = await up(world)
    before = world.pod_uids()
    world.missing_images.add("typo:1")
    world.apply(reshard=FAST, template={"image": "typo:1"})
    assert await world.passes(reconciler, until=lambda: "cannot be pulled" in rollout(world), seconds=10)
    world.apply(reshard=FAST)
    assert await world.passes(reconciler, until=lambda: "rollout" not in world.gateway()["status"], seconds=10)
    await world.passes(reconciler, seconds=2)
    assert pulls(world) == []
    assert world.pod_uids() == before


async def test_a_new_operator_finds_what_the_one_before_left(world: World) -> None:
    reconciler = await up(world)
    world.missing_images.add("typo:1")
    world.apply(reshard=FAST, template={"image": "typo:1"})
    assert await world.passes(reconciler, until=lambda: "cannot be pulled" in rollout(world), seconds=10)
    (found,) = pulls(world)
    heir = world.operator().fleet.reconciler
    await world.passes(heir, seconds=3)
    assert [pod["metadata"]["uid"] for pod in pulls(world)] == [found["metadata"]["uid"]]
    # taken back while nobody looked, and the status was lost too
    world.apply(reshard=FAST)
    world.store.change(GATEWAY, "default", "bot", lambda gateway: gateway.pop("status"))
    last = world.operator().fleet.reconciler
    await world.passes(last, seconds=3)
    assert pulls(world) == []


async def test_a_paused_rollout_pulls_nothing(world: World) -> None:
    reconciler = await up(world)
    world.missing_images.add("typo:1")
    world.apply(reshard=FAST, template={"image": "typo:1"})
    assert await world.passes(reconciler, until=lambda: "cannot be pulled" in rollout(world), seconds=10)
    world.apply(reshard=FAST, template={"image": "typo:1"}, paused=True)
    await world.passes(reconciler, seconds=5)
    assert pulls(world) == []


async def test_a_deleted_gateway_takes_along_what_pulls_for_it(world: World) -> None:
    reconciler = await up(world)
    world.missing_images.add("typo:1")
    world.apply(reshard=FAST, template={"image": "typo:1"})
    assert await world.passes(reconciler, until=lambda: "cannot be pulled" in rollout(world), seconds=10)
    for pod in pulls(world):  # as if the owner reference were lost
        world.store.change(
            POD, "default", pod["metadata"]["name"], lambda found: found["metadata"].pop("ownerReferences")
        )
    await world.operator().fleet.clean_up("default", "bot")
    world.run_nodes()
    assert pulls(world) == []


async def test_a_gateway_at_rest_costs_no_call_for_pods_that_pull(world: World) -> None:
    class Counting(StoreCluster):
        looked = 0

        async def select(self, kind: Kind, namespace: str | None, labels: Any) -> list[Manifest]:
            self.looked += PULL_LABEL in labels
            return await super().select(kind, namespace, labels)

    cluster = Counting(world.store)
    reconciler = await up(world, cluster)
    assert cluster.looked == 1, "the first pass of an operator looks for what another has left"
    await world.passes(reconciler, seconds=100)
    assert cluster.looked == 1


async def test_a_quota_that_takes_no_more_pods_holds_the_rollout_up_only_for_a_while(world: World) -> None:
    class Full(StoreCluster):
        events: list[tuple[str, str]]
        tried = 0

        async def create(self, manifest: Manifest) -> Manifest:
            if PULL_LABEL in (manifest["metadata"].get("labels") or {}):
                self.tried += 1
                raise RefusedError('post pods: pods "bot-pull" is forbidden: exceeded quota: pods')
            return await super().create(manifest)

        async def emit_event(self, *, regarding: Manifest, reason: str, message: str, warning: bool = False) -> None:
            self.events.append((reason, message))

    cluster = Full(world.store)
    cluster.events = []
    reconciler = await up(world, cluster)
    before = world.pod_uids()
    world.apply(reshard=FAST, template={"image": "next:1"})
    assert await world.passes(reconciler, until=lambda: "exceeded quota" in rollout(world), seconds=5)
    await world.passes(reconciler, seconds=20)
    assert world.pod_uids() == before
    assert cluster.tried > 5
    done = await world.passes(
        reconciler,
        until=lambda: images(world) == {"next:1"} and "rollout" not in world.gateway()["status"],
        seconds=90,
    )
    assert done
    told = [message for reason, message in cluster.events if reason == "ImageNotPulledAhead"]
    assert len(told) == 1, "of a reason there is one Event in five minutes"
    assert told[0].startswith("Image next:1 was not pulled to node node-0 ahead (")
    assert "exceeded quota" in told[0]


def pod(**status: Any) -> Manifest:
    return {"status": status}


def waiting(reason: str, message: str | None = None) -> Manifest:
    said = {"reason": reason} if message is None else {"reason": reason, "message": message}
    return pod(phase="Pending", containerStatuses=[{"name": "pull", "state": {"waiting": said}}])


STATES = {
    "the kubelet has not seen it": ({}, Pull.PULLING, None),
    "no container yet": (pod(phase="Pending"), Pull.PULLING, None),
    "being made, or being pulled": (waiting("ContainerCreating"), Pull.PULLING, None),
    "something unknown": (waiting("SomethingNew", "?"), Pull.PULLING, None),
    "runs": (pod(phase="Running", containerStatuses=[{"state": {"running": {}}}]), Pull.DONE, None),
    "ended well": (
        pod(phase="Succeeded", containerStatuses=[{"state": {"terminated": {"exitCode": 0}}}]),
        Pull.DONE,
        None,
    ),
    "ended badly: there is an image, and no python in it": (
        pod(phase="Failed", containerStatuses=[{"state": {"terminated": {"exitCode": 128, "reason": "StartError"}}}]),
        Pull.DONE,
        None,
    ),
    "the image is there, and the container cannot be made": (waiting("CreateContainerError", "x"), Pull.DONE, None),
    "not found": (
        waiting("ErrImagePull", "rpc error:\n not found."),
        Pull.NO_IMAGE,
        "ErrImagePull: rpc error: not found",
    ),
    "no name of an image": (waiting("InvalidImageName"), Pull.NO_IMAGE, "InvalidImageName"),
    "never to be pulled, and not there": (waiting("ErrImageNeverPull", "x"), Pull.NO_IMAGE, "ErrImageNeverPull: x"),
    "backs off": (waiting("ImagePullBackOff", "Back-off"), Pull.NO_IMAGE, "ImagePullBackOff: Back-off"),
    "the node has no room": (
        pod(phase="Failed", reason="OutOfpods", message="Node didn't have enough resource: pods"),
        Pull.IMPOSSIBLE,
        "OutOfpods: Node didn't have enough resource: pods",
    ),
    "evicted after it ran": (
        pod(
            phase="Failed",
            reason="Evicted",
            message="The node was low on resource: memory.",
            containerStatuses=[{"state": {"terminated": {"reason": "ContainerStatusUnknown", "exitCode": 137}}}],
        ),
        Pull.IMPOSSIBLE,
        "Evicted: The node was low on resource: memory",
    ),
    "nobody knows how it ended": (
        pod(
            phase="Failed",
            containerStatuses=[{"state": {"terminated": {"reason": "ContainerStatusUnknown", "exitCode": 137}}}],
        ),
        Pull.IMPOSSIBLE,
        "ContainerStatusUnknown",
    ),
}


@pytest.mark.parametrize(("pod", "state", "problem"), STATES.values(), ids=STATES.keys())
def test_what_a_node_says_of_a_pull(pod: Manifest, state: Pull, problem: str | None) -> None:
    found = state_of(pod)
    assert found == (state, problem, problem is not None and problem.startswith("ImagePullBackOff"))
