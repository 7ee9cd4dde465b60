"""Each handler of a pod at work, in whole pods on virtual time; and what becomes of a pod whose handlers fail."""

from __future__ import annotations

import asyncio
import json
import logging
import textwrap
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from runtime.in_process import PodInOneProcess
from runtime.stage import record
from runtime.town import GUILDS, Town, all_ready, make_town
from virtual.world import World, run_world

from shard_runtime import contract

CANCELLED = "gone = asyncio.Future(); gone.cancel(); await gone"
"""A body that waits for what somebody else has cancelled."""

Story = Callable[[World, Town, PodInOneProcess], Awaitable[None]]


def run_with(handlers: str, story: Story, *, shards: int = 2, workers: int = 1) -> None:
    """Run *story* with a pod that has *handlers* and is about to be READY."""

    async def whole(world: World) -> None:
        town = make_town(world)
        pod = town.pod(1, shards, workers)
        pod.handlers = textwrap.dedent(handlers)
        await pod.start().adopt_record(record(1, active=1))
        await story(world, town, pod)

    run_world(whole)


async def ready(world: World, pod: PodInOneProcess, within: float = 30) -> None:
    await world.until(lambda: all_ready(pod), within=within)


def errors_of(pod: PodInOneProcess) -> dict[str, float]:
    assert pod.pod is not None
    return {name: count for name, count in pod.pod.measures().counter("hookErrors").items() if count}


async def look(pod: PodInOneProcess) -> None:
    assert pod.pod is not None
    await pod.pod.tick()


def test_start_gateway_comes_before_the_first_shard() -> None:
    handlers = """
        import asyncio
        async def start_gateway(context, default):
            assert (context.gateway, context.generation, context.worker) == ("bot", 1, 0)
            assert (context.shards, context.shard_count) == ((0, 1), 2)
            await asyncio.sleep(20)
            await default()
    """

    async def story(world: World, town: Town, pod: PodInOneProcess) -> None:
        await world.clock.sleep(19)
        assert town.discord.connections == []
        await ready(world, pod)
        assert errors_of(pod) == {}

    run_with(handlers, story)


@pytest.mark.parametrize("body", ["await asyncio.sleep(10_000)", "return", "raise ValueError('no')", CANCELLED])
def test_a_start_gateway_that_fails_cannot_keep_the_shards_from_starting(body: str) -> None:
    handlers = f"import asyncio\nasync def start_gateway(context, default):\n    {body}\n"

    async def story(world: World, town: Town, pod: PodInOneProcess) -> None:
        await ready(world, pod, within=60)
        await look(pod)
        assert errors_of(pod) == {"start_gateway": 1}

    run_with(handlers, story)


def test_spawn_shards_says_which_start_when_and_what_it_leaves_out_starts_after_it() -> None:
    handlers = """
        import asyncio
        async def spawn_shards(context, default, shards):
            await default([3])
            await asyncio.sleep(20)
            await default([2, 0])
    """

    async def story(world: World, town: Town, pod: PodInOneProcess) -> None:
        await world.clock.sleep(15)
        assert [identify["shard"] for identify in town.discord.identifies] == [[3, 4]]
        await ready(world, pod)
        assert sorted(identify["shard"][0] for identify in town.discord.identifies) == [0, 1, 2, 3]
        await look(pod)
        assert errors_of(pod) == {}

    run_with(handlers, story, shards=4)


def test_sessions_of_shards_that_are_yet_to_be_spawned_outlive_a_kill() -> None:
    handlers = """
        import asyncio
        async def spawn_shards(context, default, shards):
            await default([0])
            await asyncio.sleep(20)
            await default([1])
    """

    async def story(world: World, town: Town, pod: PodInOneProcess) -> None:
        await ready(world, pod, within=60)
        for _ in range(2):  # the second time, the kill comes while shard 1 is waiting
            pod.kill()
            await asyncio.sleep(1)
            await pod.start().adopt_record(record(1, active=1))
            await world.clock.sleep(10)
        await ready(world, pod, within=60)
        assert len(town.discord.identifies) == 2, "all others were resumed"
        assert {resume["session_id"] for resume in town.discord.resumes} == set(town.discord.sessions)

    run_with(handlers, story)


