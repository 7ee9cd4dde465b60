"""A CustomResourceDefinition that is older than the operator: what it knows is written, and nothing hangs."""

from __future__ import annotations

import copy
import logging
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import pytest
from gateway_operator.api.crd import structural
from gateway_operator.api.status import Status
from gateway_operator.cluster.port import Manifest, RefusedError, UncertainError
from gateway_operator.cluster.processes.cluster import StoreCluster
from gateway_operator.reconcile.statuses import LOOK_SECONDS

if TYPE_CHECKING:
    from conftest import World

WHOLE = structural(Status, defaults=False)


def old_schema() -> Manifest:
    """Without the rollout, without a required and a plain field of a reshard, without a step, without a condition."""
    schema = copy.deepcopy(WHOLE)
    fields = schema["properties"]
    del fields["rollout"]
    del fields["history"]["items"]["properties"]["identifyLimitSeconds"]
    fields["reshard"]["properties"]["step"]["enum"].remove("Retiring")
    fields["conditions"]["items"]["properties"]["type"]["enum"].remove("ReceiverReachable")
    return schema


class OldDefinition(StoreCluster):
    """Refuses what its schema does not know, as an API server does."""

    def __init__(self, world: World, schema: Manifest | None, *, readable: bool = True) -> None:
        super().__init__(world.store)
        self.schema = schema
        self.readable = readable
        self.refused = 0

    async def status_schema(self) -> Manifest | None:
        if not self.readable:
            raise RefusedError("get /openapi/v3: forbidden")
        return self.schema

    async def update_status(self, namespace: str, name: str, status: Manifest) -> None:
        if self.schema is None:
            self.refused += 1
            raise RefusedError("nothing is taken")
        try:
            check(status, self.schema, ".status")
        except (UncertainError, RefusedError):
            self.refused += 1
            raise
        await super().update_status(namespace, name, status)


def check(value: Any, schema: Mapping[str, Any], path: str) -> None:
    if "enum" in schema and value not in schema["enum"]:
        raise RefusedError(f"{path}: Unsupported value")
    if isinstance(value, dict) and "properties" in schema:
        for name in schema.get("required", ()):
            if name not in value:
                raise RefusedError(f"{path}.{name}: Required value")
        for name, inner in value.items():
            if name not in schema["properties"]:
                raise UncertainError(f"{path}.{name}: field not declared in schema")  # a server-side apply answers 500
            check(inner, schema["properties"][name], f"{path}.{name}")
    if isinstance(value, list):
        for inner in value:
            check(inner, schema["items"], f"{path}[]")


async def reshard(world: World, cluster: OldDefinition) -> bool:
    """Whether a reshard comes to its end."""
    world.apply()
    reconciler = world.operator(cluster).fleet.reconciler
    assert await world.passes(reconciler, until=lambda: world.generations() == [1], seconds=30)
    await world.passes(reconciler, seconds=10)
    world.apply(shards={"count": 8, "perWorker": 1, "workersPerPod": 2})
    return await world.passes(reconciler, until=lambda: world.generations() == [2], seconds=60)


async def test_what_an_old_definition_knows_is_written_and_the_rest_left_out(world: World) -> None:
    cluster = OldDefinition(world, old_schema())
    world.apply()
    reconciler = world.operator(cluster).fleet.reconciler
    await world.passes(reconciler, seconds=20)
    status, reason, message = world.condition("Degraded")
    assert (status, reason) == ("True", "CRDOutdated")
    for lacks in ("status.conditions[].type=ReceiverReachable", "status.reshard.step=Retiring", "status.rollout"):
        assert lacks in message
    assert "crds/discordgateways.yaml" in message
    written = world.gateway()["status"]
    assert (written["shards"], written["readyShards"]) == (4, 4)
    assert "ReceiverReachable" not in {condition["type"] for condition in written["conditions"]}
    assert cluster.refused == 1, "once, and then it is known"


async def test_a_reshard_under_an_old_definition_comes_to_its_end(world: World) -> None:
    cluster = OldDefinition(world, old_schema())
    assert await reshard(world, cluster)
    assert cluster.refused == 1


async def test_once_the_definition_is_applied_all_is_written(world: World) -> None:
    cluster = OldDefinition(world, old_schema())
    world.apply()
    reconciler = world.operator(cluster).fleet.reconciler
    await world.passes(reconciler, seconds=10)
    cluster.schema = WHOLE
    world.remaining -= 1  # something is written once a minute at least
    await world.passes(reconciler, seconds=2 * LOOK_SECONDS + 30)
    assert world.condition("Degraded")[0] == "False"
    assert world.condition("ReceiverReachable")[0] == "True"


@pytest.mark.parametrize("readable", [True, False])
async def test_nothing_hangs_where_no_status_can_be_written_at_all(world: World, readable: bool) -> None:
    assert await reshard(world, OldDefinition(world, None, readable=readable))


async def test_it_is_said_at_the_start(world: World, caplog: pytest.LogCaptureFixture) -> None:
    plane = world.operator(OldDefinition(world, old_schema()))
    with caplog.at_level(logging.ERROR):
        await plane.statuses.look()
        await plane.statuses.look()
    (said,) = [record.getMessage() for record in caplog.records]
    assert said.startswith("The CustomResourceDefinition discordgateways.discordgateway.dev is older than the operator")


async def test_the_present_definition_lacks_nothing(world: World) -> None:
    plane = world.operator(OldDefinition(world, WHOLE))
    await plane.statuses.look()
    assert plane.statuses.problem is None


async def test_an_api_server_that_is_away_is_not_taken_for_an_old_definition(world: World) -> None:
    class Away(StoreCluster):
        calls_made = 0

        async def update_status(self, namespace: str, name: str, status: Manifest) -> None:
            self.calls_made += 1
            raise UncertainError("no answer within 10 s")

    world.apply()
    cluster = Away(world.store)
    with pytest.raises(UncertainError):
        await world.operator(cluster).fleet.reconciler.pass_over("default", "bot")
    assert cluster.calls_made == 1
