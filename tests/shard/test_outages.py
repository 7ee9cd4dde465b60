"""What Discord does on its bad days, for minutes, and how soon after it the session is back: without an IDENTIFY."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable

import pytest
from shard.stage import Stage, play
from virtual.discord import HOST, RESUME_HOST, send
from virtual.sockets import ServerSocket

from shard_runtime.contract import ShardState

MINUTES = 60.0


def refuse(stage: Stage) -> Callable[[], None]:
    stage.world.network.faults.refuse = 1.0

    def heal() -> None:
        stage.world.network.faults.refuse = 0.0

    return heal


def hang(stage: Stage) -> Callable[[], None]:
    """Packets vanish both ways."""
    stage.world.network.links.cut("pod", "discord")
    return stage.world.network.links.heal


def serve_by(script: Callable[[Stage, ServerSocket], Awaitable[None]]) -> Callable[[Stage], Callable[[], None]]:
    def begin(stage: Stage) -> Callable[[], None]:
        async def serve(socket: ServerSocket) -> None:
            await script(stage, socket)

        stage.discord.scripts.extend([serve] * 1000)
        return stage.discord.scripts.clear

    return begin


async def close_at_once(stage: Stage, socket: ServerSocket) -> None:
    socket.close(1000)


async def reset_at_once(stage: Stage, socket: ServerSocket) -> None:
    socket.abort()


async def say_nothing(stage: Stage, socket: ServerSocket) -> None:
    await socket.receive()


async def reconnect_instead_of_hello(stage: Stage, socket: ServerSocket) -> None:
    send(socket, {"op": 7, "d": None})
    await socket.receive()


async def drop_the_resume(stage: Stage, socket: ServerSocket) -> None:
    stage.discord.hello(socket)
    assert json.loads(await socket.receive())["op"] == 6, "an IDENTIFY was spent"
    socket.abort()


async def never_answer_the_resume(stage: Stage, socket: ServerSocket) -> None:
    stage.discord.hello(socket)
    while True:
        payload = json.loads(await socket.receive())
        assert payload["op"] != 2, "an IDENTIFY was spent"
        if payload["op"] == 1:
            send(socket, {"op": 11})


async def call_the_session_resumable(stage: Stage, socket: ServerSocket) -> None:
    stage.discord.hello(socket)
    assert json.loads(await socket.receive())["op"] == 6, "an IDENTIFY was spent"
    send(socket, {"op": 9, "d": True})
    await socket.receive()


async def close_the_resume_with_1000(stage: Stage, socket: ServerSocket) -> None:
    stage.discord.hello(socket)
    assert json.loads(await socket.receive())["op"] == 6, "an IDENTIFY was spent"
    socket.close(1000)


def lose_the_api_and_the_resume_host(stage: Stage) -> Callable[[], None]:
    """The gateway's main URL stays, and nobody can be asked for it."""
    stage.world.network.stop_serving("api.test")
    stage.world.network.stop_serving(RESUME_HOST)
    return lambda: None


OUTAGES = [
    (refuse, 12),
    (hang, 32),
    (serve_by(close_at_once), 12),
    (serve_by(reset_at_once), 12),
    (serve_by(say_nothing), 42),
    (serve_by(reconnect_instead_of_hello), 12),
    (serve_by(drop_the_resume), 12),
    (serve_by(never_answer_the_resume), 72),
    (serve_by(call_the_session_resumable), 12),
    (serve_by(close_the_resume_with_1000), 12),
]
"""How it goes wrong, and the seconds after its end within which the session is live: the longest pause while a session
is held is 10 s, and what was begun just before the end has to time out."""


@pytest.mark.parametrize(
    ("outage", "within"),
    OUTAGES,
    ids=[
        "refused",
        "packets lost",
        "closed with 1000",
        "reset",
        "no HELLO",
        "op 7 instead of HELLO",
        "resume dropped",
        "resume not answered",
        "resume answered op 9 true",
        "resume closed with 1000",
    ],
)
@pytest.mark.parametrize("minutes", [0.5, 4.5])
def test_after_an_outage_the_session_is_back_soon_and_never_identified_anew(
    outage: Callable[[Stage], Callable[[], None]], within: float, minutes: float
) -> None:
    async def story(stage: Stage) -> None:
        stage.start()
        await stage.live()
        await stage.quiet(60)
        for _ in range(2):
            heal = outage(stage)
            stage.world.network.reset("pod")
            await stage.quiet(minutes * MINUTES)
            assert stage.shard.status().state is not ShardState.READY
            heal()
            stage.discord.session.dispatch("TYPING_START", {})
            await stage.live(within=within)
            await stage.quiet(60)
        assert len(stage.discord.identifies) == stage.permits.asked == 1
        assert len(stage.discord.connections) < 250, "Discord is not hammered"
        assert stage.sequences == sorted(set(stage.sequences))
        assert stage.sequences[-1] in (stage.discord.session.sequence - 1, stage.discord.session.sequence)

    play(story)


def test_the_main_url_is_used_again_though_nobody_can_be_asked_for_it() -> None:
    async def story(stage: Stage) -> None:
        stage.start()
        await stage.live()
        stage.world.network.stop_serving("api.test")
        stage.world.network.stop_serving(RESUME_HOST)
        stage.world.network.faults.refuse = 1.0
        stage.world.network.reset("pod")
        await stage.quiet(300)
        stage.world.network.faults.refuse = 0.0
        await stage.world.until(lambda: stage.shard.status().resumes == 1, within=25)
        assert stage.discord.connections[-1].startswith(f"wss://{HOST}/")

    play(story)


def test_one_failed_resume_and_a_long_absence_of_the_network_do_not_cost_the_session() -> None:
    async def story(stage: Stage) -> None:
        stage.start()
        await stage.live()

        async def drop(socket: ServerSocket) -> None:
            stage.discord.hello(socket)
            await socket.receive()
            stage.world.network.faults.refuse = 1.0
            socket.abort()

        stage.discord.scripts.append(drop)
        stage.world.network.reset("pod")
        await stage.quiet(20 * MINUTES)
        stage.world.network.faults.refuse = 0.0
        await stage.world.until(lambda: stage.shard.status().resumes == 1, within=12)
        assert len(stage.discord.identifies) == 1

    play(story)


def test_while_no_session_is_held_identifies_are_spent_one_permit_at_a_time_and_ever_more_slowly() -> None:
    """An application that Discord lets start no session (op 9 to every IDENTIFY)."""

    async def story(stage: Stage) -> None:
        async def reject(socket: ServerSocket) -> None:
            stage.discord.hello(socket)
            await socket.receive()
            stage.discord.identifies.append({})
            send(socket, {"op": 9, "d": False})
            await socket.receive()

        stage.discord.scripts.extend([reject] * 1000)
        stage.start()
        await stage.quiet(60 * MINUTES)
        spent = len(stage.discord.identifies)
        assert spent == stage.permits.asked == len(stage.permits.outcomes)
        assert set(stage.permits.outcomes) == {"rejected"}
        assert 60 <= spent <= 60 / 0.5 + 10, (
            "the gate stops a shard long before; the pause alone is half a minute and more"
        )

    play(story)
