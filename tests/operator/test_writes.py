"""What is written to the API server, counted: nothing at rest but gauges, and every foreign edit undone."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import pytest
from gateway_operator.cluster.port import (
    CONFIG_MAP,
    KINDS,
    POD,
    POD_DISRUPTION_BUDGET,
    SERVICE,
    STATEFUL_SET,
    Kind,
    Manifest,
)
from gateway_operator.cluster.processes.cluster import StoreCluster

if TYPE_CHECKING:
    from conftest import World


class Counting(StoreCluster):
    """Counts every call that the API server would log as a write, whether or not it changes anything."""

    def __init__(self, world: World) -> None:
        super().__init__(world.store)
        self.writes: Counter[str] = Counter()

    async def apply(self, manifest: Manifest) -> Manifest:
        self.writes["apply"] += 1
        return await super().apply(manifest)

    async def create(self, manifest: Manifest) -> Manifest:
        self.writes["create"] += 1
        return await super().create(manifest)

    async def replace(self, manifest: Manifest) -> Manifest:
        self.writes["replace"] += 1
        return await super().replace(manifest)

    async def delete(self, kind: Kind, namespace: str, name: str, *, uid: str | None = None) -> None:
        self.writes["delete"] += 1
        await super().delete(kind, namespace, name, uid=uid)

    async def update_status(self, namespace: str, name: str, status: Manifest) -> None:
        self.writes["status"] += 1
        await super().update_status(namespace, name, status)

    async def touch_pod(self, namespace: str, name: str, annotation: str, value: str) -> None:
        self.writes["touch"] += 1
        await super().touch_pod(namespace, name, annotation, value)

    async def emit_event(self, *, regarding: Manifest, reason: str, message: str, warning: bool = False) -> None:
        self.writes["event"] += 1


async def test_ten_minutes_of_an_unchanged_gateway_are_ten_writes_at_most(world: World) -> None:
    world.apply()
    cluster = Counting(world)
    reconciler = world.operator(cluster).fleet.reconciler
    await world.passes(reconciler, until=lambda: world.condition("Ready")[0] == "True")
    await world.passes(reconciler, seconds=70)
    cluster.writes.clear()
    await world.passes(reconciler, seconds=600)
    assert not cluster.writes, "nothing moved"
    for _ in range(600):
        world.remaining -= 1
        world.guilds += 4
        await world.passes(reconciler, seconds=1)
    assert set(cluster.writes) == {"status"}
    assert cluster.writes["status"] <= 10


async def test_a_new_operator_applies_everything_once(world: World) -> None:
    world.apply()
    first = world.operator().fleet.reconciler
    await world.passes(first, until=lambda: world.condition("Ready")[0] == "True")
    before = {key: version for key, version in world.versions().items() if key[0] != "DiscordGateway"}
    cluster = Counting(world)
    second = world.operator(cluster).fleet.reconciler
    await world.passes(second, seconds=120)
    assert cluster.writes["apply"] == 7, (
        "two Services, a PodDisruptionBudget, a NetworkPolicy, two ConfigMaps and a StatefulSet"
    )
    after = {key: version for key, version in world.versions().items() if key[0] != "DiscordGateway"}
    assert after == before


@pytest.mark.parametrize("kind", ["Service", "PodDisruptionBudget", "NetworkPolicy", "ConfigMap", "StatefulSet"])
async def test_a_foreign_edit_is_undone(world: World, kind: str) -> None:
    world.apply()
    cluster = Counting(world)
    reconciler = world.operator(cluster).fleet.reconciler
    await world.passes(reconciler, until=lambda: world.condition("Ready")[0] == "True")
    name = {"ConfigMap": "bot-forward", "StatefulSet": "bot-g1"}.get(kind, "bot")
    found = world.store.get(KINDS[kind], "default", name)
    assert found is not None

    def edit(manifest: Manifest) -> None:
        if "data" in manifest:
            manifest["data"]["forward.json"] = "{}"
        elif kind == "StatefulSet":
            manifest["spec"]["template"]["spec"]["containers"][0]["image"] = "other:1"
        else:
            manifest["spec"]["selector"] = {"mine": "now"}

    world.store.change(KINDS[kind], "default", name, edit)
    cluster.writes.clear()
    await world.passes(reconciler, seconds=40)
    after = world.store.get(KINDS[kind], "default", name)
    assert after is not None
    assert (after.get("spec"), after.get("data")) == (found.get("spec"), found.get("data"))
    assert cluster.writes["apply"] == 1


async def test_policies_that_are_switched_off_are_removed_and_other_peoples_stay(world: World) -> None:
    world.apply()
    reconciler = world.operator().fleet.reconciler
    await world.passes(reconciler, until=lambda: world.condition("Ready")[0] == "True")
    theirs = {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": {"name": "more", "namespace": "default", "labels": {"discordgateway.dev/gateway": "bot"}},
        "spec": {"podSelector": {}},
    }
    world.store.apply(theirs)
    world.network_policies = False
    await world.passes(reconciler, seconds=5)
    left = [each["metadata"]["name"] for each in world.store.select(KINDS["NetworkPolicy"], None, {})]
    assert left == ["more"]


async def test_a_controllers_status_is_no_foreign_edit(world: World) -> None:
    world.apply()
    cluster = Counting(world)
    reconciler = world.operator(cluster).fleet.reconciler
    await world.passes(reconciler, until=lambda: world.condition("Ready")[0] == "True")
    cluster.writes.clear()

    def show(manifest: Manifest) -> None:
        manifest["status"] = {"observedGeneration": 1, "readyReplicas": 2}

    world.store.change(STATEFUL_SET, "default", "bot-g1", show)
    await world.passes(reconciler, seconds=40)
    assert not cluster.writes["apply"]


async def test_what_a_deleted_object_held_is_made_again(world: World) -> None:
    world.apply()
    reconciler = world.operator().fleet.reconciler
    await world.passes(reconciler, until=lambda: world.condition("Ready")[0] == "True")
    for kind, name in ((SERVICE, "bot-pods"), (POD_DISRUPTION_BUDGET, "bot"), (CONFIG_MAP, "bot-forward")):
        world.store.delete(kind, "default", name)
        await world.passes(reconciler, seconds=31)
        assert world.store.get(kind, "default", name) is not None


async def test_a_changed_config_leaves_no_old_one_behind_once_no_pod_mounts_it(world: World) -> None:
    def configs() -> list[str]:
        found = world.store.select(CONFIG_MAP, "default", {})
        return [name for each in found if "-config-" in (name := each["metadata"]["name"])]

    world.apply()
    reconciler = world.operator().fleet.reconciler
    await world.passes(reconciler, until=lambda: world.condition("Ready")[0] == "True")
    (before,) = configs()
    world.apply(apiURL="http://discord.test/api/v11")
    assert await world.passes(reconciler, until=lambda: len(configs()) == 2, seconds=10)
    assert before in configs(), "pods mount it until they are replaced"
    assert await world.passes(reconciler, until=lambda: len(configs()) == 1, seconds=40)
    assert configs() != [before]


def inputs(world: World) -> list[str | None]:
    pods = world.store.select(POD, "default", {})
    return [(pod["metadata"].get("annotations") or {}).get("discordgateway.dev/inputs") for pod in pods]


async def test_pods_are_touched_when_what_they_mount_has_changed_and_only_then(world: World) -> None:
    world.apply()
    cluster = Counting(world)
    reconciler = world.operator(cluster).fleet.reconciler
    await world.passes(reconciler, until=lambda: world.condition("Ready")[0] == "True")
    await world.passes(reconciler, seconds=3)
    (first, second) = inputs(world)
    assert first == second is not None
    cluster.writes.clear()
    await world.passes(reconciler, seconds=40)
    assert not cluster.writes["touch"]

    world.apply(forward={"url": "http://receiver.test/other"})
    await world.passes(reconciler, seconds=31)
    assert cluster.writes["touch"] == 2
    assert first not in inputs(world)
    before = inputs(world)

    def rotate(secret: Manifest) -> None:
        secret["data"]["old"] = secret["data"]["token"]

    world.store.change(KINDS["Secret"], "default", "bot", rotate)
    await world.passes(reconciler, seconds=31)
    assert cluster.writes["touch"] == 4
    assert not set(before) & set(inputs(world))