def test_a_shard_that_spawn_shards_invents_is_an_error_and_all_others_start() -> None:
    handlers = """
        async def spawn_shards(context, default, shards):
            await default([0, 7])
    """

    async def story(world: World, town: Town, pod: PodInOneProcess) -> None:
        await ready(world, pod)
        await look(pod)
        assert errors_of(pod) == {"spawn_shards": 1}

    run_with(handlers, story)


def test_create_shard_may_give_a_shard_of_its_own() -> None:
    handlers = """
        from shard_runtime.shard import Shard
        made = []
        class Counting(Shard):
            pass
        async def create_shard(context, default, shard):
            found = await default(shard)
            found.__class__ = Counting
            context.state.__dict__.setdefault("made", []).append(shard)
            context.log.warning("made %s", context.state.made)
            return found
    """

    async def story(world: World, town: Town, pod: PodInOneProcess) -> None:
        await ready(world, pod)
        kinds = {type(shard).__name__ for shard in pod.workers[0]._shards._shards.values()}
        assert kinds == {"Counting"}
        assert errors_of(pod) == {}

    run_with(handlers, story)


@pytest.mark.parametrize("body", ["return 7", "raise ValueError('no')"])
def test_a_create_shard_that_fails_costs_no_shard(body: str) -> None:
    async def story(world: World, town: Town, pod: PodInOneProcess) -> None:
        await ready(world, pod)
        await look(pod)
        assert errors_of(pod) == {"create_shard": 2}

    run_with(f"async def create_shard(context, default, shard):\n    {body}\n", story)


def test_request_identify_may_wait_and_may_ask_somebody_else() -> None:
    handlers = """
        import asyncio
        from shard_runtime.contract import Permit
        async def request_identify(context, default, shard):
            if shard == 0:
                await asyncio.sleep(100)
                return await default(shard)
            return Permit(id="mine")
    """

    async def story(world: World, town: Town, pod: PodInOneProcess) -> None:
        await world.clock.sleep(90)
        assert [identify["shard"][0] for identify in town.discord.identifies] == [1]
        await ready(world, pod)
        assert errors_of(pod) == {}

    run_with(handlers, story)


def test_identify_may_change_what_a_session_is_started_with_but_not_whose_it_is() -> None:
    handlers = """
        async def identify(context, default, shard, payload):
            assert "token" not in payload and "shard" not in payload, payload
            changed = {**payload, "presence": {"status": f"shard {shard}"}, "token": "another", "shard": [9, 9]}
            await default(shard, changed)
    """

    async def story(world: World, town: Town, pod: PodInOneProcess) -> None:
        await ready(world, pod)
        found = sorted((d["shard"], d["presence"]["status"], d["token"], d["intents"]) for d in town.discord.identifies)
        assert found == [([0, 2], "shard 0", "right", 1), ([1, 2], "shard 1", "right", 1)]
        await look(pod)
        assert errors_of(pod) == {}
        assert pod.pod is not None and pod.pod.measures().total("identifies") == 2

    run_with(handlers, story)


@pytest.mark.parametrize(
    "body",
    [
        "return",
        "await asyncio.sleep(30)",
        "raise ValueError('no')",
        "await default(shard, {'intents': 1})",
        "await default(shard, {**payload, 'presence': 'x' * 5000})",
        "await default(shard, None)",
        "await default(shard, {'intents': 1 << 90, 'properties': {}})",
        "await default(shard)",
    ],
)
def test_an_identify_that_fails_is_sent_as_without_it_and_within_the_permits_life(body: str) -> None:
    handlers = f"import asyncio\nasync def identify(context, default, shard, payload):\n    {body}\n"

    async def story(world: World, town: Town, pod: PodInOneProcess) -> None:
        await ready(world, pod)
        assert [d["shard"] for d in town.discord.identifies] in ([[0, 2], [1, 2]], [[1, 2], [0, 2]])
        assert all(d["token"] == "right" and "presence" not in d for d in town.discord.identifies)
        await look(pod)
        assert errors_of(pod) == {"identify": 2}

    run_with(handlers, story)


