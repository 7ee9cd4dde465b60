"""The reconcile loop against a cluster in memory: what it makes, what it leaves alone, and what it survives."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import pytest
from gateway_operator.cluster.port import (
    CONFIG_MAP,
    GATEWAY,
    POD,
    SECRET,
    SERVICE,
    STATEFUL_SET,
    ConflictError,
    Kind,
    Manifest,
    RefusedError,
    UncertainError,
)
from gateway_operator.cluster.processes.cluster import StoreCluster
from gateway_operator.planning.actions import EnsureGeneration
from gateway_operator.ports import HttpError, HttpResponse
from gateway_operator.reconcile.reconciler import Reconciler

from shard_runtime.contract import Record

if TYPE_CHECKING:
    from conftest import World


def reconciler_of(world: World, cluster: Any = None) -> Reconciler:
    return world.operator(cluster).fleet.reconciler


class StatusWatch(StoreCluster):
    """Counts writes of the status, also those that change nothing."""

    statuses = 0

    async def update_status(self, namespace: str, name: str, status: Manifest) -> None:
        self.statuses += 1
        await super().update_status(namespace, name, status)


async def test_a_gateway_becomes_a_generation_and_is_then_left_alone(world: World) -> None:
    world.apply()
    cluster = StatusWatch(world.store)
    reconciler = reconciler_of(world, cluster)
    assert await world.passes(reconciler, until=lambda: world.condition("Ready")[0] == "True")
    record = world.record()
    assert record is not None
    assert (record.active, record.target, record.epoch) == (1, None, 1)
    assert world.generations() == [1]
    assert [pod["metadata"]["name"] for pod in world.store.select(POD, None, {})] == ["bot-g1-0", "bot-g1-1"]
    owner = world.gateway()["metadata"]["uid"]
    for kind in (CONFIG_MAP, SERVICE, STATEFUL_SET):
        for manifest in world.store.select(kind, None, {}):
            assert manifest["metadata"]["ownerReferences"][0]["uid"] == owner

    await world.passes(reconciler, seconds=70)  # the gauges' minute
    before, written = world.versions(), cluster.statuses
    await world.passes(reconciler, seconds=300)
    assert world.versions() == before
    assert cluster.statuses == written


async def test_a_new_count_moves_delivery_and_retires_the_old_generation(world: World) -> None:
    world.apply()
    reconciler = reconciler_of(world)
    await world.passes(reconciler, until=lambda: world.condition("Ready")[0] == "True")
    world.apply(shards={"count": 8, "perWorker": 1, "workersPerPod": 2})
    assert await world.passes(reconciler, until=lambda: world.generations() == [1, 2])
    assert world.condition("Resharding")[0] == "True"
    assert await world.passes(reconciler, until=lambda: world.generations() == [2])
    assert await world.passes(reconciler, until=lambda: world.condition("Resharding")[0] == "False")
    status = world.gateway()["status"]
    assert (status["activeGeneration"], status["shards"], status["readyShards"]) == (2, 8, 8)
    assert "targetGeneration" not in status
    assert status["history"][0]["outcome"] == "Completed"
    left = [manifest["metadata"]["name"] for manifest in world.store.select(CONFIG_MAP, None, {})]
    assert len([name for name in left if "-config-" in name]) == 1


class RecordWatch(StoreCluster):
    """Refuses what the record must never suffer, and can make its writes uncertain or too late."""

    def __init__(self, world: World) -> None:
        super().__init__(world.store)
        self.lose_answers = 0
        self.written: list[Record] = []
        self._world = world

    async def apply(self, manifest: Manifest) -> Manifest:
        assert not manifest["metadata"]["name"].endswith("-active"), "the record is never applied"
        return await super().apply(manifest)

    async def create(self, manifest: Manifest) -> Manifest:
        made = await super().create(manifest)
        self._after(manifest)
        return made

    async def replace(self, manifest: Manifest) -> Manifest:
        made = await super().replace(manifest)
        self._after(manifest)
        return made

    def _after(self, manifest: Manifest) -> None:
        if manifest["metadata"]["name"].endswith("-active"):
            record = self._world.record()
            assert record is not None
            self.written.append(record)
            if self.lose_answers > 0:
                self.lose_answers -= 1
                raise UncertainError("no answer within 10 s")


async def test_a_write_without_an_answer_is_read_back_and_not_repeated(world: World) -> None:
    cluster = RecordWatch(world)
    cluster.lose_answers = 10
    world.apply()
    reconciler = reconciler_of(world, cluster)
    await world.passes(reconciler, until=lambda: world.condition("Ready")[0] == "True")
    world.apply(shards={"count": 8, "perWorker": 1, "workersPerPod": 2})
    assert await world.passes(reconciler, until=lambda: world.generations() == [2])
    assert [(record.epoch, record.active, record.target) for record in cluster.written] == [
        (1, 1, None),
        (2, 1, 2),
        (3, 2, None),
        (4, 2, None),
    ]


async def test_a_record_that_another_operator_wrote_first_is_taken_as_it_is(world: World) -> None:
    world.apply()
    first, second = reconciler_of(world), reconciler_of(world)
    await world.passes(first, until=lambda: world.condition("Ready")[0] == "True")
    world.apply(shards={"count": 8, "perWorker": 1, "workersPerPod": 2})

    class Slow(StoreCluster):
        """The other operator acts between this one's look and its write."""

        async def replace(self, manifest: Manifest) -> Manifest:
            await second.pass_over("default", "bot")
            return await super().replace(manifest)

    late = reconciler_of(world, Slow(world.store))
    await late.pass_over("default", "bot")
    record = world.record()
    assert record is not None
    assert (record.epoch, record.target) == (2, 2)


