"""``/v1/commands`` of real pods against the simulator: to any pod, onto the session that it concerns."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest_asyncio
from runtime.stage import OPERATOR, Pod, Stage, eventually, record, running_stage

from shard_runtime import contract
from shard_runtime.contract import Role
from shard_runtime.supervisor.commands import MOST_HELD

BOT = "bot-secret-of-the-test"


@pytest_asyncio.fixture
async def stage(tmp_path: Path) -> AsyncIterator[Stage]:
    async with running_stage(tmp_path) as running:
        yield running


async def start(stage: Stage, *, number: int = 1, count: int = 4, pods: int = 2, **more: Any) -> list[Pod]:
    """A generation that is active (by its own record) unless one is given, with all pods ready."""
    known: contract.Record = more.pop("known", record(1, active=number))
    made = stage.generation(number, count=count, pods=pods, **more)
    stage.write(number, "record/record.json", contract.encode(known))
    stage.write(number, "auth/bot", BOT.encode())
    for pod in made:
        await pod.start()
    for pod in made:
        await pod.until_ready()
    return made


async def post(
    pod: Pod, body: Any, *, token: str | None = BOT, http: aiohttp.ClientSession | None = None
) -> tuple[int, dict[str, Any], str | None]:
    """(status, body, Retry-After)."""
    headers = {} if token is None else {"authorization": f"Bearer {token}"}
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    async with (http or pod.stage.http).post(pod.url + "/v1/commands", headers=headers, data=data) as answer:
        return answer.status, json.loads(await answer.read()), answer.headers.get("retry-after")


async def guilds(stage: Stage) -> list[str]:
    async with stage.http.get(f"{stage.simulator}/control/guilds") as answer:
        return list((await answer.json())["ids"])


def shard_of(guild: str, count: int) -> int:
    return contract.shard_of_guild(int(guild), count)


def voice(guild: str) -> dict[str, Any]:
    return {"op": 4, "d": {"guild_id": guild, "channel_id": None, "self_mute": False, "self_deaf": False}}


async def received(stage: Stage, name: str) -> list[int]:
    """Shards that delivered dispatches called *name*, in order."""
    async with stage.http.get(f"{stage.receiver}/control/received?all=1") as answer:
        columns = await answer.json()
    wanted = columns["names"].index(name) if name in columns["names"] else -1
    return [shard for shard, at in zip(columns["shard"], columns["name"], strict=True) if at == wanted]


async def test_each_opcode_through_any_pod_reaches_the_shard_that_it_concerns(stage: Stage) -> None:
    pods = await start(stage)
    ids = await guilds(stage)
    one = next(guild for guild in ids if shard_of(guild, 4) == 1)
    other = next(guild for guild in ids if shard_of(guild, 4) == 2)
    for pod in pods:
        presence = {"op": 3, "d": {"since": None, "activities": [], "status": "idle", "afk": False}, "shard": 3}
        assert await post(pod, presence) == (202, {"shard": 3}, None)
        assert await post(pod, voice(one)) == (202, {"shard": 1}, None)
        members = {"op": 8, "d": {"guild_id": other, "query": "", "limit": 5, "nonce": "n"}}
        assert await post(pod, members) == (202, {"shard": 2}, None)
        sounds = {"op": 31, "d": {"guild_ids": [other, one]}}
        assert await post(pod, sounds) == (202, {"shard": 1, "shards": [1, 2]}, None)
        info = {"op": 43, "d": {"guild_id": one, "fields": ["status"]}}
        assert await post(pod, info, token=OPERATOR) == (202, {"shard": 1}, None)
    counted = (await stage.counters())["commands"]
    assert counted == {"3": 2, "4": 2, "8": 2, "31": 4, "43": 2}

    async def answered() -> bool:
        return (
            await received(stage, "GUILD_MEMBERS_CHUNK") == [2, 2]
            and sorted(await received(stage, "SOUNDBOARD_SOUNDS")) == [1, 1, 2, 2]
            and await received(stage, "CHANNEL_INFO") == [1, 1]
        )

    await eventually(answered, what="Discord's answers, from the shards that asked")


async def test_what_discord_would_not_take_is_refused_and_never_sent(stage: Stage) -> None:
    (pod,) = await start(stage, pods=1)
    guild = (await guilds(stage))[0]
    refusals: list[tuple[Any, str]] = [
        (b"no json", "The body is not a command: "),
        (b"[" * 100_000, "The body is not a command: "),
        ({"op": "4", "d": {}}, "The body is not a command: Expected `int`, got `str` - at `$.op`."),
        ({"op": 4}, "The body is not a command: Object missing required field `d`."),
        ({"op": 2, "d": {}}, "op is 2; write one of 3, 4, 8, 31, 43."),
        ({"op": 4, "d": {"guild_id": guild}}, "d.channel_id is missing; write a channel's id, or null to leave."),
        ({"op": 3, "d": {"status": "idle"}}, 'op 3 names no guild: add "shard", a number from 0 to 3.'),
        ({**voice(guild), "d": {**voice(guild)["d"], "x": "y" * 4096}}, "bytes; Discord takes at most 4096."),
    ]
    for body, sentence in refusals:
        status, answer, _ = await post(pod, body)
        assert status == 400 and sentence in answer["error"], answer
    assert (await post(pod, voice(guild), token=None))[0] == 401
    assert (await post(pod, voice(guild), token="wrong"))[0] == 401
    assert (await pod.call("GET", "/v1/commands"))[0] == 405
    assert (await stage.counters())["commands"] == {}


async def test_past_a_limit_the_answer_says_when_there_is_room_and_discord_is_never_provoked(stage: Stage) -> None:
    (pod,) = await start(stage, count=1, pods=1)
    guild = (await guilds(stage))[0]
    answers = await asyncio.gather(*(post(pod, voice(guild)) for _ in range(125)))
    taken = [answer for answer in answers if answer[0] == 202]
    refused = [answer for answer in answers if answer[0] == 429]
    assert len(taken) + len(refused) == 125
    assert 110 <= len(taken) <= 118
    for _, body, retry_after in refused:
        assert "leave room on shard 0 in" in body["error"]
        assert retry_after is not None and 50 <= int(retry_after) <= 63
    counters = await stage.counters()
    assert counters["commands"] == {"4": len(taken)}
    assert counters["closedByServer"] == {}

    presence = {"op": 3, "d": {"status": "dnd", "activities": [], "since": None, "afk": False}, "shard": 0}
    assert (await post(pod, presence))[0] == 429


async def test_the_limits_of_single_opcodes_are_kept(stage: Stage) -> None:
    (pod,) = await start(stage, count=1, pods=1)
    one, other, *_ = await guilds(stage)
    presence = {"op": 3, "d": {"status": "dnd", "activities": [], "since": None, "afk": False}, "shard": 0}
    assert [(await post(pod, presence))[0] for _ in range(7)] == [202] * 5 + [429] * 2
    everyone = {"op": 8, "d": {"guild_id": one, "query": "", "limit": 0}}
    assert (await post(pod, everyone))[0] == 202
    status, _, retry_after = await post(pod, everyone)
    assert status == 429 and retry_after is not None and 25 <= int(retry_after) <= 32
    assert (await post(pod, {"op": 8, "d": {"guild_id": other, "query": "", "limit": 0}}))[0] == 202
    assert (await post(pod, {"op": 8, "d": {"guild_id": one, "query": "a", "limit": 0}}))[0] == 202


async def test_a_command_waits_over_a_short_absence_of_the_session(stage: Stage) -> None:
    (pod,) = await start(stage, count=1, pods=1)
    guild = (await guilds(stage))[0]
    await stage.control(stage.simulator, "faults", {"action": "refuseConnections", "seconds": 1})
    await stage.control(stage.simulator, "faults", {"action": "drop"})

    async def down() -> bool:
        return (await pod.status()).shards[0].state is not contract.ShardState.READY

    await eventually(down, what="the session is not live")
    assert await post(pod, voice(guild)) == (202, {"shard": 0}, None)
    counters = await stage.counters()
    assert counters["commands"] == {"4": 1}
    assert counters["resumesAccepted"] == 1


async def test_without_a_live_session_a_command_is_refused(stage: Stage) -> None:
    (pod,) = stage.generation(1, count=2, pods=1)
    stage.write(1, "record/record.json", contract.encode(record(1, active=1)))
    stage.write(1, "auth/bot", BOT.encode())
    stage.write(1, "token/token", b"a-wrong-token-of-a-test")
    await pod.start()

    async def stopped() -> bool:
        return all(shard.state is contract.ShardState.STOPPED for shard in (await pod.status()).shards)

    await eventually(stopped, what="all shards stop")
    status, answer, _ = await post(pod, voice((await guilds(stage))[0]))
    assert status == 409 and answer["error"].endswith("has no live session.")


async def test_without_an_active_generation_a_command_is_refused(stage: Stage) -> None:
    (pod,) = stage.generation(1, count=2, pods=1)
    stage.write(1, "auth/bot", BOT.encode())
    await pod.start()
    guild = (await guilds(stage))[0]
    assert await post(pod, voice(guild)) == (409, {"error": "No generation is active yet."}, None)
    stage.write(1, "record/record.json", contract.encode(record(1, active=None)))
    assert (await post(pod, voice(guild)))[0] == 409


async def test_a_sibling_that_is_away_is_said_to_be(stage: Stage) -> None:
    first, second = await start(stage)
    await second.end()
    ids = await guilds(stage)
    gone = next(guild for guild in ids if shard_of(guild, 4) == 3)
    here = next(guild for guild in ids if shard_of(guild, 4) == 0)
    status, answer, retry_after = await post(first, voice(gone))
    assert (status, retry_after) == (503, "1")
    assert "pod 1 of generation 1 cannot be reached" in answer["error"]
    status, answer, _ = await post(first, {"op": 31, "d": {"guild_ids": [gone, here]}})
    assert status == 503
    assert answer["error"].startswith("Shards 0 took their part, shard 3 did not: ")
    assert await post(first, voice(here)) == (202, {"shard": 0}, None)


async def test_every_generation_passes_commands_on_to_the_active_one(stage: Stage) -> None:
    old = await start(stage)
    layout = contract.ShardLayout(count=4, first=0, last=3, per_worker=2, workers_per_pod=1)
    begun = record(2, active=1, target=2)
    new = await start(
        stage, number=2, count=6, pods=3, predecessor=contract.Predecessor(generation=1, layout=layout), known=begun
    )
    for pod in old:
        assert (await pod.call("PUT", "/v1/record", begun))[0] == 200
    ids = await guilds(stage)
    assert {shard_of(guild, 4) for guild in ids} == set(range(4))
    for pod, guild in zip([*old, *new] * 8, ids, strict=False):
        assert await post(pod, voice(guild)) == (202, {"shard": shard_of(guild, 4)}, None)

    for pod in [*new, *old]:
        assert (await pod.call("PUT", "/v1/record", record(3, active=2)))[0] == 200

    async def complete() -> bool:
        statuses = [await pod.status() for pod in new]
        return all(status.handover is not None and status.handover.complete for status in statuses)

    await eventually(complete, what="the handover")
    assert {(await pod.status()).role for pod in old} == {Role.SEALED}
    for pod, guild in zip([*old, *new] * 8, ids, strict=False):
        assert await post(pod, voice(guild)) == (202, {"shard": shard_of(guild, 6)}, None)


async def test_how_many_commands_a_pod_holds_is_bounded_and_its_probes_go_on(stage: Stage) -> None:
    (pod,) = await start(stage, pods=1)
    ids = await guilds(stage)
    await stage.control(stage.simulator, "faults", {"action": "refuseConnections", "seconds": 3})
    await stage.control(stage.simulator, "faults", {"action": "drop"})

    async def down() -> bool:
        states = {shard.state for shard in (await pod.status()).shards}
        return contract.ShardState.READY not in states

    await eventually(down, what="no session is live")
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as http:
        calls = [
            asyncio.create_task(post(pod, voice(guild), http=http)) for _ in range(200 // len(ids)) for guild in ids
        ]

        async def full() -> bool:
            return sum(call.done() for call in calls) >= len(calls) - MOST_HELD

        await eventually(full, what="those past the bound are refused")
        assert (await pod.call("GET", "/livez"))[0] == 200
        answers = await asyncio.gather(*calls)
    assert [status for status, _, _ in answers].count(202) == MOST_HELD
    assert {(status, after) for status, _, after in answers if status != 202} == {(429, "1")}
