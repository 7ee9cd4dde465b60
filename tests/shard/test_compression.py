"""A shard over real sockets against the simulator, with each way that Discord compresses."""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import Callable, Sequence

import pytest
from virtual.sinks import RecordingLog, RecordingSink, ScriptedPermits

from discord_simulator.events import Event
from discord_simulator.intents import ALL
from discord_simulator.server import Server, run_server
from discord_simulator.settings import DEFAULT_TOKEN, Settings
from shard_runtime.connection.clock import SystemClock
from shard_runtime.connection.network import SystemNetwork
from shard_runtime.contract import IdentifyOptions, ShardState
from shard_runtime.ports import FrameListener, WebSocket
from shard_runtime.shard import Shard, ShardOptions

GUILDS = 20
EVENTS = 200


class Tap(SystemNetwork):
    """The real network, counting the messages of each connection by whether they are no text."""

    def __init__(self) -> None:
        super().__init__()
        self.messages: list[dict[bool, int]] = []
        self.urls: list[str] = []

    async def connect(self, url: str, listener: FrameListener, *, timeout: float) -> WebSocket:
        counts = {True: 0, False: 0}
        self.messages.append(counts)
        self.urls.append(url)

        class Counting:
            on_closed = staticmethod(listener.on_closed)

            def on_frames(self, messages: Sequence[bytes]) -> None:
                for message in messages:
                    counts[not message.startswith(b"{")] += 1
                listener.on_frames(messages)

        return await super().connect(url, Counting(), timeout=timeout)


async def until(condition: Callable[[], bool], what: str) -> None:
    async with asyncio.timeout(20):
        while not condition():  # noqa: ASYNC110 - what is waited for has no event of its own
            await asyncio.sleep(0.005)
    assert condition(), what


def send_events(server: Server, first: int) -> list[bytes]:
    """Events of many sizes, some larger than any buffer; their bodies."""
    guilds = server.gateway.roster.all()
    bodies = []
    for number in range(first, first + EVENTS):
        size = 300_000 if number % 50 == 0 else 40 * (number % 60)
        text = random.Random(number).randbytes(size).hex()
        guild = guilds[number % len(guilds)].id
        bodies.append(json.dumps({"guild_id": str(guild), "number": number, "text": text}).encode())
        server.gateway.broadcast.emit(Event(name="WEBHOOKS_UPDATE", body=bodies[-1], guild=guild))
    server.settle()
    return bodies


@pytest.mark.parametrize(
    ("compression", "parts"),
    [("none", 1), ("payload", 1), ("zlib-stream", 1), ("zlib-stream", 5), ("zstd-stream", 1)],
)
async def test_every_byte_arrives_also_over_a_resume(compression: str, parts: int) -> None:
    settings = Settings(guilds=GUILDS, guild_bytes=90_000, replay_events=10_000, zlib_parts=parts)
    network = Tap()
    sink, permits = RecordingSink(), ScriptedPermits()
    async with run_server(settings=settings) as (server, port):
        options = ShardOptions(
            shard_count=1,
            intents=ALL,
            compression=compression,
            identify=IdentifyOptions(),
            api_url=f"http://127.0.0.1:{port}/api/v10",
            gateway_url=None,
        )
        shard = Shard(
            shard_id=0,
            options=options,
            token=lambda: DEFAULT_TOKEN,
            sink=sink,
            permits=permits,
            clock=SystemClock(),
            chance=random.Random(1),
            network=network,
            log=RecordingLog(),
        )
        running = asyncio.create_task(shard.run())
        try:
            await until(lambda: len(sink.events) == GUILDS, "the guilds")
            bodies = send_events(server, 0)
            await until(lambda: len(sink.events) == GUILDS + EVENTS, "events of the first connection")
            for connection in list(server.gateway.connections):
                server.gateway.drop(connection)
            bodies += send_events(server, EVENTS)
            await until(lambda: len(sink.events) == GUILDS + 2 * EVENTS, "what was missed")
            bodies += send_events(server, 2 * EVENTS)
            await until(lambda: len(sink.events) == GUILDS + 3 * EVENTS, "events after the resume")
            status = shard.status()
        finally:
            await shard.stop(end_session=True)
            await running
            await network.close()
    assert (status.state, status.identifies, status.resumes) == (ShardState.READY, 1, 1)
    plain = [
        (sequence, json.loads(payload)) for (_, sequence, _), payload in zip(sink.events, sink.payloads, strict=True)
    ]
    assert all(sequence == payload["s"] for sequence, payload in plain)
    assert [json.dumps(payload["d"]).encode() for _, payload in plain[GUILDS:]] == bodies

    first, second = network.messages
    if compression == "none":
        assert first[True] == second[True] == 0
    elif compression == "payload":
        assert all([*first.values(), *second.values()]), "large payloads as blobs, the others as text"
    else:
        assert first[True] > first[False] and second[True] > second[False], "a part may begin with any byte"
    whole = GUILDS + EVENTS + len(["HELLO", "READY", "acknowledgement of the beat behind IDENTIFY"])
    assert sum(first.values()) == whole if parts == 1 else sum(first.values()) > 2 * whole
    query = "v=10&encoding=json" + (f"&compress={compression}" if compression.endswith("-stream") else "")
    assert [url.partition("?")[2] for url in network.urls] == [query, query]
