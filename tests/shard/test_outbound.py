"""A shard's commands: sent within Discord's limits, kept over a short absence, refused with the reason otherwise."""

from __future__ import annotations

import asyncio
import json
from itertools import pairwise

import pytest
from shard.stage import Stage, play
from virtual.discord import send
from virtual.sockets import ServerSocket

from shard_runtime.outbound import MOST_WAITING, WAIT_SECONDS, BusyError, NoSessionError
from shard_runtime.protocol.opcodes import Opcode
from shard_runtime.protocol.send_budget import Command


def voice(number: int = 0) -> Command:
    return Command(op=Opcode.VOICE_STATE_UPDATE, payload=json.dumps({"op": 4, "d": number}).encode())


def presence(number: int = 0) -> Command:
    return Command(op=Opcode.PRESENCE_UPDATE, payload=json.dumps({"op": 3, "d": number}).encode())


def all_members(guild: int) -> Command:
    return Command(
        op=Opcode.REQUEST_GUILD_MEMBERS, payload=json.dumps({"op": 8, "d": guild}).encode(), all_members_of=guild
    )


def received(stage: Stage, *ops: int) -> list[tuple[int, object]]:
    return [(op, d) for _, op, d in stage.discord.received if op in ops]


def test_a_command_is_sent_at_once_on_a_live_session() -> None:
    async def story(stage: Stage) -> None:
        shard = stage.start()
        await stage.live()
        before = stage.world.clock.monotonic()
        for number in range(20):
            await shard.command(voice(number))
        assert stage.world.clock.monotonic() == before
        await stage.quiet()
        assert received(stage, 4) == [(4, number) for number in range(20)]

    play(story)


def test_past_the_budget_a_command_is_refused_with_the_time_until_there_is_room() -> None:
    async def story(stage: Stage) -> None:
        shard = stage.start()
        await stage.live()
        await stage.quiet(5)
        started = stage.world.clock.monotonic()
        sent = 0
        with pytest.raises(BusyError, match="leave room on shard 1 in 62") as busy:
            while True:
                await shard.command(voice())
                sent += 1
        assert sent == 113
        assert busy.value.retry_after == pytest.approx(62)
        await stage.quiet(busy.value.retry_after)
        await shard.command(voice())
        assert stage.world.clock.monotonic() - started == pytest.approx(62)
        await stage.quiet()
        assert len(stage.discord.client_closes) == 0

    play(story)


def test_a_command_for_which_there_is_room_soon_waits_and_the_order_is_kept() -> None:
    async def story(stage: Stage) -> None:
        shard = stage.start()
        await stage.live()
        for number in range(5):
            await shard.command(presence(number))
        with pytest.raises(BusyError, match="in 22"):
            await shard.command(presence(5))
        await stage.quiet(22 - WAIT_SECONDS + 0.5)
        started = stage.world.clock.monotonic()
        waiting = [asyncio.create_task(shard.command(presence(number))) for number in range(5, 9)]
        await stage.quiet(1)
        await shard.command(voice())  # what has a limit of its own does not keep others waiting
        assert stage.world.clock.monotonic() == started + 1
        await asyncio.gather(*waiting)
        assert stage.world.clock.monotonic() - started == pytest.approx(WAIT_SECONDS - 0.5)
        await stage.quiet()
        assert received(stage, 3, 4) == [
            *((3, number) for number in range(5)),
            (4, 0),
            *((3, number) for number in range(5, 9)),
        ]

    play(story)


def test_all_members_of_a_guild_are_asked_for_once_in_half_a_minute() -> None:
    async def story(stage: Stage) -> None:
        shard = stage.start()
        await stage.live()
        await shard.command(all_members(1))
        await shard.command(all_members(2))
        with pytest.raises(BusyError, match="in 32"):
            await shard.command(all_members(1))
        await stage.quiet(25)
        await shard.command(all_members(1))
        with pytest.raises(BusyError):
            await shard.command(all_members(1))
        moments = [moment for moment, op, d in stage.discord.received if op == 8 and d == 1]
        await stage.quiet()
        moments = [moment for moment, op, d in stage.discord.received if op == 8 and d == 1]
        assert len(moments) == 2 and moments[1] - moments[0] >= 30

    play(story)


