"""Calls and presences move with a handover; answers to requests on the old sessions are waited for and delivered."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from runtime.in_process import PodInOneProcess
from runtime.stage import record
from runtime.town import GUILDS, Town, all_ready, make_town
from virtual.discord import Session
from virtual.world import World, run_world

from shard_runtime import contract
from shard_runtime.orders import Done, SendCommand


async def command(pod: PodInOneProcess, *, op: int, d: dict[str, Any], shard: int = 0) -> None:
    assert pod.pod is not None
    order = SendCommand(shard=shard, op=op, payload=json.dumps({"op": op, "d": d}))
    assert isinstance(await pod.pod.ask(order, shard=shard, timeout=15), Done)


def voice(guild: int, channel: int | None, **more: Any) -> dict[str, Any]:
    return {"guild_id": str(guild), "channel_id": None if channel is None else str(channel), **more}


def own_voice(session: Session, guild: int, channel: int | None) -> None:
    """Discord tells the bot where it is now, for instance since somebody has moved it."""
    session.dispatch("VOICE_STATE_UPDATE", {**voice(guild, channel), "user_id": "1", "session_id": session.id})


def chunk(session: Session, index: int, count: int) -> None:
    session.dispatch(
        "GUILD_MEMBERS_CHUNK",
        {"guild_id": str(GUILDS[0]), "members": [], "chunk_index": index, "chunk_count": count, "nonce": "n"},
    )


def status(pod: PodInOneProcess) -> contract.PodStatus:
    assert pod.pod is not None
    return pod.pod.last_status()


def taken_over(pod: PodInOneProcess) -> bool:
    handover = status(pod).handover
    return handover is not None and handover.complete


async def both_up(world: World, town: Town) -> tuple[PodInOneProcess, PodInOneProcess]:
    """One old session; two new ones, each of a worker of its own, that have overlapped."""
    old, new = town.pod(1, 1, 1), town.pod(2, 2, 2)
    await old.start().adopt_record(record(1, active=1))
    await world.until(lambda: all_ready(old), within=30)
    return old, new


async def begin(world: World, town: Town, old: PodInOneProcess, new: PodInOneProcess) -> None:
    await new.start().adopt_record(record(2, active=1, target=2))
    assert old.pod is not None
    await old.pod.adopt_record(record(2, active=1, target=2))
    await world.until(lambda: all_ready(new), within=30)
    await town.talk(13)


async def commit(new: PodInOneProcess) -> None:
    assert new.pod is not None
    await new.pod.adopt_record(record(3, active=2))


@pytest.mark.parametrize("killed", [False, True], ids=["", "the old pod is killed in between"])
def test_calls_and_presences_are_taken_on_by_the_new_sessions(killed: bool) -> None:
    async def story(world: World) -> None:
        town = make_town(world)
        old, new = await both_up(world, town)
        await command(old, op=4, d=voice(GUILDS[0], 71, self_mute=True))
        await command(old, op=4, d=voice(GUILDS[1], 72))
        await command(old, op=4, d=voice(GUILDS[2], 73))
        await command(old, op=4, d=voice(GUILDS[3], 74))
        await command(old, op=3, d={"status": "dnd", "activities": [], "since": None, "afk": False})
        session = town.discord.session
        own_voice(session, GUILDS[1], 82)  # moved by a moderator
        own_voice(session, GUILDS[2], None)  # thrown out by one
        session.dispatch("VOICE_STATE_UPDATE", {**voice(GUILDS[3], None), "user_id": "9", "session_id": "another"})
        await asyncio.sleep(1)
        if killed:
            old.kill()
            old.start()
            await world.until(lambda: all_ready(old), within=30)
        await begin(world, town, old, new)
        before = len(town.discord.received)
        await commit(new)
        await world.until(lambda: taken_over(new), within=30)
        sent = [(op, d) for _, op, d in town.discord.received[before:] if op in (3, 4)]
        calls = {int(d["guild_id"]): (d["channel_id"], d["self_mute"]) for op, d in sent if op == 4}
        assert calls == {GUILDS[0]: ("71", True), GUILDS[1]: ("82", False), GUILDS[3]: ("74", False)}
        assert [d["status"] for op, d in sent if op == 3] == ["dnd", "dnd"], "on each new session"
        assert len(sent) == 5, "and each once"
        assert not any(code == 1000 for code in town.discord.client_closes), "the old session is still there"

    run_world(story, seed=1)


def test_answers_to_the_old_sessions_requests_are_delivered_and_waited_for() -> None:
    async def story(world: World) -> None:
        town = make_town(world)
        old, new = await both_up(world, town)
        await begin(world, town, old, new)
        (session,) = (one for one in town.discord.sessions.values() if one.shard[1] == 1)
        await command(old, op=8, d={"guild_id": str(GUILDS[0]), "query": "", "limit": 0, "nonce": "n"})
        chunk(session, 0, 3)
        await commit(new)
        await world.until(lambda: taken_over(new), within=30)
        await asyncio.sleep(1.5)
        assert status(old).role is contract.Role.SEALED
        assert status(old).awaited == 1
        chunk(session, 1, 3)
        chunk(session, 2, 3)
        session.dispatch("TYPING_START", {"guild_id": str(GUILDS[0]), "after": "the seal"})
        await asyncio.sleep(2)
        assert status(old).awaited == 0
        assert town.bot.names.count("GUILD_MEMBERS_CHUNK") == 3
        assert "TYPING_START" not in town.bot.names, "the new session has that"

    run_world(story, seed=1)


def test_an_answer_that_never_comes_is_not_waited_for_long() -> None:
    async def story(world: World) -> None:
        town = make_town(world)
        old, _ = await both_up(world, town)
        await command(old, op=43, d={"guild_id": str(GUILDS[0]), "fields": []})
        await asyncio.sleep(2)
        assert status(old).awaited == 1
        await asyncio.sleep(11)
        assert status(old).awaited == 0

    run_world(story, seed=1)
