"""What was lost or came back from a backup: said, nothing started or deleted, and gone on with once it is mended."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import kopf
import msgspec
import pytest
from gateway_operator.cluster.port import CONFIG_MAP, GATEWAY, POD, SECRET, STATEFUL_SET, Manifest, UncertainError
from gateway_operator.handlers import MOST_CLEANUPS, Events

from shard_runtime.contract import Record, encode

if TYPE_CHECKING:
    from conftest import World

EIGHT = {"count": 8, "perWorker": 1, "workersPerPod": 2}


async def resharded(world: World) -> Any:
    """A gateway whose second generation is active; its operator's reconciler."""
    world.apply()
    reconciler = world.operator().fleet.reconciler
    await world.passes(reconciler, until=lambda: world.condition("Ready")[0] == "True")
    world.apply(shards=EIGHT)
    assert await world.passes(reconciler, until=lambda: world.generations() == [2])
    await world.passes(reconciler, seconds=5)
    return reconciler


def what_runs(world: World) -> list[tuple[str, str]]:
    """Names and uids of StatefulSets and pods."""
    kinds = (STATEFUL_SET, POD)
    return [
        (each["metadata"]["name"], each["metadata"]["uid"])
        for kind in kinds
        for each in world.store.select(kind, None, {})
    ]


def write_record(world: World, record: Record | str) -> None:
    text = record if isinstance(record, str) else encode(record).decode()
    world.store.change(CONFIG_MAP, "default", "bot-active", lambda found: found["data"].update({"record.json": text}))


def forget_status(world: World) -> None:
    """As a backup of the resource does, which has no status."""
    world.store.change(GATEWAY, "default", "bot", lambda found: found.pop("status", None))


async def test_a_deleted_record_is_not_made_up(world: World) -> None:
    reconciler = await resharded(world)
    before, record = what_runs(world), world.store.get(CONFIG_MAP, "default", "bot-active")
    assert record is not None
    world.store.remove(CONFIG_MAP, "default", "bot-active")
    world.apply(shards={**EIGHT, "count": 16})
    await world.passes(reconciler, seconds=60)
    assert world.condition("Degraded")[:2] == ("True", "RecordMissing")
    assert what_runs(world) == before
    assert world.record() is None
    restored = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": dict(record["metadata"]), "data": record["data"]}
    restored["metadata"].pop("resourceVersion")
    world.store.create(restored)
    assert await world.passes(reconciler, until=lambda: world.generations() == [2, 3]), "what was asked for meanwhile"
    assert world.condition("Degraded")[0] == "False"


@pytest.mark.parametrize("fresh", [False, True], ids=["the same operator", "a new one, and no status"])
async def test_a_record_from_a_backup_is_recognised(world: World, fresh: bool) -> None:
    reconciler = await resharded(world)
    now = world.record()
    assert now is not None
    before = what_runs(world)
    write_record(world, msgspec.structs.replace(now, epoch=now.epoch - 1))
    if fresh:
        forget_status(world)
        reconciler = world.operator().fleet.reconciler
    await world.passes(reconciler, seconds=60)
    status, reason, message = world.condition("Degraded")
    assert (status, reason) == ("True", "ConflictingEvidence")
    assert f"has seen epoch {now.epoch}" in message
    assert what_runs(world) == before
    write_record(world, msgspec.structs.replace(now, epoch=now.epoch + 5))
    assert await world.passes(reconciler, until=lambda: world.condition("Degraded")[0] == "False")
    assert what_runs(world) == before


async def test_a_backup_from_before_a_reshard_starts_and_deletes_nothing(world: World) -> None:
    """The record names a generation that is gone, and the one that delivers is not in it."""
    reconciler = await resharded(world)
    now = world.record()
    assert now is not None
    before = what_runs(world)
    forget_status(world)
    write_record(world, msgspec.structs.replace(now, epoch=1, active=1, target=None, retired=0))
    reconciler = world.operator().fleet.reconciler
    await world.passes(reconciler, seconds=60)
    assert world.condition("Degraded")[:2] == ("True", "ConflictingEvidence")
    assert what_runs(world) == before


