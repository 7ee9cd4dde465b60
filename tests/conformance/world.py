"""The simulator inside the isolated network, in the test's own process, so that a test can act between two turns."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, Final

import msgspec
from conformance.bots import Bots
from conformance.isolation import Isolation

from discord_simulator.control import Control
from discord_simulator.events import Event
from discord_simulator.server import Server, run_server
from discord_simulator.sessions import Session
from discord_simulator.settings import Settings
from discord_simulator.truth import JournalEntry, Truth
from discord_simulator.wire import Request

_LOOK_EVERY: Final = 0.02


class World:
    def __init__(self, *, server: Server, port: int) -> None:
        self.server = server
        self.gateway = server.gateway
        self.port = port
        self._control = Control(gateway=server.gateway, traffic=server.traffic)
        self._messages = 0

    def control(self, path: str, **body: object) -> Any:
        answer = self._control.handle(Request(method="POST", path=f"/control/{path}", body=json.dumps(body).encode()))
        assert answer.status == 200, answer.body
        self.server.settle()
        return json.loads(answer.body)

    def truth(self) -> Truth:
        answer = self._control.handle(Request(method="GET", path="/control/truth"))
        return msgspec.json.decode(answer.body, type=Truth)

    def session(self, shard: int, count: int) -> Session | None:
        """The latest living session ``[shard, count]``; one that a client gave up lives until it expires."""
        found = [s for s in self.gateway.sessions.all() if (s.shard, s.count) == (shard, count)]
        return found[-1] if found else None

    def say(self, *, shard: int, count: int, messages: int) -> None:
        """So many messages in guilds of a shard, made before the loop turns again."""
        guilds = self.gateway.roster.of_shard(shard, count)
        for number in range(messages):
            body, redacted = self.gateway.messages.of_guild(
                message=self.gateway.snowflakes.next(self.gateway.now()),
                guild=guilds[number % len(guilds)],
                timestamp=b"2026-01-02T03:04:05.678000+00:00",
                author=number,
            )
            guild = guilds[number % len(guilds)].id
            self.gateway.broadcast.emit(Event(name="MESSAGE_CREATE", body=body, redacted=redacted, guild=guild))

    def journal(self, shard: int, count: int, *, since: int) -> list[JournalEntry]:
        """Handshakes and closes of one shard from entry *since* on, also of sessions that had ended by then."""
        truth = self.truth()
        own = {session.id for session in truth.sessions if (session.shard, session.count) == (shard, count)}
        return [
            entry
            for entry in truth.journal[since:]
            if (entry.shard, entry.count) == (shard, count) or entry.session in own
        ]

    async def until(
        self, condition: Callable[[], bool], *, seconds: float, bots: Bots, what: Callable[[], str]
    ) -> None:
        """Wait until *condition* holds; fails with what *what* says after so many seconds."""
        try:
            async with asyncio.timeout(seconds):
                while not condition():
                    bots.check_alive()
                    await asyncio.sleep(_LOOK_EVERY)
        except TimeoutError:
            raise AssertionError(f"{what()}\n{bots.logs[-10:]}\n{bots.errors[-2000:]}") from None


@asynccontextmanager
async def running_world(settings: Settings, *, isolation: Isolation, seed: int = 1) -> AsyncIterator[World]:
    running = run_server(settings=settings, seed=seed)
    with isolation.entered():
        server, port = await running.__aenter__()
    try:
        yield World(server=server, port=port)
    finally:
        await running.__aexit__(None, None, None)
