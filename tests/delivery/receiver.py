"""A receiver on virtual time that behaves as a test scripts it, and keeps what it got."""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from gateway_hooks import Hooks
from shard_runtime import contract
from shard_runtime.delivery import Delivery, Origin
from shard_runtime.delivery.dead_letters import DeadLetters
from shard_runtime.hooked.payloads import HookedDelivery
from shard_runtime.ports import FrameListener, NetworkError, Response, WebSocket
from tests.virtual.clock import VirtualClock
from tests.virtual.disk import DiskOfProcess, VirtualDisk

URL = "http://bot.test:8080/events?token=hunter2"


@dataclass
class Request:
    at: float
    url: str
    headers: Mapping[str, str]
    body: bytes
    acknowledged: bool = False

    @property
    def entries(self) -> list[dict[str, Any]]:
        entries: list[dict[str, Any]] = json.loads(self.body)
        return entries


Answer = Callable[[Request], Awaitable[Response]]


async def acknowledge(request: Request) -> Response:
    await asyncio.sleep(0.001)
    return status(200)


def status(code: int, **headers: str) -> Response:
    return Response(code, {name.replace("_", "-"): value for name, value in headers.items()}, b"")


@dataclass
class Receiver:
    """The network's other end. ``answer`` may be exchanged at any time."""

    answer: Answer = acknowledge
    requests: list[Request] = field(default_factory=list)
    in_flight: int = 0
    most_in_flight: int = 0

    async def connect(self, url: str, listener: FrameListener, *, timeout: float) -> WebSocket:
        raise NotImplementedError

    async def request(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str],
        body: bytes = b"",
        timeout: float,
        authorities: str | None = None,
    ) -> Response:
        assert method == "POST"
        request = Request(asyncio.get_running_loop().time(), url, dict(headers), body)
        self.requests.append(request)
        self.in_flight += 1
        self.most_in_flight = max(self.most_in_flight, self.in_flight)
        try:
            async with asyncio.timeout(timeout):
                response = await self.answer(request)
        except TimeoutError:
            raise NetworkError(f"bot.test:8080 gave no complete answer within {timeout:g} s") from None
        finally:
            self.in_flight -= 1
        request.acknowledged = 200 <= response.status < 300
        return response

    def received(self, *, acknowledged: bool = True) -> list[tuple[str, int]]:
        """(session, sequence) in order of arrival."""
        return [
            (entry["session"], entry["payload"]["s"])
            for request in self.requests
            if request.acknowledged or not acknowledged
            for entry in request.entries
        ]


@dataclass
class Bench:
    """A delivery with a scripted receiver. Made inside a running virtual loop."""

    forward: contract.ForwardConfig = field(default_factory=lambda: contract.ForwardConfig(url=URL))
    seed: int = 1
    dead_letters: DeadLetters | None = None
    disk: VirtualDisk | None = None
    hooks: Hooks | None = None
    replay: int = 100
    replay_seconds: float = 10.0
    receiver: Receiver = field(default_factory=Receiver)
    logged: list[str] = field(default_factory=list)
    sequences: dict[str, int] = field(default_factory=dict)

    paused: bool = False
    pauses: bool = False
    """Whether reading can be paused."""

    def __post_init__(self) -> None:
        self.process = DiskOfProcess(self.disk) if self.disk is not None else None
        kind = Delivery if self.hooks is None else partial(HookedDelivery, hooks=self.hooks)
        self.delivery = kind(
            origin=Origin(gateway="my-bot", generation=3, shards=16),
            forward=self.forward,
            network=self.receiver,
            clock=VirtualClock(),
            chance=random.Random(self.seed),
            log=lambda level, sentence: self.logged.append(sentence),
            dead_letters=self.dead_letters,
            spill=None if self.process is None else self.process.spill(Path("/state/spill.sqlite")),
            replay_events=lambda shard: self.replay,
            replay_seconds=lambda: self.replay_seconds,
            pause=self._pause if self.pauses or self.hooks is not None else None,
        )
        self.running: asyncio.Task[None] | None = None

    def _pause(self, paused: bool) -> None:
        self.paused = paused

    async def kill(self) -> None:
        """As ``kill -9``: what the process tries from here on has no effect."""
        if self.process is not None:
            self.process.die()
        await self.stop()

    def start(self) -> None:
        self.running = asyncio.create_task(self.delivery.run(), name="delivery")

    async def stop(self) -> None:
        assert self.running is not None
        self.running.cancel()
        await asyncio.gather(self.running, return_exceptions=True)

    def accept(self, shard: int = 0, *, name: str = "MESSAGE_CREATE", guild: int = 0, marked: bool = False) -> int:
        """Accept the shard's next event; its sequence."""
        session = f"session-{shard}"
        if session not in self.sessions_started:
            self.delivery.session_started(session, 1)
            self.sessions_started.add(session)
        sequence = self.sequences[session] = self.sequences.get(session, 0) + 1
        self.delivery.accept(
            shard, session, sequence, name, payload(sequence, name, guild), guild=guild, maybe_duplicate=marked
        )
        return sequence

    @property
    def sessions_started(self) -> set[str]:
        return self.__dict__.setdefault("_started", set())  # type: ignore[no-any-return]

    def watermark(self, shard: int = 0) -> int | None:
        return self.delivery.watermark(f"session-{shard}")


def payload(sequence: int, name: str = "MESSAGE_CREATE", guild: int = 0) -> bytes:
    where = f'"guild_id":"{guild}",' if guild else ""
    return f'{{"t":"{name}","s":{sequence},"op":0,"d":{{{where}"id":"{sequence}"}}}}'.encode()


def forward(**changes: Any) -> contract.ForwardConfig:
    queue = contract.QueueBounds(**changes.pop("queue", {}))
    events = contract.EventFilter(**changes.pop("events", {}))
    return contract.ForwardConfig(url=changes.pop("url", URL), queue=queue, events=events, **changes)
