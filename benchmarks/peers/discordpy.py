"""discord.py side by side with the runtime: its own events for what comes from the gateway.

``on_socket_event_type`` counts, and ``on_socket_raw_receive`` gives the text to forward; it carries no shard, which
follows from the guild as Discord documents it.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections import deque
from typing import Any

ARGUMENTS: dict[str, Any] = json.loads(sys.argv[1])
if ARGUMENTS["compression"] == "zlib-stream":
    # The library's choice where its optional dependency is not installed.
    sys.modules["zstandard"] = None  # type: ignore[assignment]

import aiohttp  # noqa: E402
import discord  # noqa: E402
import orjson  # noqa: E402
import yarl  # noqa: E402
from discord.gateway import DiscordWebSocket  # noqa: E402
from discord.http import Route  # noqa: E402

Route.BASE = ARGUMENTS["api"]
DiscordWebSocket.DEFAULT_GATEWAY = yarl.URL(ARGUMENTS["gateway"])

BATCH_EVENTS = 256
LANES = {"single": 16, "batch": 4}
NOT_EVENTS = ("READY", "RESUMED")


class Forwarder:
    """Plain HTTP calls over kept connections; what the receiver does not take is lost."""

    def __init__(self, *, batch: bool) -> None:
        self._batch = batch
        self._queue: deque[tuple[int, str, str]] = deque()
        self._filled = asyncio.Event()

    def add(self, shard: int, session: str, payload: str) -> None:
        self._queue.append((shard, session, payload))
        self._filled.set()

    async def run(self, http: aiohttp.ClientSession) -> None:
        while True:
            while not self._queue:
                self._filled.clear()
                await self._filled.wait()
            most = BATCH_EVENTS if self._batch else 1
            events = [self._queue.popleft() for _ in range(min(most, len(self._queue)))]
            headers = {"Content-Type": "application/json", "X-Gateway-Events": str(len(events))}
            if self._batch:
                entries = (
                    f'{{"shard":{shard},"session":"{session}","payload":{text}}}' for shard, session, text in events
                )
                body = "[" + ",".join(entries) + "]"
            else:
                shard, session, body = events[0]
                headers |= {"X-Gateway-Shard": str(shard), "X-Gateway-Session": session}
            try:
                async with http.post(ARGUMENTS["receiver"], data=body.encode(), headers=headers):
                    pass
            except aiohttp.ClientError:
                continue


class Bot(discord.AutoShardedClient):
    def __init__(self, forwarder: Forwarder | None) -> None:
        super().__init__(
            intents=discord.Intents._from_value(ARGUMENTS["intents"]),
            shard_ids=ARGUMENTS["shards"],
            shard_count=ARGUMENTS["count"],
            chunk_guilds_at_startup=False,
            enable_debug_events=forwarder is not None,
        )
        self._forwarder = forwarder
        self._sessions: dict[int, str] = {}
        self._seen = 0

    async def before_identify_hook(self, shard_id: int | None, *, initial: bool = False) -> None:
        """The generator's buckets are as many as its shards."""

    async def on_socket_event_type(self, name: str) -> None:
        if name not in NOT_EVENTS:
            self._seen += 1
            if self._seen == ARGUMENTS["events"]:
                print(json.dumps({"received": self._seen}), flush=True)

    async def on_socket_raw_receive(self, text: str) -> None:
        assert self._forwarder is not None
        payload = orjson.loads(text)
        if payload["op"] != 0 or payload["t"] == "RESUMED":
            return
        name, data = payload["t"], payload["d"]
        if name == "READY":
            self._sessions[data["shard"][0]] = data["session_id"]
            return
        guild = data.get("guild_id") or (data["id"] if name in ("GUILD_CREATE", "GUILD_UPDATE", "GUILD_DELETE") else 0)
        shard = (int(guild) >> 22) % ARGUMENTS["count"]
        self._forwarder.add(shard, self._sessions[shard], text)


async def main() -> None:
    mode = ARGUMENTS["mode"]
    forwarder = None if mode == "receive" else Forwarder(batch=mode == "batch")
    bot = Bot(forwarder)
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as http:
        lanes = [asyncio.create_task(forwarder.run(http)) for _ in range(LANES[mode])] if forwarder else []
        living = asyncio.create_task(bot.start(ARGUMENTS["token"]))
        reader = asyncio.StreamReader()
        loop = asyncio.get_running_loop()
        await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
        await asyncio.wait([living, asyncio.ensure_future(reader.read())], return_when=asyncio.FIRST_COMPLETED)
        if living.done():
            living.result()
        await bot.close()
        await living
        for lane in lanes:
            lane.cancel()


asyncio.run(main())
