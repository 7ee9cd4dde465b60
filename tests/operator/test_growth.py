"""A bot that grows: resharded by the loop when the budget allows, held for a person, aborted by a patch."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gateway_operator.cluster.port import STATEFUL_SET
from gateway_operator.reconcile.reconciler import Reconciler

if TYPE_CHECKING:
    from conftest import World

# 4 shards for 80 guilds: at 64 more are asked for.
AUTO: dict[str, Any] = {"auto": True, "guildsPerShard": 20, "overlapSeconds": 4, "cooldownSeconds": 100}


async def started(world: World, **reshard: Any) -> Reconciler:
    world.apply(reshard={**AUTO, **reshard})
    reconciler = world.operator().fleet.reconciler
    assert await world.passes(reconciler, until=lambda: world.condition("Ready")[0] == "True")
    return reconciler


async def test_a_bot_that_grows_is_resharded_once(world: World) -> None:
    reconciler = await started(world)
    await world.passes(reconciler, seconds=120)
    assert world.generations() == [1]
    assert world.gateway()["status"]["utilisation"] == 50
    world.guilds = 64
    assert await world.passes(reconciler, until=lambda: world.generations() == [2], seconds=120)
    assert await world.passes(reconciler, until=lambda: "reshard" not in world.gateway()["status"])
    status = world.gateway()["status"]
    assert (status["shards"], status["capacity"]) == (8, 160), "64 guilds twice over, at 80 % of 20"
    (past,) = status["history"]
    assert (past["outcome"], past["reason"], past["from"], past["to"]) == ("Completed", "Automatic", 4, 8)
    assert world.gateway()["spec"]["shards"]["count"] == 4, "the spec is the person's"

    world.guilds = 150
    await world.passes(reconciler, seconds=60)
    assert world.generations() == [2], "the cooldown"
    assert world.condition("Resharding")[1] == "Cooldown"
    assert await world.passes(reconciler, until=lambda: world.generations() == [3], seconds=200)


async def test_without_room_in_the_budget_it_waits_and_goes_on_when_there_is(world: World) -> None:
    reconciler = await started(world)
    world.remaining = 107
    await world.passes(reconciler, seconds=70)  # until Discord is asked again
    world.guilds = 64
    await world.passes(reconciler, seconds=100)
    assert world.generations() == [1]
    status, reason, message = world.condition("Resharding")
    assert (status, reason) == ("False", "IdentifyBudget")
    assert message.startswith("8 session starts and a reserve of 100 are needed, 107 of 1000 remain until ")
    world.remaining = 1000
    assert await world.passes(reconciler, until=lambda: world.generations() == [2], seconds=120)


async def test_a_person_promotes_by_a_patch(world: World) -> None:
    reconciler = await started(world, autoPromote=False)
    world.guilds = 64
    held = await world.passes(reconciler, until=lambda: world.condition("Resharding")[1] == "Holding", seconds=120)
    assert held
    await world.passes(reconciler, seconds=100)
    record = world.record()
    assert record is not None
    assert (record.active, record.target, record.target_count) == (1, 2, 8)
    assert "set it to true" in world.condition("Resharding")[2]
    world.apply(reshard={**AUTO, "autoPromote": True})
    assert await world.passes(reconciler, until=lambda: world.generations() == [2])


async def test_a_patch_aborts_and_nothing_is_tried_again(world: World) -> None:
    reconciler = await started(world, autoPromote=False)
    world.guilds = 64
    assert await world.passes(reconciler, until=lambda: world.condition("Resharding")[1] == "Holding", seconds=120)
    world.apply(reshard={**AUTO, "auto": False})
    assert await world.passes(reconciler, until=lambda: world.generations() == [1])
    assert await world.passes(reconciler, until=lambda: world.condition("Resharding")[0] == "False")
    (past,) = world.gateway()["status"]["history"]
    assert past["outcome"] == "Aborted"
    assert past["message"] == "spec.reshard.auto became false before generation 2 took over."
    await world.passes(reconciler, seconds=100)
    (left,) = world.store.select(STATEFUL_SET, None, {})
    assert left["metadata"]["name"] == "bot-g1"
