"""A simulated Discord on simulated time, and clients that speak to it without sockets."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from random import Random
from typing import Any

import pytest

from discord_simulator import rest
from discord_simulator.compression import encoder
from discord_simulator.control import Control
from discord_simulator.events import Event
from discord_simulator.gateway import Gateway
from discord_simulator.intents import ALL
from discord_simulator.settings import Settings
from discord_simulator.traffic import Traffic
from discord_simulator.wire import Answer, Request

START = 1_700_000_000.0


class Client:
    """One connection: what came is in ``payloads``, how it ended in ``closed``."""

    def __init__(self, world: World, *, version: str | None = "10", encoding: str | None = "json") -> None:
        self.payloads: list[dict[str, Any]] = []
        self.closed: int | str | None = None
        self._gateway = world.gateway
        self.connection = world.gateway.connection_opened(
            self, url="ws://simulator:1", encoder=encoder(None), version=version, encoding=encoding
        )

    def send(self, data: bytes, binary: bool) -> None:
        assert self.closed is None
        assert not binary
        self.payloads.append(json.loads(data))

    def close(self, code: int) -> None:
        self.closed = code

    def drop(self) -> None:
        self.closed = "dropped"

    def say(self, op: int, d: object = None) -> None:
        self._gateway.frame_received(self.connection, json.dumps({"op": op, "d": d}).encode())

    def say_raw(self, frame: bytes) -> None:
        self._gateway.frame_received(self.connection, frame)

    def identify(self, shard: list[int] | None = None, *, intents: int | None = ALL, **more: object) -> Client:
        d: dict[str, object] = {"token": more.pop("token", self._gateway.application.token), "properties": {}, **more}
        if shard is not None:
            d["shard"] = shard
        if intents is not None:
            d["intents"] = intents
        self.say(2, d)
        return self

    def resume(self, session: str, seq: int, *, token: str | None = None) -> Client:
        self.say(6, {"token": token or self._gateway.application.token, "session_id": session, "seq": seq})
        return self

    def hang_up(self, code: int | None = None) -> None:
        self._gateway.connection_lost(self.connection, code)
        self.closed = self.closed or code or "dropped"

    def dispatches(self, *names: str) -> list[dict[str, Any]]:
        return [p for p in self.payloads if p["op"] == 0 and (not names or p["t"] in names)]

    @property
    def ready(self) -> dict[str, Any]:
        (found,) = self.dispatches("READY")
        return found["d"]

    @property
    def session(self) -> str:
        return str(self.ready["session_id"])

    @property
    def sequence(self) -> int:
        return max(p["s"] for p in self.dispatches())


class World:
    def __init__(self, **settings: Any) -> None:
        self.now = START
        self.gateway = Gateway(settings=Settings(**settings), now=lambda: self.now, random=Random(7))
        self.traffic = Traffic(gateway=self.gateway)
        self._control = Control(gateway=self.gateway, traffic=self.traffic)

    def run(self, seconds: float) -> None:
        """Let time pass, stopping wherever something is due."""
        end = self.now + seconds
        while (due := self.gateway.next_due()) is not None and due <= end:
            self.now = max(self.now, due)
            self.gateway.advance()
        self.now = end

    def connect(self, **options: Any) -> Client:
        return Client(self, **options)

    def ready(self, shard: list[int] | None = None, **options: Any) -> Client:
        """A client past READY and its start-up burst, with its bucket free again."""
        client = self.connect().identify(shard, **options)
        self.run(5)
        client.ready  # noqa: B018 - fails here, where it happened, if there was none
        return client

    def message(self, guild: int | None = None, *, d: bytes = b'{"id":"1"}', name: str = "MESSAGE_CREATE") -> Event:
        event = Event(name=name, body=d, guild=self.guilds[0] if guild is None else guild)
        self.gateway.broadcast.emit(event)
        return event

    @property
    def guilds(self) -> list[int]:
        return [guild.id for guild in self.gateway.roster.all()]

    @property
    def counters(self) -> Any:
        return self.gateway.truth.counters

    def control(self, method: str, path: str, body: object = None, **query: str) -> Any:
        data = b"" if body is None else json.dumps(body).encode()
        answer = self._control.handle(Request(method=method, path=path, body=data, query=query))
        return json.loads(answer.body) if answer.status == 200 else (answer.status, json.loads(answer.body))

    def fault(self, action: str, **more: object) -> Any:
        return self.control("POST", "/control/faults", {"action": action, **more})

    def get(self, path: str, *, token: str | None = None) -> Answer:
        headers = {"host": "simulator:1"} | ({"authorization": token} if token else {})
        return rest.handle(self.gateway, Request(method="GET", path=path, headers=headers))


@pytest.fixture
def make_world() -> Callable[..., World]:
    return World


@pytest.fixture
def world() -> World:
    return World()


@pytest.fixture
def eventually() -> Callable[[Callable[[], bool]], Awaitable[None]]:
    """Wait until a condition holds; fails after 20 s."""

    async def wait(condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(20):
            while not condition():  # noqa: ASYNC110 - what is waited for has no event of its own
                await asyncio.sleep(0.005)

    return wait