async def test_a_generation_that_was_created_meanwhile_is_left_as_it_is(world: World) -> None:
    world.apply()
    other = reconciler_of(world)

    class Late(StoreCluster):
        """Another operator creates the generation after this one has looked for it."""

        async def select(self, kind: Kind, namespace: str | None, labels: Mapping[str, str]) -> list[Manifest]:
            found = await super().select(kind, namespace, labels)
            if kind == POD and world.record() is not None and world.generations() == []:
                await other.pass_over("default", "bot")
            return found

    late = reconciler_of(world, Late(world.store))
    await late.pass_over("default", "bot")
    world.apply(template={"image": "other:2"})
    before = (await late.pass_over("default", "bot")).plan
    assert before is not None
    assert any(isinstance(action, EnsureGeneration) and action.create for action in before.actions)
    (made,) = world.store.select(STATEFUL_SET, None, {})
    assert made["metadata"]["generation"] == 1, "created by the other, and not written again"


async def test_time_without_an_operator_is_not_held_against_a_target(world: World) -> None:
    stall = {"reshard": {"overlapSeconds": 4, "stallSeconds": 20}}
    world.apply(**stall)
    reconciler = reconciler_of(world)
    await world.passes(reconciler, until=lambda: world.condition("Ready")[0] == "True")
    world.targets_get_ready = False
    world.apply(shards={"count": 8, "perWorker": 1, "workersPerPod": 2}, **stall)
    assert await world.passes(reconciler, until=lambda: world.generations() == [1, 2])
    world.clock.seconds += 3600  # nobody gives permits
    successor = reconciler_of(world)
    assert not await world.passes(successor, until=lambda: world.generations() == [1], seconds=18)
    assert await world.passes(successor, until=lambda: world.generations() == [1], seconds=10)


class Dying(StoreCluster):
    """An operator's cluster that dies at its *n*-th call."""

    def __init__(self, world: World, calls: int) -> None:
        super().__init__(world.store)
        self.left = calls

    def _count(self) -> None:
        self.left -= 1
        if self.left < 0:
            raise asyncio.CancelledError

    async def get(self, kind: Kind, namespace: str, name: str) -> Manifest | None:
        self._count()
        return await super().get(kind, namespace, name)

    async def select(self, kind: Kind, namespace: str | None, labels: Mapping[str, str]) -> list[Manifest]:
        self._count()
        return await super().select(kind, namespace, labels)

    async def apply(self, manifest: Manifest) -> Manifest:
        self._count()
        return await super().apply(manifest)

    async def create(self, manifest: Manifest) -> Manifest:
        self._count()
        return await super().create(manifest)

    async def replace(self, manifest: Manifest) -> Manifest:
        self._count()
        return await super().replace(manifest)

    async def delete(self, kind: Kind, namespace: str, name: str, *, uid: str | None = None) -> None:
        self._count()
        await super().delete(kind, namespace, name, uid=uid)

    async def update_status(self, namespace: str, name: str, status: Manifest) -> None:
        self._count()
        await super().update_status(namespace, name, status)