def test_what_discord_says_of_its_limits_is_kept_to() -> None:
    """Discord counts for the bot: another deployment may have asked for the same guild a moment ago."""

    async def story(stage: Stage) -> None:
        shard = stage.start()
        await stage.live()
        await stage.quiet()
        limited = {"opcode": 8, "retry_after": 17.5, "meta": {"guild_id": "1", "nonce": "n"}}
        stage.discord.session.dispatch("RATE_LIMITED", limited)
        await stage.quiet(0.5)
        assert stage.sink.events[-1][2] == "RATE_LIMITED", "the bot is told too"
        with pytest.raises(BusyError, match=r"in 17\.[0-4]"):
            await shard.command(all_members(1))
        await shard.command(all_members(2))
        await stage.quiet(12)
        before = stage.world.clock.monotonic()
        await shard.command(all_members(1))
        assert stage.world.clock.monotonic() - before == pytest.approx(5, abs=0.3)

    play(story)


@pytest.mark.parametrize(
    "body",
    [{}, {"opcode": "x", "retry_after": 1}, {"opcode": 8, "retry_after": None}, {"opcode": 99, "retry_after": 5}, None],
    ids=str,
)
def test_a_limit_that_says_nothing_changes_nothing(body: object) -> None:
    async def story(stage: Stage) -> None:
        shard = stage.start()
        await stage.live()
        await stage.quiet()
        stage.discord.session.dispatch("RATE_LIMITED", body)
        await stage.quiet(0.5)
        before = stage.world.clock.monotonic()
        for command in (all_members(1), voice(), presence()):
            await shard.command(command)
        assert stage.world.clock.monotonic() == before
        assert stage.shard.status().resumes == 0

    play(story)


def test_a_limit_of_a_whole_opcode_leaves_the_others_alone() -> None:
    async def story(stage: Stage) -> None:
        shard = stage.start()
        await stage.live()
        await stage.quiet()
        stage.discord.session.dispatch("RATE_LIMITED", {"opcode": 3, "retry_after": 1e9})
        await stage.quiet(0.5)
        await shard.command(voice())
        with pytest.raises(BusyError, match="in 599"):
            await shard.command(presence())

    play(story)


def test_a_command_waits_for_a_resume_and_is_sent_once_after_it() -> None:
    async def story(stage: Stage) -> None:
        shard = stage.start()
        await stage.live()
        for _ in range(113):
            await shard.command(voice())
        stage.world.network.reset("pod")
        await stage.quiet(0.001)
        waiting = [asyncio.create_task(shard.command(voice(number))) for number in range(1, 4)]
        await asyncio.gather(*waiting)
        await stage.quiet()
        ops = [(op, d) for _, op, d in stage.discord.received if op != 1]
        assert ops[-4][0] == 6
        assert ops[-3:] == [(4, 1), (4, 2), (4, 3)], "a new connection has a budget of its own"
        assert stage.shard.status().resumes == 1

    play(story)


def test_without_a_session_a_command_is_refused_after_a_while_and_later_at_once() -> None:
    async def story(stage: Stage) -> None:
        stage.permits.delay = 60
        shard = stage.start()
        await stage.quiet(1)
        before = stage.world.clock.monotonic()
        with pytest.raises(NoSessionError, match="Shard 1 has no live session"):
            await shard.command(voice())
        assert stage.world.clock.monotonic() - before == pytest.approx(WAIT_SECONDS - 1, abs=0.1)
        before = stage.world.clock.monotonic()
        with pytest.raises(NoSessionError):
            await shard.command(voice())
        assert stage.world.clock.monotonic() == before
        await stage.live(within=100)
        await shard.command(voice(7))
        await stage.quiet()
        assert received(stage, 4) == [(4, 7)]

    play(story)


def test_a_shard_that_has_stopped_refuses_at_once_also_what_was_waiting() -> None:
    async def story(stage: Stage) -> None:
        shard = stage.start()
        await stage.live()
        stage.world.network.faults.refuse = 1.0
        stage.world.network.reset("pod")
        await stage.quiet(0.1)
        waiting = asyncio.create_task(shard.command(voice()))
        await stage.quiet(0.1)
        before = stage.world.clock.monotonic()
        await shard.stop(end_session=False)
        for command in (waiting, shard.command(voice())):
            with pytest.raises(NoSessionError):
                await command
        assert stage.world.clock.monotonic() == before

    play(story)