@pytest.mark.parametrize(
    ("body", "errors"),
    [
        ("await default(shard, sequence)", False),
        ("await default(shard, 10**9)", False),
        ("return", True),
        ("await asyncio.sleep(100)", True),
        ("raise ValueError('no')", True),
        (CANCELLED, True),
    ],
)
def test_heartbeats_are_sent_in_any_case(body: str, errors: bool) -> None:
    handlers = f"import asyncio\nasync def heartbeat(context, default, shard, sequence):\n    {body}\n"

    async def story(world: World, town: Town, pod: PodInOneProcess) -> None:
        await ready(world, pod)
        await world.clock.sleep(600)
        beats = town.discord.heartbeats
        assert len(beats) >= 26, "about every 41 s from each shard"
        assert all(beat is None or beat <= 1 + len(GUILDS) for beat in beats)
        assert len(town.discord.connections) == 2, "no connection was lost"
        await look(pod)
        assert set(errors_of(pod)) == ({"heartbeat"} if errors else set())

    run_with(handlers, story)


def test_handle_payload_sees_every_event_in_order_and_decides_what_goes_on() -> None:
    handlers = """
        import asyncio
        import json
        import msgspec
        async def handle_payload(context, default, event):
            context.state.__dict__.setdefault("seen", []).append((event.shard, event.sequence))
            whole = json.loads(event.payload)
            number = whole["d"].get("number")
            if number is not None and number % 3 == 0:
                return
            if number is not None and number % 3 == 1:
                await asyncio.sleep(0.03)
                whole["d"]["changed"] = True
                event = msgspec.structs.replace(event, payload=json.dumps(whole).encode())
            await default(event)
    """

    async def story(world: World, town: Town, pod: PodInOneProcess) -> None:
        await ready(world, pod)
        await town.talk(6)
        await world.clock.sleep(10)
        assert town.sent == 300
        assert sorted(town.bot.numbers) == [number for number in range(300) if number % 3]
        for shard in range(2):
            of_shard = [n for n in town.bot.numbers if contract.shard_of_guild(GUILDS[n % len(GUILDS)], 2) == shard]
            assert of_shard == sorted(of_shard), "the order of a shard holds, also across those that took longer"
        status = pod.workers[0].status()
        assert status.queued == 0
        assert status.counters["excluded"] == 100
        for shard_status in status.shards:
            assert shard_status.watermark == shard_status.sequence, "what was left out holds nothing back"
        assert errors_of(pod) == {}

    run_with(handlers, story)


def test_what_forward_events_leaves_out_does_not_come_to_handle_payload() -> None:
    handlers = """
        import asyncio
        async def handle_payload(context, default, event):
            assert event.name != "TYPING_START"
            await asyncio.sleep(0.5)
            await default(event)
    """

    async def story(world: World, town: Town, pod: PodInOneProcess) -> None:
        await ready(world, pod)
        await world.clock.sleep(30)
        assert pod.pod is not None
        forward = contract.ForwardConfig(url="http://bot/events", events=contract.EventFilter(exclude=["TYPING_START"]))
        await pod.pod.adopt_forward(forward)
        for _ in range(3):
            for session in town.discord.sessions.values():
                session.dispatch("TYPING_START", {"channel_id": "1"})
            await town.talk(0.1)
        await world.clock.sleep(60)
        assert sorted(town.bot.numbers) == list(range(town.sent))
        assert "TYPING_START" not in town.bot.names
        status = pod.workers[0].status()
        assert (status.queued, status.counters["excluded"]) == (0, 6)
        for shard_status in status.shards:
            assert shard_status.watermark == shard_status.sequence
        await look(pod)
        assert errors_of(pod) == {}

    run_with(handlers, story)