@pytest.mark.parametrize("life", [*range(1, 40, 3), 97])
async def test_operators_that_die_after_so_many_calls_get_there_all_the_same(world: World, life: int) -> None:
    """No operator lives longer than *life* calls; a pass takes about 15."""
    world.apply()
    healthy = reconciler_of(world)
    await world.passes(healthy, until=lambda: world.condition("Ready")[0] == "True")
    world.apply(shards={"count": 8, "perWorker": 1, "workersPerPod": 2})
    for _ in range(60):
        dying = reconciler_of(world, Dying(world, life))
        try:
            await world.passes(dying, seconds=5)
        except asyncio.CancelledError:
            world.run_nodes()
            world.clock.seconds += 1
    record = world.record()
    assert record is not None
    assert record.epoch <= 4
    # Whatever they managed, the next one that lives finishes.
    assert await world.passes(reconciler_of(world), until=lambda: world.generations() == [2])
    record = world.record()
    assert record is not None
    assert (record.epoch, record.active, record.target) == (4, 2, None)


async def test_a_target_without_progress_is_given_up_and_the_old_generation_goes_on(world: World) -> None:
    world.apply(reshard={"overlapSeconds": 4, "stallSeconds": 20})
    reconciler = reconciler_of(world)
    await world.passes(reconciler, until=lambda: world.condition("Ready")[0] == "True")
    world.targets_get_ready = False
    world.apply(
        shards={"count": 8, "perWorker": 1, "workersPerPod": 2}, reshard={"overlapSeconds": 4, "stallSeconds": 20}
    )
    assert await world.passes(reconciler, until=lambda: world.generations() == [1, 2])
    assert await world.passes(reconciler, until=lambda: world.generations() == [1], seconds=60)
    record = world.record()
    assert record is not None
    assert (record.active, record.target) == (1, None)
    assert await world.passes(reconciler, until=lambda: world.condition("Degraded")[0] == "True")
    assert world.condition("Ready")[0] == "True"


@pytest.mark.parametrize(
    ("trouble", "condition", "expected"),
    [
        ({"secret": False}, "TokenValid", ("False", "SecretMissing")),
        ({"token": {"name": "bot", "key": "other"}}, "TokenValid", ("False", "SecretKeyMissing")),
        ({"discord": HttpResponse(status=401, body=b"")}, "TokenValid", ("False", "TokenRefused")),
        (
            {"discord": HttpError("discord.test cannot be reached: refused")},
            "TokenValid",
            ("Unknown", "APIUnreachable"),
        ),
        ({"discord": HttpResponse(status=200, body=b"<html>")}, "TokenValid", ("Unknown", "APIUnreachable")),
        ({"discord": HttpResponse(status=500, body=b"")}, "Ready", ("False", "APIUnreachable")),
        ({"remaining": 3}, "Ready", ("False", "IdentifyBudget")),
        ({"intents": ["GUILD_MESAGES"]}, "Ready", ("False", "InvalidSpec")),
    ],
    ids=["no Secret", "no key", "401", "unreachable", "not Discord", "500", "no budget", "invalid"],
)
async def test_what_cannot_start_says_why_and_starts_nothing(
    world: World, trouble: dict[str, Any], condition: str, expected: tuple[str, str]
) -> None:
    spec = {name: value for name, value in trouble.items() if name == "intents"}
    if "token" in trouble:
        spec["tokenSecretRef"] = trouble["token"]
    world.discord = trouble.get("discord")
    world.remaining = trouble.get("remaining", 1000)
    world.apply(secret=trouble.get("secret", True), **spec)
    await world.passes(reconciler_of(world), seconds=10)
    status, reason, message = world.condition(condition)
    assert (status, reason) == expected
    assert message.endswith(".") or "did you mean" in message
    assert world.generations() == []
    assert world.record() is None


