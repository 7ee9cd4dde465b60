"""Events by the loop: what happens is told once, and what flaps is not told for ever."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway_operator.cluster.port import Manifest
from gateway_operator.cluster.processes.cluster import StoreCluster

if TYPE_CHECKING:
    from conftest import World


class Listening(StoreCluster):
    def __init__(self, world: World) -> None:
        super().__init__(world.store)
        self.told: list[str] = []

    async def emit_event(self, *, regarding: Manifest, reason: str, message: str, warning: bool = False) -> None:
        assert regarding["kind"] == "DiscordGateway"
        assert message
        self.told.append(f"{'!' if warning else ''}{reason}")


async def test_a_life_in_events(world: World) -> None:
    cluster = Listening(world)
    world.apply()
    reconciler = world.operator(cluster).fleet.reconciler
    await world.passes(reconciler, until=lambda: world.condition("Ready")[0] == "True")
    world.apply(shards={"count": 8, "perWorker": 1, "workersPerPod": 2})
    assert await world.passes(reconciler, until=lambda: world.generations() == [2])
    assert await world.passes(reconciler, until=lambda: world.condition("Resharding")[0] == "False")
    world.apply(shards={"count": 8, "perWorker": 1, "workersPerPod": 2}, template={"image": "new:2"})
    assert await world.passes(reconciler, until=lambda: "rollout" in world.gateway()["status"])
    assert await world.passes(reconciler, until=lambda: "rollout" not in world.gateway()["status"])
    await world.passes(reconciler, seconds=60)
    assert cluster.told == [
        "GenerationStarted",
        "Ready",
        "ReshardStarted",
        "ReshardCommitted",
        "GenerationRetired",
        "ReshardCompleted",
        "RolloutStarted",
        "RolloutCompleted",
    ]


async def test_a_receiver_that_comes_and_goes_is_told_of_now_and_then(world: World) -> None:
    cluster = Listening(world)
    world.apply()
    reconciler = world.operator(cluster).fleet.reconciler
    await world.passes(reconciler, until=lambda: world.condition("Ready")[0] == "True")
    cluster.told.clear()
    for second in range(600):
        for pod in world.pods.values():
            pod.receiver_reachable = second % 2 == 0
        await reconciler.pass_over("default", "bot")
        world.clock.seconds += 1
    assert sorted(cluster.told) == ["!ReceiverUnreachable"] * 2 + ["ReceiverReachable"] * 2


async def test_a_new_operator_tells_nothing_twice(world: World) -> None:
    world.apply(tokenSecretRef={"name": "bot", "key": "other"})
    await world.passes(world.operator().fleet.reconciler, seconds=5)
    assert world.condition("TokenValid")[0] == "False"
    cluster = Listening(world)
    await world.passes(world.operator(cluster).fleet.reconciler, seconds=40)
    assert cluster.told == []