def test_a_kill_while_events_wait_for_handle_payload_loses_none() -> None:
    handlers = """
        import asyncio
        async def handle_payload(context, default, event):
            await asyncio.sleep(0.5)
            await default(event)
    """

    async def story(world: World, town: Town, pod: PodInOneProcess) -> None:
        await ready(world, pod)
        await world.clock.sleep(10)
        await town.talk(2)
        assert len(set(town.bot.numbers)) < town.sent, "some wait"
        pod.kill()
        await asyncio.sleep(1)
        await pod.start().adopt_record(record(1, active=1))
        await world.until(lambda: len(set(town.bot.numbers)) == town.sent, within=120)
        assert len(town.discord.identifies) == 2

    run_with(handlers, story)


def test_a_graceful_stop_waits_for_events_in_handle_payload() -> None:
    handlers = """
        import asyncio
        async def handle_payload(context, default, event):
            await asyncio.sleep(0.02)
            await default(event)
    """

    async def story(world: World, town: Town, pod: PodInOneProcess) -> None:
        await ready(world, pod)
        await world.clock.sleep(10)
        await town.talk(1, rate=200)
        assert pod.workers[0].status().queued > 50
        await pod.stop(20)
        assert sorted(town.bot.numbers) == list(range(town.sent))

    run_with(handlers, story)


def test_reading_rests_while_many_events_wait_for_handle_payload() -> None:
    handlers = """
        import asyncio
        async def handle_payload(context, default, event):
            await asyncio.sleep(0.01)
            await default(event)
    """

    async def story(world: World, town: Town, pod: PodInOneProcess) -> None:
        await ready(world, pod)
        await town.talk(3, rate=1000)
        most = 0
        for _ in range(400):
            most = max(most, pod.workers[0].status().queued)
            await world.clock.sleep(0.1)
        assert 500 < most < 1100, "the rest waits in the sockets"
        await world.until(lambda: len(town.bot.numbers) == town.sent, within=120)
        assert town.bot.numbers.count(0) == 1
        assert len(town.discord.connections) == 2

    run_with(handlers, story)


@pytest.mark.parametrize(
    "body",
    [
        "raise ValueError('no')",
        "await asyncio.sleep(100)",
        "await default(event); raise ValueError('no')",
        "await default(event); await default(event)",
        "await default(7)",
        "await default(event); return 7",
        CANCELLED,
    ],
)
def test_a_handle_payload_that_fails_changes_nothing(body: str) -> None:
    handlers = f"import asyncio\nasync def handle_payload(context, default, event):\n    {body}\n"

    async def story(world: World, town: Town, pod: PodInOneProcess) -> None:
        await ready(world, pod)
        await town.talk(0.2)
        await world.until(lambda: len(town.bot.numbers) == town.sent, within=600)
        assert town.bot.numbers.count(0) == 1
        await look(pod)
        accepted = town.sent + 2 + 2 * len(GUILDS)
        assert errors_of(pod) == {"handle_payload": accepted}

    run_with(handlers, story)


def test_an_event_that_cannot_be_queued_behind_handle_payload_costs_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    from shard_runtime.delivery import Delivery

    plain = Delivery.accept
    tries: list[int] = []

    def accept(self: Delivery, shard: int, session_id: str, sequence: int, *more: Any, **options: Any) -> None:
        if b'"number":7,' in more[1] or b'"number":7}' in more[1]:
            tries.append(sequence)
            raise RuntimeError("our own fault")
        plain(self, shard, session_id, sequence, *more, **options)

    monkeypatch.setattr(Delivery, "accept", accept)

    async def story(world: World, town: Town, pod: PodInOneProcess) -> None:
        await ready(world, pod)
        await town.talk(1)
        await world.clock.sleep(5)
        assert sorted(town.bot.numbers) == [number for number in range(town.sent) if number != 7]
        assert len(tries) == 2
        status = pod.workers[0].status()
        assert status.counters["dropped:MESSAGE_CREATE:cannot be taken over"] == 1
        assert all(shard.watermark == shard.sequence for shard in status.shards)
        assert errors_of(pod) == {}, "the handler did nothing wrong"

    run_with("async def handle_payload(context, default, event):\n    await default(event)\n", story)


