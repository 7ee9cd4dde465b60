"""One shard against a scripted Discord, on virtual time."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace

import pytest
from shard.stage import GUILDS, OPTIONS, Stage, play
from virtual.discord import HOST, RESUME_HOST, Script, send
from virtual.sockets import ServerSocket

from shard_runtime.contract import ShardState
from shard_runtime.protocol.session import TAKING_TRIES


def test_a_fresh_shard_identifies_with_a_permit_and_forwards() -> None:
    async def story(stage: Stage) -> None:
        shard = stage.start()
        await stage.live()
        stage.discord.session.dispatch("MESSAGE_CREATE", {"id": "1", "guild_id": str(GUILDS[0])})
        await stage.quiet()
        status = shard.status()
        assert stage.sequences == [2, 3, 4, 5]
        assert stage.sink.happened == [("started", "session-1")]
        assert json.loads(stage.sink.payloads[-1])["t"] == "MESSAGE_CREATE"
        assert stage.permits.outcomes == ["ready"]
        assert (status.guilds, status.settled, status.identifies, status.sequence) == (3, True, 1, 5)
        assert stage.discord.connections == [f"wss://{HOST}/?v=10&encoding=json"]
        [identify] = stage.discord.identifies
        assert (identify["shard"], identify["intents"]) == ([1, 4], 1)

    play(story)


def test_a_dropped_connection_is_resumed_where_it_stopped() -> None:
    async def story(stage: Stage) -> None:
        stage.start()
        await stage.live()
        for number in range(3):
            stage.world.network.reset("pod")
            for _ in range(5):
                stage.discord.session.dispatch("TYPING_START", {"number": number})
            await stage.quiet(5)
        assert stage.shard.status().state is ShardState.READY
        assert stage.permits.asked == len(stage.discord.identifies) == 1
        # What the session used up itself is passed, everything else handed over, once and in order.
        passed = [sequence for _, sequence in stage.sink.passed]
        assert len(passed) == 3
        assert sorted(stage.sequences + passed) == list(range(2, stage.discord.session.sequence + 1))
        assert stage.sequences == sorted(stage.sequences)
        assert stage.discord.connections[1:] == [f"wss://{RESUME_HOST}/?v=10&encoding=json"] * 3

    play(story)


def script_op7_instead_of_hello(stage: Stage) -> Script:
    async def script(socket: ServerSocket) -> None:
        send(socket, {"op": 7, "d": None})

    return script


def test_reconnect_is_followed_at_once_and_may_come_instead_of_hello() -> None:
    async def story(stage: Stage) -> None:
        stage.start()
        await stage.live()
        await stage.quiet(60)
        stage.discord.scripts.append(script_op7_instead_of_hello(stage))
        before = stage.world.clock.monotonic()
        assert stage.discord.session.socket is not None
        send(stage.discord.session.socket, {"op": 7, "d": None})
        await stage.world.until(lambda: len(stage.discord.connections) == 2, within=0.2, step=0.01)
        await stage.world.until(lambda: stage.shard.status().resumes == 1, within=5)
        assert stage.world.clock.monotonic() - before < 3
        assert stage.discord.client_closes == [4000, 4000]
        assert len(stage.discord.identifies) == 1

    play(story)


def test_a_silent_connection_is_replaced_within_two_heartbeats() -> None:
    async def story(stage: Stage) -> None:
        stage.start()
        await stage.live()
        await stage.quiet(100)
        assert len(stage.discord.connections) == 1
        stage.discord.acknowledges = False
        await stage.world.until(lambda: len(stage.discord.connections) == 2, within=2 * stage.discord.interval + 1)
        stage.discord.acknowledges = True
        await stage.live()
        assert stage.discord.client_closes[0] == 4000
        assert len(stage.discord.identifies) == 1

    play(story)


def test_any_frame_counts_as_life_when_acknowledgements_are_stuck() -> None:
    async def story(stage: Stage) -> None:
        stage.start()
        await stage.live()
        stage.discord.acknowledges = False
        for _ in range(60):
            await stage.quiet(10)
            stage.discord.session.dispatch("TYPING_START", {})
        assert len(stage.discord.connections) == 1
        assert len(stage.discord.heartbeats) >= 10

    play(story)


def test_heartbeats_carry_the_watermark_and_are_sent_when_asked_for() -> None:
    async def story(stage: Stage) -> None:
        stage.start()
        await stage.live()
        await stage.quiet(1)
        stage.sink.acknowledging = False
        stage.discord.session.dispatch("TYPING_START", {})
        assert stage.discord.session.socket is not None
        before = len(stage.discord.heartbeats)
        send(stage.discord.session.socket, {"op": 1, "d": None})
        await stage.world.until(lambda: len(stage.discord.heartbeats) > before, within=0.1, step=0.01)
        assert stage.shard.status().sequence == 5
        assert stage.discord.heartbeats[-1] == 4

    play(story)


def test_an_invalid_session_is_given_up_after_a_wait_and_with_a_new_permit() -> None:
    async def story(stage: Stage) -> None:
        stage.start()
        await stage.live()
        stage.discord.sessions.clear()
        start = stage.world.clock.monotonic()
        stage.world.network.reset("pod")
        await stage.world.until(lambda: len(stage.discord.identifies) == 2, within=10)
        assert stage.world.clock.monotonic() - start >= 1
        await stage.live()
        assert stage.sink.happened == [("started", "session-1"), ("lost", "session-1"), ("started", "session-1")]
        assert stage.permits.outcomes == ["ready", "ready"]

    play(story)


def test_a_resumable_invalid_session_is_resumed_and_not_identified() -> None:
    async def story(stage: Stage) -> None:
        stage.start()
        await stage.live()
        assert stage.discord.session.socket is not None
        send(stage.discord.session.socket, {"op": 9, "d": True})
        await stage.world.until(lambda: stage.shard.status().resumes == 1, within=10)
        assert len(stage.discord.identifies) == 1

    play(story)


def test_an_identify_answered_by_an_invalid_session_is_reported_as_rejected() -> None:
    async def story(stage: Stage) -> None:
        async def reject(socket: ServerSocket) -> None:
            stage.discord.hello(socket)
            await socket.receive()
            send(socket, {"op": 9, "d": False})

        stage.discord.scripts.append(reject)
        stage.start()
        await stage.live()
        assert stage.permits.outcomes == ["rejected", "ready"]
        assert all(result.sent_milliseconds_ago is not None for _, result in stage.permits.results)

    play(story)


@pytest.mark.parametrize("code", [None, 1000, 1001, 4000, 4001, 4002, 4005, 4008, 4999])
def test_codes_that_leave_the_session_alive_lead_to_a_resume(code: int | None) -> None:
    async def story(stage: Stage) -> None:
        stage.start()
        await stage.live()
        assert stage.discord.session.socket is not None
        if code is None:
            stage.discord.session.socket.abort()
        else:
            stage.discord.session.socket.close(code)
        await stage.world.until(lambda: stage.shard.status().resumes == 1, within=10)
        assert len(stage.discord.identifies) == 1
        assert stage.shard.status().close_code == code

    play(story)


@pytest.mark.parametrize("code", [4003, 4007, 4009])
def test_codes_that_end_the_session_lead_to_an_identify(code: int) -> None:
    async def story(stage: Stage) -> None:
        stage.start()
        await stage.live()
        assert stage.discord.session.socket is not None
        stage.discord.session.socket.close(code)
        await stage.world.until(lambda: len(stage.discord.identifies) == 2, within=10)
        assert not stage.discord.resumes
        assert ("lost", "session-1") in stage.sink.happened

    play(story)


@pytest.mark.parametrize("code", [4010, 4011, 4012, 4013, 4014])
def test_codes_that_forbid_a_further_try_stop_the_shard_with_a_sentence(code: int) -> None:
    async def story(stage: Stage) -> None:
        async def refuse(socket: ServerSocket) -> None:
            stage.discord.hello(socket)
            await socket.receive()
            socket.close(code)

        stage.discord.scripts.append(refuse)
        stage.start()
        await asyncio.wait_for(stage.running, timeout=30)
        await stage.quiet(3600)
        status = stage.shard.status()
        assert (status.state, status.close_code) == (ShardState.STOPPED, code)
        assert status.problem is not None and str(code) in status.problem
        assert len(stage.discord.connections) == stage.permits.asked == 1
        assert stage.permits.outcomes == ["rejected"]

    play(story)


def test_a_refused_token_costs_one_identify_and_a_new_token_goes_on() -> None:
    async def story(stage: Stage) -> None:
        stage.token = "wrong"
        stage.start()
        await asyncio.wait_for(stage.running, timeout=30)
        await stage.quiet(3600)
        assert len(stage.discord.identifies) == 1
        assert stage.permits.outcomes == ["tokenRefused"]
        assert "token" in (stage.shard.status().problem or "")
        stage.token = "right"
        stage.run()
        await stage.live()
        assert stage.shard.status().problem is None
        assert stage.permits.outcomes == ["tokenRefused", "ready"]

    play(story)


def test_a_slow_ready_is_waited_for_and_costs_no_second_identify() -> None:
    async def story(stage: Stage) -> None:
        async def slow(socket: ServerSocket) -> None:
            stage.discord.hello(socket)
            identify = json.loads(await socket.receive())
            stage.discord.identifies.append(identify["d"])
            beats = asyncio.create_task(acknowledge(socket))
            await asyncio.sleep(300)
            beats.cancel()
            stage.discord.open(socket, identify["d"])
            while True:
                await stage.discord.answer(socket)

        async def acknowledge(socket: ServerSocket) -> None:
            while True:
                await socket.receive()
                send(socket, {"op": 11})

        stage.discord.scripts.append(slow)
        stage.start()
        await stage.live(within=400)
        assert len(stage.discord.identifies) == len(stage.discord.connections) == 1

    play(story)


def test_no_hello_costs_no_permit() -> None:
    async def story(stage: Stage) -> None:
        async def mute(socket: ServerSocket) -> None:
            await socket.receive()

        stage.discord.scripts.extend([mute, mute])
        stage.start()
        await stage.quiet(29)
        assert stage.permits.asked == 0
        await stage.live(within=60)
        assert len(stage.discord.connections) == 3
        assert stage.permits.asked == 1

    play(story)


def test_a_session_that_refuses_resumes_is_tried_until_discord_calls_it_gone() -> None:
    async def story(stage: Stage) -> None:
        stage.start()
        await stage.live()
        dead_at = stage.world.clock.monotonic() + 90

        async def brick(socket: ServerSocket) -> None:
            stage.discord.hello(socket)
            payload = json.loads(await socket.receive())
            if payload["op"] != 6:
                stage.discord.identifies.append(payload["d"])
                stage.discord.open(socket, payload["d"])
                stage.discord.scripts.clear()
                await stage.discord.serve(socket)
            if stage.world.clock.monotonic() < dead_at:
                socket.abort()
            else:
                send(socket, {"op": 9, "d": False})

        stage.discord.scripts.extend([brick] * 1000)
        stage.world.network.reset("pod")
        await stage.quiet(80)
        assert len(stage.discord.identifies) == 1
        assert len(stage.discord.connections) > 5
        await stage.world.until(lambda: len(stage.discord.identifies) == 2, within=60)

    play(story)


def test_a_session_whose_resumes_fail_longer_than_it_can_live_is_given_up() -> None:
    async def story(stage: Stage) -> None:
        stage.start()
        await stage.live()

        async def brick(socket: ServerSocket) -> None:
            stage.discord.hello(socket)
            payload = json.loads(await socket.receive())
            if payload["op"] == 6:
                socket.abort()
                return
            stage.discord.identifies.append(payload["d"])

        stage.discord.scripts.extend([brick] * 1000)
        stage.world.network.reset("pod")
        await stage.quiet(290)
        assert len(stage.discord.identifies) == 1
        await stage.world.until(lambda: len(stage.discord.identifies) == 2, within=60)
        # Backoff is capped low while a session is held, and does not hammer.
        assert 25 <= len(stage.discord.connections) <= 120

    play(story)


def test_an_unreachable_discord_never_costs_the_session() -> None:
    async def story(stage: Stage) -> None:
        stage.start()
        await stage.live()
        stage.world.network.faults.refuse = 1.0
        stage.world.network.reset("pod")
        await stage.quiet(1800)
        stage.world.network.faults.refuse = 0.0
        await stage.world.until(lambda: stage.shard.status().resumes == 1, within=30)
        assert len(stage.discord.identifies) == 1

    play(story)


def test_a_dead_resume_url_is_replaced_by_the_main_one_for_a_resume() -> None:
    async def story(stage: Stage) -> None:
        stage.start()
        await stage.live()
        stage.world.network.stop_serving(RESUME_HOST)
        stage.world.network.reset("pod")
        await stage.world.until(lambda: stage.shard.status().resumes == 1, within=10)
        assert stage.discord.connections[-1].startswith(f"wss://{HOST}/")
        assert len(stage.discord.identifies) == 1

    play(story)


@pytest.mark.parametrize(("end_session", "code"), [(False, 4000), (True, 1000)])
def test_a_stop_keeps_the_session_unless_it_is_meant_to_end(end_session: bool, code: int) -> None:
    async def story(stage: Stage) -> None:
        shard = stage.start()
        await stage.live()
        await stage.quiet()
        await shard.stop(end_session=end_session)
        await stage.quiet(1)
        assert stage.discord.client_closes == [code]
        assert stage.running.done()
        saved = shard.saved()
        assert (saved is None) == end_session
        if saved is not None:
            assert (saved.session_id, saved.sequence, saved.guilds) == ("session-1", 4, 3)

    play(story)


def test_another_process_resumes_from_the_watermark_and_gets_the_rest_again() -> None:
    async def story(stage: Stage) -> None:
        shard = stage.start()
        await stage.live()
        await stage.quiet()
        stage.sink.acknowledging = False
        stage.discord.session.dispatch("TYPING_START", {})
        await stage.quiet()
        await shard.stop(end_session=False)
        stage.discord.session.dispatch("MESSAGE_CREATE", {})
        saved = shard.saved()
        stage.process.kill()
        stage.process = stage.world.process("pod")
        seen = len(stage.sink.events)
        shard = stage.start(saved=saved)
        await stage.live()
        assert stage.discord.resumes[-1]["seq"] == 4
        assert stage.sequences[seen:] == [5, 6]
        status = shard.status()
        assert (status.guilds, status.settled, status.identifies) == (3, True, 0)
        assert status.session_seconds is not None and status.session_seconds > 2
        assert len(stage.discord.identifies) == 1

    play(story)


def test_a_replay_of_what_was_received_is_not_handed_over_again() -> None:
    async def story(stage: Stage) -> None:
        stage.start()
        await stage.live()
        await stage.quiet()

        async def replay_all(socket: ServerSocket) -> None:
            stage.discord.hello(socket)
            resume = json.loads(await socket.receive())["d"]
            stage.discord.resume(socket, resume | {"seq": 0})
            while True:
                await stage.discord.answer(socket)

        stage.discord.scripts.append(replay_all)
        stage.world.network.reset("pod")
        stage.discord.session.dispatch("TYPING_START", {})
        await stage.world.until(lambda: stage.shard.status().resumes == 1, within=10)
        assert stage.sequences == [2, 3, 4, 5]

    play(story)


def test_an_event_that_the_sink_could_not_take_is_asked_for_again() -> None:
    async def story(stage: Stage) -> None:
        stage.start()
        await stage.live()
        await stage.quiet()
        stage.sink.fail_at = {6}
        for _ in range(4):
            stage.discord.session.dispatch("TYPING_START", {})
        await stage.world.until(lambda: stage.shard.status().resumes == 1, within=10)
        assert stage.sequences == [2, 3, 4, 5, 6, 7, 8]
        assert stage.log.named("shard_failed")

    play(story)


def test_an_event_that_the_sink_can_never_take_is_given_up_and_counted_and_costs_no_other() -> None:
    async def story(stage: Stage) -> None:
        stage.start()
        await stage.live()
        await stage.quiet()
        stage.sink.always_fail_at = {6}
        for _ in range(4):
            stage.discord.session.dispatch("TYPING_START", {})
        await stage.world.until(lambda: 8 in stage.sequences, within=60)
        session = stage.discord.session.id
        assert stage.sequences == [2, 3, 4, 5, 7, 8]
        assert stage.sink.dropped == [(session, 6, "TYPING_START")]
        connections = len(stage.discord.connections)
        assert connections == 1 + TAKING_TRIES, "each try is a connection"
        stage.discord.session.dispatch("TYPING_START", {})
        await stage.quiet(60)
        assert len(stage.sequences) == 7 and len(stage.discord.connections) == connections, "the session goes on"

    play(story)


def test_a_frame_that_is_no_payload_is_asked_for_again_and_then_given_up() -> None:
    async def story(stage: Stage) -> None:
        stage.start()
        await stage.live()
        await stage.quiet()

        def spoil() -> None:
            assert stage.discord.session.socket is not None
            stage.discord.session.socket.send(b'{"op":0,"t":"MESSAGE_CREATE","s":5,"d":{"tru')

        spoil()
        await stage.world.until(lambda: stage.shard.status().resumes == 1, within=10)
        stage.sink.passed.clear()
        assert stage.sequences == [2, 3, 4]
        stage.discord.session.dispatch("TYPING_START", {})
        await stage.quiet()
        assert stage.sequences == [2, 3, 4, 6]  # 5 was RESUMED's
        assert len(stage.discord.connections) == 2

    play(story)


def test_a_permit_that_comes_too_late_goes_back_unused() -> None:
    async def story(stage: Stage) -> None:
        stage.permits.lives = [0, 2000]
        stage.start()
        await stage.live()
        assert stage.permits.outcomes == ["unused", "ready"]
        assert stage.permits.results[0][1].sent_milliseconds_ago is None
        assert len(stage.discord.identifies) == 1

    play(story)


def test_a_permit_that_finds_no_connection_goes_back_unused() -> None:
    async def story(stage: Stage) -> None:
        stage.permits.delay = 20
        stage.start()
        await stage.world.until(lambda: stage.permits.asked == 1, within=10)
        stage.world.network.faults.refuse = 1.0
        stage.world.network.reset("pod")
        await stage.quiet(25)
        assert stage.permits.outcomes == ["unused"]
        stage.world.network.faults.refuse = 0.0
        await stage.live(within=200)
        assert stage.permits.outcomes == ["unused", "ready"]
        assert len(stage.discord.identifies) == 1

    play(story)


def test_waiting_for_a_permit_lasts_over_dropped_connections_with_one_request() -> None:
    async def story(stage: Stage) -> None:
        stage.permits.delay = 120
        stage.start()
        for _ in range(3):
            await stage.quiet(32)
            assert stage.shard.status().state is ShardState.WAITING
            stage.world.network.reset("pod")
        await stage.live(within=60)
        assert stage.permits.asked == 1
        assert stage.permits.outcomes == ["ready"]

    play(story)


@pytest.mark.parametrize("moment", [0.0, 0.0005, 0.002, 0.01, 0.6, 1.0, 10.0])
def test_a_stop_at_any_moment_ends_the_run(moment: float) -> None:
    async def story(stage: Stage) -> None:
        stage.permits.delay = 5
        stage.world.network.links.set_delay("pod", "discord", (0.3, 0.3))
        shard = stage.start()
        await asyncio.sleep(moment)
        await asyncio.wait_for(asyncio.gather(shard.stop(end_session=False), stage.running), timeout=4)
        assert shard.status().state is ShardState.STOPPED
        connections = len(stage.discord.connections)
        await stage.quiet(600)
        assert len(stage.discord.connections) <= max(connections, 1)

    play(story)


def test_joins_leaves_and_outages_are_told_apart_in_the_count() -> None:
    async def story(stage: Stage) -> None:
        stage.start()
        await stage.live()
        await stage.quiet()
        first, second, _ = GUILDS
        session = stage.discord.session
        session.dispatch("GUILD_DELETE", {"id": str(first), "unavailable": True})
        session.dispatch("GUILD_CREATE", {"id": str(first), "unavailable": False})
        await stage.quiet()
        assert stage.shard.status().guilds == 3
        session.dispatch("GUILD_DELETE", {"id": str(second)})
        await stage.quiet()
        assert stage.shard.status().guilds == 2
        session.dispatch("GUILD_CREATE", {"id": "77"})
        session.dispatch("GUILD_CREATE", {"id": "78", "unavailable": True})
        await stage.quiet()
        assert stage.shard.status().guilds == 4

    play(story)


def test_a_guild_that_never_shows_up_holds_settling_for_15_seconds() -> None:
    async def story(stage: Stage) -> None:
        stage.discord.missing = frozenset({GUILDS[1]})
        stage.start()
        await stage.live()
        await stage.quiet(14.5)
        assert not stage.shard.status().settled
        await stage.quiet(1)
        assert stage.shard.status().settled

    play(story)


def test_a_guild_in_outage_counts_as_seen() -> None:
    async def story(stage: Stage) -> None:
        stage.discord.missing = frozenset({GUILDS[1]})
        stage.start()
        await stage.live()
        stage.discord.session.dispatch("GUILD_DELETE", {"id": str(GUILDS[1]), "unavailable": True})
        await stage.quiet(1)
        assert stage.shard.status().settled
        assert stage.shard.status().guilds == 3

    play(story)


@pytest.mark.parametrize(("compression", "asked"), [("payload", True), ("none", None)])
def test_payload_compression_is_asked_for_in_identify(compression: str, asked: bool | None) -> None:
    async def story(stage: Stage) -> None:
        stage.start(options=replace(OPTIONS, compression=compression))
        await stage.live()
        [identify] = stage.discord.identifies
        assert identify.get("compress") is asked
        assert stage.discord.connections == [f"wss://{HOST}/?v=10&encoding=json"]

    play(story)


def test_an_unknown_compression_is_refused_with_a_sentence() -> None:
    async def story(stage: Stage) -> None:
        with pytest.raises(ValueError, match='"brotli" is not one of none, payload, zlib-stream, zstd-stream'):
            stage.start(options=replace(OPTIONS, compression="brotli"))

    play(story)


@pytest.mark.parametrize("seed", range(20))
def test_whatever_the_network_does_every_event_is_handed_over_once_and_in_order(seed: int) -> None:
    async def story(stage: Stage) -> None:
        chance = stage.world.chance
        stage.start()
        for number in range(400):
            await asyncio.sleep(chance.uniform(0, 2))
            if stage.discord.sessions:
                stage.discord.session.dispatch("TYPING_START", {"number": number})
            match chance.randrange(40):
                case 0:
                    stage.world.network.reset("pod")
                case 1 if stage.discord.sessions and stage.discord.session.socket is not None:
                    send(stage.discord.session.socket, {"op": 7, "d": None})
                case 2 if stage.discord.sessions and stage.discord.session.socket is not None:
                    stage.discord.session.socket.close(chance.choice([1000, 4000, 4008]))
                case 3:
                    stage.world.network.links.cut("pod", "discord")
                case 4 | 5 | 6:
                    stage.world.network.links.heal()
                case 7:
                    stage.world.network.faults.refuse = chance.choice([0.0, 0.5])
                case 8 if stage.discord.sessions:
                    stage.sink.fail_at = {stage.discord.session.sequence + 1}
                case _:
                    pass
        stage.world.network.links.heal()
        stage.world.network.faults.refuse = 0.0
        await stage.quiet(150)
        session = stage.discord.session
        plain = [payload["s"] for payload in session.sent if payload["t"] not in ("READY", "RESUMED")]
        handed_over = [sequence for id, sequence, _ in stage.sink.events if id == session.id]
        assert handed_over == plain
        # An IDENTIFY whose READY was cut off cannot be taken back; there is never another reason for a second one.
        assert stage.permits.outcomes.count("ready") == 1
        assert len(stage.discord.identifies) == len(stage.permits.results) - stage.permits.outcomes.count("unused")

    play(story, seed=seed)