def test_how_many_commands_wait_is_bounded() -> None:
    async def story(stage: Stage) -> None:
        stage.world.network.faults.refuse = 1.0
        shard = stage.start()
        waiting = [asyncio.create_task(shard.command(voice(number))) for number in range(MOST_WAITING)]
        await stage.quiet(0.1)
        with pytest.raises(BusyError, match=f"{MOST_WAITING} commands are waiting"):
            await shard.command(voice())
        stage.world.network.faults.refuse = 0.0
        await asyncio.gather(*waiting)
        await stage.quiet()
        assert received(stage, 4) == [(4, number) for number in range(MOST_WAITING)]

    play(story)


def test_a_caller_that_leaves_takes_its_command_along() -> None:
    async def story(stage: Stage) -> None:
        stage.world.network.faults.refuse = 1.0
        shard = stage.start()
        tasks = [asyncio.create_task(shard.command(voice(number))) for number in range(3)]
        await stage.quiet(0.1)
        tasks[1].cancel()
        stage.world.network.faults.refuse = 0.0
        await asyncio.gather(*tasks, return_exceptions=True)
        await stage.quiet()
        assert received(stage, 4) == [(4, 0), (4, 2)]

    play(story)


def test_heartbeats_go_out_on_time_however_much_is_asked_of_the_session() -> None:
    async def story(stage: Stage) -> None:
        stage.discord.interval = 10.0
        shard = stage.start()
        await stage.live()

        async def flood() -> None:
            while True:
                try:
                    await shard.command(voice())
                except BusyError:
                    await asyncio.sleep(0.2)

        floods = [asyncio.create_task(flood()) for _ in range(20)]
        for _ in range(50):
            await stage.quiet(7)
            assert stage.discord.session.socket is not None
            send(stage.discord.session.socket, {"op": 1, "d": None})
        for task in floods:
            task.cancel()
        moments = [moment for moment, _, _ in stage.discord.received]
        assert max(sum(1 for other in moments if 0 <= moment - other < 60) for moment in moments) <= 120
        beats = [moment for moment, op, _ in stage.discord.received if op == 1]
        assert max(later - earlier for earlier, later in pairwise(beats)) <= 10.1
        assert len(received(stage, 4)) > 350 / 62 * 100
        assert len(stage.discord.connections) == 1

    play(story)


@pytest.mark.parametrize("seed", range(10))
def test_whatever_the_network_does_a_command_that_is_answered_was_sent_on_a_live_session(seed: int) -> None:
    async def story(stage: Stage) -> None:
        chance = stage.world.chance
        shard = stage.start()
        answered: list[int] = []
        tasks: set[asyncio.Task[None]] = set()

        async def ask(number: int) -> None:
            try:
                await shard.command(voice(number))
            except (BusyError, NoSessionError):
                return
            answered.append(number)

        async def mute(socket: ServerSocket) -> None:
            await socket.receive()

        for number in range(300):
            await asyncio.sleep(chance.uniform(0, 1))
            tasks.add(asyncio.create_task(ask(number)))
            match chance.randrange(40):
                case 0:
                    stage.world.network.reset("pod")
                case 1 if stage.discord.sessions and stage.discord.session.socket is not None:
                    stage.discord.session.socket.close(chance.choice([1000, 4000, 4008, 4009]))
                case 2 if not stage.discord.scripts:
                    stage.discord.scripts.append(mute)
                case 3 | 4:
                    stage.world.network.faults.refuse = 0.0
                case 5:
                    stage.world.network.faults.refuse = 0.7
                case _:
                    pass
        await asyncio.gather(*tasks)
        sent = [d for op, d in received(stage, 4)]
        assert sent == sorted(set(sent)), "in order, and never twice"
        assert set(sent) <= set(answered)
        assert answered == sorted(answered)
        assert len(answered) > 10
        # What a connection took along when it dropped is gone; a few of the last ones before each end.
        assert len(answered) - len(sent) <= len(stage.discord.connections)

    play(story, seed=seed)