def test_the_status_counts_what_waits_for_handle_payload() -> None:
    handlers = """
        import asyncio
        async def handle_payload(context, default, event):
            await asyncio.sleep(4)
            await default(event)
    """

    async def story(world: World, town: Town, pod: PodInOneProcess) -> None:
        await ready(world, pod)
        await world.clock.sleep(8)
        status = pod.workers[0].status()
        assert status.queued == sum(shard.queued for shard in status.shards) > 10
        assert 7 < status.oldest_seconds < 9

    run_with(handlers, story)


def test_a_handover_with_handle_payload_on_both_sides_loses_and_doubles_nothing() -> None:
    handlers = """
        import asyncio
        async def handle_payload(context, default, event):
            await asyncio.sleep(0.02)
            await default(event)
    """

    async def story(world: World) -> None:
        town = make_town(world)
        old, new = town.pod(1, 1, 1), town.pod(2, 2, 2)
        old.handlers = new.handlers = textwrap.dedent(handlers)
        await old.start().adopt_record(record(1, active=1))
        await ready(world, old)
        await new.start().adopt_record(record(2, active=1, target=2))
        assert old.pod is not None and new.pod is not None
        await old.pod.adopt_record(record(2, active=1, target=2))
        await ready(world, new)
        await town.talk(15, rate=30)
        for pod in (old.pod, new.pod):
            await pod.adopt_record(record(3, active=2))
        await town.talk(10, rate=30)
        await world.until(lambda: len(set(town.bot.numbers)) == town.sent, within=60)
        numbers = [number for number in town.bot.numbers if number not in town.bot.marked]
        assert len(numbers) == len(set(numbers))
        for guild in range(len(GUILDS)):
            seen = list(dict.fromkeys(number for number in town.bot.numbers if number % len(GUILDS) == guild))
            assert seen == sorted(seen), "the old side's events that waited for the hook come first"

    run_world(story)


def test_without_a_hook_the_functions_are_the_plain_ones() -> None:
    async def story(world: World) -> None:
        town = make_town(world)
        pod = town.pod(1, 1, 1)
        await pod.start().adopt_record(record(1, active=1))
        await ready(world, pod)
        worker: Any = pod.workers[0]
        assert type(worker._delivery).__name__ == "Delivery"
        assert worker._flow.dispatch == worker._delivery.accept_run
        (shard,) = worker._shards._shards.values()
        assert shard._voice.beat == shard._voice._beat and shard._voice.identify == shard._voice._identify
        assert worker._shards._permits is worker._permits

    run_world(story)


def test_the_example_works(caplog: pytest.LogCaptureFixture) -> None:
    from pathlib import Path

    source = (Path(__file__).parents[2] / "examples" / "handlers" / "handlers.py").read_text()

    async def story(world: World, town: Town, pod: PodInOneProcess) -> None:
        await ready(world, pod)
        for session in town.discord.sessions.values():
            session.dispatch("TYPING_START", {"guild_id": str(GUILDS[0])})
            session.dispatch("MESSAGE_CREATE", {"id": "1", "guild_id": str(GUILDS[0]), "content": "x" * 3000})
        await world.clock.sleep(100)
        assert "TYPING_START" not in town.bot.names and town.bot.names.count("MESSAGE_CREATE") == 2
        assert {d["presence"]["activities"][0]["name"] for d in town.discord.identifies} == {"shard 0", "shard 1"}
        await look(pod)
        assert errors_of(pod) == {}

    with caplog.at_level(logging.INFO):
        run_with(source.replace("range(2, 5)", "range(0)"), story)
    assert "Shard 1 is made." in caplog.text
    json.dumps(caplog.text)