async def test_discord_is_asked_rarely_and_a_dead_api_ever_more_rarely(world: World) -> None:
    world.apply()
    reconciler = reconciler_of(world)
    await world.passes(reconciler, seconds=115)
    asked = [url for _, url in world.requests if url.endswith("/gateway/bot")]
    assert len(asked) == 2
    world.discord = HttpError("discord.test cannot be reached: refused")
    world.requests.clear()
    await world.passes(reconciler, seconds=300)
    asked = [url for _, url in world.requests if url.endswith("/gateway/bot")]
    assert 10 <= len(asked) <= 30
    assert world.condition("Ready")[0] == "True", "what runs goes on"


async def test_gauges_of_a_gateway_at_rest_are_written_once_a_minute_at_most(world: World) -> None:
    world.apply()
    reconciler = reconciler_of(world)
    await world.passes(reconciler, until=lambda: world.condition("Ready")[0] == "True")
    written: list[float] = []

    def hear(manifest: Manifest) -> None:
        if manifest["kind"] == GATEWAY.kind:
            written.append(world.clock.seconds)

    world.store.subscribe(hear)
    for _ in range(600):
        world.remaining -= 1  # the budget moves all the time
        await world.passes(reconciler, seconds=1)
    assert 5 <= len(written) <= 11


async def test_cleaning_up_may_be_done_again_and_goes_on_past_what_fails(world: World) -> None:
    world.apply()
    plane = world.operator()
    await world.passes(plane.fleet.reconciler, until=lambda: world.condition("Ready")[0] == "True")

    class Stuck(StoreCluster):
        async def select(self, kind: Kind, namespace: str | None, labels: Mapping[str, str]) -> list[Manifest]:
            if kind == SERVICE:
                raise RefusedError("services is forbidden")
            return await super().select(kind, namespace, labels)

    stuck = world.operator(Stuck(world.store))
    with pytest.raises(RefusedError):
        await stuck.fleet.clean_up("default", "bot")
    assert world.generations() == []
    assert [each["metadata"]["name"] for each in world.store.select(SECRET, None, {})] == ["bot"]
    await plane.fleet.clean_up("default", "bot")
    await plane.fleet.clean_up("default", "bot")
    assert world.store.select(SERVICE, None, {}) == []
    assert world.store.select(CONFIG_MAP, None, {}) == []


async def test_a_loop_outlives_a_pass_that_raises(world: World) -> None:
    world.apply()

    class Broken(StoreCluster):
        gets = 0

        async def get(self, kind: Kind, namespace: str, name: str) -> Manifest | None:
            self.gets += 1
            if self.gets == 1:
                raise ConflictError("nobody expects this here")
            if self.gets == 2:
                raise ZeroDivisionError
            return await super().get(kind, namespace, name)

    recorded = asyncio.Event()
    world.store.subscribe(lambda _: recorded.set() if world.record() is not None else None)
    plane = world.operator(Broken(world.store))
    plane.fleet.add("default", "bot")
    await asyncio.wait_for(recorded.wait(), 20)
    await plane.fleet.stop()
    assert plane.fleet.failures == 2


async def test_what_the_api_server_refuses_is_said_and_leaves_what_runs_alone(world: World) -> None:
    class Strict(StoreCluster):
        async def apply(self, manifest: Manifest) -> Manifest:
            if manifest["kind"] == "StatefulSet" and "affinity" in manifest["spec"]["template"]["spec"]:
                raise RefusedError("patch statefulsets/bot-g1: affinity.x: field not declared in schema")
            return await super().apply(manifest)

    world.apply()
    reconciler = reconciler_of(world, Strict(world.store))
    await world.passes(reconciler, until=lambda: world.condition("Ready")[0] == "True")
    world.apply(template={"affinity": {"x": {}}})
    before = world.generations(), [pod["metadata"]["uid"] for pod in world.store.select(POD, None, {})]
    await world.passes(reconciler, seconds=5)
    status, reason, message = world.condition("Degraded")
    assert (status, reason) == ("True", "ObjectsRefused")
    assert "affinity.x: field not declared" in message
    assert world.condition("Ready")[0] == "True"
    assert (world.generations(), [pod["metadata"]["uid"] for pod in world.store.select(POD, None, {})]) == before
    world.apply(template={})
    assert await world.passes(reconciler, until=lambda: world.condition("Degraded")[0] == "False", seconds=40)