async def test_a_record_that_cannot_be_read_is_left_as_it_is(world: World) -> None:
    reconciler = await resharded(world)
    before = what_runs(world)
    write_record(world, "{")
    await world.passes(reconciler, seconds=60)
    assert world.condition("Degraded")[:2] == ("True", "RecordUnreadable")
    assert what_runs(world) == before
    found = world.store.get(CONFIG_MAP, "default", "bot-active")
    assert found is not None
    assert found["data"]["record.json"] == "{"


async def test_everything_restored_into_an_empty_cluster_starts_once(world: World) -> None:
    """Record and resource come back, StatefulSets and pods do not: what the record has as active is made."""
    reconciler = await resharded(world)
    for kind in (STATEFUL_SET, POD):
        for each in world.store.select(kind, None, {}):
            world.store.remove(kind, "default", each["metadata"]["name"])
    world.pods.clear()
    forget_status(world)
    reconciler = world.operator().fleet.reconciler
    assert await world.passes(reconciler, until=lambda: world.condition("Ready")[0] == "True")
    assert world.generations() == [2]
    record = world.record()
    assert record is not None
    assert (record.active, record.target) == (2, None)


# --- Deletion ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("secret", ["bot", "bot-auth"])
async def test_a_gateway_without_its_secret_is_cleaned_up(world: World, secret: str) -> None:
    world.apply()
    plane = world.operator()
    await world.passes(plane.fleet.reconciler, until=lambda: world.condition("Ready")[0] == "True")
    world.store.remove(SECRET, "default", secret)
    await plane.fleet.clean_up("default", "bot")
    assert world.generations() == []
    assert world.store.select(CONFIG_MAP, None, {}) == []


class _Stuck:
    """A fleet whose cluster gives no answer."""

    tries = 0

    def add(self, namespace: str, name: str) -> None: ...

    def wake(self, namespace: str, name: str) -> None: ...

    async def remove(self, namespace: str, name: str) -> None: ...

    async def clean_up(self, namespace: str, name: str) -> None:
        self.tries += 1
        raise UncertainError("no answer within 10 s")


async def test_a_deletion_under_a_stuck_api_is_tried_again_and_ends() -> None:
    fleet = _Stuck()
    events = Events(fleet=fleet, loop=asyncio.get_running_loop(), namespaces=())
    for retry in range(MOST_CLEANUPS):
        with pytest.raises(kopf.TemporaryError):
            await events._clean_up("default", "bot", retry)
    await events._clean_up("default", "bot", MOST_CLEANUPS)  # kopf takes the finalizer off then
    assert fleet.tries == MOST_CLEANUPS + 1


# --- What may run at once ---------------------------------------------------------------------------------------------


async def test_a_rotated_token_stops_what_the_old_one_had_stopped(world: World) -> None:
    world.apply()
    plane = world.operator()
    await world.passes(plane.fleet.reconciler, until=lambda: world.condition("Ready")[0] == "True")

    def rotate(secret: Manifest) -> None:
        secret["data"] = {"token": "d3Jvbmc="}

    world.store.change(SECRET, "default", "bot", rotate)
    await world.passes(plane.fleet.reconciler, seconds=5)
    assert world.condition("TokenValid")[:2] == ("False", "TokenRefused")
    client = plane.clients.get("default", "bot")
    assert client is not None
    assert client.stopped is not None, "no identify with a token that Discord does not take"
    assert world.condition("Ready")[0] == "True", "live connections are left alone"
    world.apply()  # the right one again
    await world.passes(plane.fleet.reconciler, seconds=3)
    assert world.condition("TokenValid")[0] == "True"
    client = plane.clients.get("default", "bot")
    assert client is not None
    assert client.stopped is None
