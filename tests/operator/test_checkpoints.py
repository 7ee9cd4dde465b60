"""The operator keeps what pods leave of their sessions, for pods of the same gateway alone."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import aiohttp
import pytest
from gateway_operator.checkpoints import MOST_SHARDS, CheckpointRoutes
from gateway_operator.web.surface import Surface

from shard_runtime.contract import Checkpoint, SessionCheckpoint, decode, encode

if TYPE_CHECKING:
    from conftest import World


def checkpoint(*shards: int) -> Checkpoint:
    sessions = [
        SessionCheckpoint(shard=shard, session_id="s", resume_url=None, sequence=9, guilds=1, started_at=0)
        for shard in shards
    ]
    return Checkpoint(generation=1, count=4, pod=0, pod_uid="u", made_at=1, sessions=sessions)


@dataclass
class Keeper:
    url: str
    http: aiohttp.ClientSession
    routes: CheckpointRoutes
    beginning: bool = False

    async def call(self, method: str, path: str, bearer: str | None, body: bytes = b"") -> tuple[int, bytes]:
        headers = {} if bearer is None else {"authorization": f"Bearer {bearer}"}
        async with self.http.request(method, self.url + path, data=body, headers=headers) as answer:
            return answer.status, await answer.read()


@pytest.fixture
async def keeper(world: World) -> AsyncIterator[Keeper]:
    gateways = {"one": ("default", "one"), "two": ("default", "two")}
    routes = CheckpointRoutes(clock=world.clock, authenticated=gateways.get, beginning=lambda: keeper.beginning)
    surface = Surface(ready=lambda: True, metrics=list, routes=routes.routes())
    port = await surface.start("127.0.0.1", 0)
    async with aiohttp.ClientSession() as http:
        keeper = Keeper(f"http://127.0.0.1:{port}", http, routes)
        yield keeper
    await surface.stop()


async def test_a_gateways_pods_get_back_what_they_left_and_no_others(keeper: Keeper) -> None:
    assert (await keeper.call("GET", "/v1/checkpoints/1/0", "one"))[0] == 404
    assert (await keeper.call("POST", "/v1/checkpoints", "one", encode(checkpoint(0, 1))))[0] == 204
    status, body = await keeper.call("GET", "/v1/checkpoints/1/0", "one")
    assert status == 200
    assert [session.shard for session in decode(body, Checkpoint).sessions] == [0, 1]
    for bearer, path, expected in (
        ("two", "/v1/checkpoints/1/0", 404),
        ("one", "/v1/checkpoints/2/0", 404),
        ("one", "/v1/checkpoints/1/1", 404),
        ("one", "/v1/checkpoints/1/x", 404),
        ("three", "/v1/checkpoints/1/0", 401),
        (None, "/v1/checkpoints/1/0", 401),
    ):
        assert (await keeper.call("GET", path, bearer))[0] == expected
    keeper.routes.forget()
    assert (await keeper.call("GET", "/v1/checkpoints/1/0", "one"))[0] == 404, "another may have led meanwhile"


async def test_nonsense_and_strangers_leave_nothing(keeper: Keeper) -> None:
    assert (await keeper.call("POST", "/v1/checkpoints", "one", b"{"))[0] == 400
    assert (await keeper.call("POST", "/v1/checkpoints", "three", encode(checkpoint(0))))[0] == 401
    keeper.beginning = True
    assert (await keeper.call("POST", "/v1/checkpoints", "three", encode(checkpoint(0))))[0] == 503, (
        "it may be known soon"
    )
    many = encode(checkpoint(*range(MOST_SHARDS + 1)))
    assert (await keeper.call("POST", "/v1/checkpoints", "one", many))[0] == 413
    assert (await keeper.call("GET", "/v1/checkpoints/1/0", "one"))[0] == 404
