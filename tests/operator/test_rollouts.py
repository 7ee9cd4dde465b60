"""Rollouts by the loop: a changed template reaches pods one by one, and a mistake in it can be mended."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from gateway_operator.cluster.port import POD, Manifest
from gateway_operator.planning.observed import Life
from gateway_operator.reconcile.lives import life_of
from gateway_operator.reconcile.rates import EventRates

from shard_runtime.contract import ShardState, ShardStatus

if TYPE_CHECKING:
    from conftest import World


def pods(world: World) -> dict[str, tuple[str, str]]:
    """Uid and environment of each pod by name."""
    return {
        pod["metadata"]["name"]: (
            pod["metadata"]["uid"],
            ",".join(variable.get("value", "") for variable in pod["spec"]["containers"][0]["env"]).strip(","),
        )
        for pod in world.store.select(POD, None, {})
    }


async def test_a_changed_template_reaches_the_pods_one_by_one(world: World) -> None:
    world.apply()
    reconciler = world.operator().fleet.reconciler
    await world.passes(reconciler, until=lambda: world.condition("Ready")[0] == "True")
    before = pods(world)
    gone: list[str] = []

    def hear(manifest: Manifest) -> None:
        metadata = manifest["metadata"]
        if manifest["kind"] == "Pod" and metadata.get("deletionTimestamp") and metadata["name"] not in gone:
            gone.append(metadata["name"])
            others = [pod for pod in world.pods.values() if f"bot-g1-{pod.index}" != metadata["name"]]
            assert [pod.ready for pod in others] == [True], "the other pod is there and READY"

    world.store.subscribe(hear)
    world.apply(template={"env": [{"name": "A", "value": "1"}]})
    assert await world.passes(reconciler, until=lambda: "rollout" in world.gateway()["status"])
    done = await world.passes(
        reconciler, until=lambda: len(gone) == 2 and "rollout" not in world.gateway()["status"], seconds=20
    )
    assert done
    assert gone == ["bot-g1-0", "bot-g1-1"]
    after = pods(world)
    assert [value for _, value in after.values()] == ["1", "1"]
    assert {uid for uid, _ in after.values()}.isdisjoint({uid for uid, _ in before.values()})
    assert world.generations() == [1]
    record = world.record()
    assert record is not None
    assert record.epoch == 1, "no generation was begun"
    settled = world.versions()
    await world.passes(reconciler, seconds=50)
    assert {key: version for key, version in world.versions().items() if key[0] != "DiscordGateway"} == {
        key: version for key, version in settled.items() if key[0] != "DiscordGateway"
    }


async def test_a_changed_presence_restarts_no_pod(world: World) -> None:
    world.apply()
    reconciler = world.operator().fleet.reconciler
    await world.passes(reconciler, until=lambda: world.condition("Ready")[0] == "True")
    before = pods(world)
    world.apply(identify={"presence": {"status": "idle"}})
    await world.passes(reconciler, seconds=30)
    assert pods(world) == before


async def test_a_first_generation_whose_image_is_missing_starts_once_the_spec_names_one_that_is_not(
    world: World,
) -> None:
    world.missing_images.add("typo:1")
    world.apply(template={"image": "typo:1"})
    reconciler = world.operator().fleet.reconciler
    await world.passes(reconciler, seconds=30)
    status, reason, message = world.condition("Ready")
    assert (status, reason) == ("False", "PodsNotRunning")
    assert message == "Pods 0, 1 of generation 1 do not run: its image typo:1 cannot be pulled."
    world.apply(template={"image": "right:1"})
    assert await world.passes(reconciler, until=lambda: world.condition("Ready")[0] == "True", seconds=20)
    assert world.generations() == [1]


async def test_an_image_that_is_missing_takes_one_pod_and_no_more(world: World) -> None:
    world.apply(reshard={"overlapSeconds": 4, "stallSeconds": 20})
    reconciler = world.operator().fleet.reconciler
    await world.passes(reconciler, until=lambda: world.condition("Ready")[0] == "True")
    world.missing_images.add("typo:1")
    world.apply(template={"image": "typo:1"}, reshard={"overlapSeconds": 4, "stallSeconds": 20})
    await world.passes(reconciler, seconds=40)
    assert sum(pod.ready for pod in world.pods.values()) == 1
    assert world.condition("Degraded")[:2] == ("True", "RolloutStalled")
    world.apply(template={"image": "right:1"}, reshard={"overlapSeconds": 4, "stallSeconds": 20})
    assert await world.passes(reconciler, until=lambda: world.condition("Ready")[0] == "True", seconds=40)
    done = await world.passes(reconciler, until=lambda: "rollout" not in world.gateway()["status"], seconds=20)
    assert done
    assert world.condition("Degraded")[0] == "False"


def container(**status: object) -> Manifest:
    return {"status": {"phase": "Running", "containerStatuses": [{"name": "gateway", "image": "x:1", **status}]}}


LIVES = {
    "nothing is known": ({}, Life.UNSTARTED, None),
    "no node": (
        {
            "status": {
                "phase": "Pending",
                "conditions": [
                    {"type": "PodScheduled", "status": "False", "message": "0/1 nodes are available: 1 too small.\n"}
                ],
            }
        },
        Life.UNSTARTED,
        "no node takes it (0/1 nodes are available: 1 too small)",
    ),
    "being made": (
        container(restartCount=0, state={"waiting": {"reason": "ContainerCreating"}}),
        Life.UNSTARTED,
        None,
    ),
    "cannot be pulled": (
        container(restartCount=0, state={"waiting": {"reason": "ErrImagePull", "message": "a long story"}}),
        Life.UNSTARTED,
        "its image x:1 cannot be pulled",
    ),
    "cannot be made": (
        container(
            restartCount=0,
            state={"waiting": {"reason": "CreateContainerConfigError", "message": 'secret "bot" not found'}},
        ),
        Life.UNSTARTED,
        'its container cannot be made (secret "bot" not found)',
    ),
    "runs": (container(restartCount=9, started=True, state={"running": {}}), Life.RUNNING, None),
    "ended once": (
        container(restartCount=1, state={"waiting": {"reason": "CrashLoopBackOff"}}),
        Life.RUNNING,
        None,
    ),
    "ended for the first time just now": (
        container(restartCount=0, state={"terminated": {"exitCode": 1}}),
        Life.RUNNING,
        None,
    ),
    "ends again and again": (
        container(
            restartCount=3,
            state={"waiting": {"reason": "CrashLoopBackOff"}},
            lastState={"terminated": {"exitCode": 2}},
        ),
        Life.FAILING,
        "its process ends again and again, last with exit code 2",
    ),
}


@pytest.mark.parametrize(("pod", "life", "trouble"), LIVES.values(), ids=LIVES.keys())
def test_what_a_node_says_of_a_pod(pod: Manifest, life: Life, trouble: str | None) -> None:
    assert life_of(pod) == (life, trouble)


def test_rates_rise_at_once_and_fall_slowly() -> None:
    rates = EventRates()

    def look(now: float, sequence: int | None) -> float | None:
        shard = ShardStatus(id=3, state=ShardState.READY, sequence=sequence)
        return rates.note(now, 1, [shard]).get(3)

    assert look(0.0, 100) is None, "one look is no rate"
    assert look(0.5, 900) is None, "nor are two within a moment"
    assert look(2.0, 120) == 10.0
    assert look(4.0, 320) == 100.0
    assert look(6.0, 320) == 80.0
    assert look(7.0, 5) == 80.0, "a new session counts from 1"
    assert look(8.0, 205) == 200.0
    assert look(9.0, None) is None
    assert look(10.0, 300) is None
    rates.keep([2])
    assert look(12.0, 400) is None, "forgotten with its generation"
