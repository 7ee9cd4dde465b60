"""The simulator on the virtual network: the same gateway, REST paths and control API as behind real sockets."""

from __future__ import annotations

import asyncio
from random import Random
from typing import Final, TypeVar
from urllib.parse import parse_qsl, urlsplit

import msgspec
from system.identifies import Identifies, Identify
from system.pod_names import generation_of
from virtual.clock import VIRTUAL_EPOCH_MILLISECONDS
from virtual.network import Request
from virtual.sockets import ServerSocket, SocketClosedError
from virtual.world import World

from discord_simulator import rest, wire
from discord_simulator.application import Budget
from discord_simulator.connection import Connection
from discord_simulator.control import Control, Summary
from discord_simulator.gateway import Gateway
from discord_simulator.settings import Settings
from discord_simulator.traffic import Traffic
from discord_simulator.truth import Counters, Truth
from shard_runtime.ports import Response
from shard_runtime.protocol.opcodes import Opcode

HOST: Final = "discord.test"
NODE: Final = "discord"
API: Final = f"https://{HOST}/api/v10"

_Body = TypeVar("_Body")


class Discord:
    """One simulated application. Call it only through this class, so that what falls due gets done."""

    def __init__(self, world: World, *, settings: Settings) -> None:
        self._loop = asyncio.get_running_loop()
        self.gateway = Gateway(settings=settings, now=self._now, random=Random(f"discord/{world.seed}"))
        self._traffic = Traffic(gateway=self.gateway)
        self._control = Control(gateway=self.gateway, traffic=self._traffic)
        self.held_by: dict[str, str] = {}
        """By session, the machine that identified it."""
        self.holders: dict[str, list[tuple[str, float]]] = {}
        """By session, the machines that had it, one after the other, and since when."""
        self.identifies = Identifies()
        self._timer: asyncio.TimerHandle | None = None
        self._due: float | None = None
        world.network.serve(HOST, node=NODE, http=self._http, websocket=self._websocket)

    def _now(self) -> float:
        return VIRTUAL_EPOCH_MILLISECONDS / 1000 + self._loop.time()

    def _settle(self) -> None:
        """Do what is due, and wake up when more is; after every call into the gateway."""
        self.gateway.advance()
        due = self.gateway.next_due()
        if due == self._due:
            return
        if self._timer is not None:
            self._timer.cancel()
        self._due, self._timer = due, None
        if due is not None:
            self._timer = self._loop.call_at(due - VIRTUAL_EPOCH_MILLISECONDS / 1000, self._fall_due)

    def _fall_due(self) -> None:
        self._due = None
        self._settle()

    # --- What the test does and knows -------------------------------------------------------------------------------

    def load(self, rate: float, **more: object) -> None:
        """Events per second from now on; 0 stops."""
        self._ask("POST", "/control/load", {"rate": rate, **more}, dict[str, object])

    def fault(self, action: str, **more: object) -> None:
        """See ``discord_simulator.faults``."""
        self._ask("POST", "/control/faults", {"action": action, **more}, dict[str, object])

    def change_guilds(self, **change: int) -> None:
        """``add`` and ``remove`` guilds, or put the first ``unavailable`` of them into an outage."""
        self._ask("POST", "/control/guilds", change, dict[str, object])

    def session_ids(self) -> list[str]:
        """Of all living sessions, in the order of their beginning."""
        return [session.id for session in self.gateway.sessions.all()]

    def abandoned(self) -> frozenset[str]:
        """Sessions that live and have no connection."""
        return frozenset(session.id for session in self.gateway.sessions.all() if session.connection is None)

    @property
    def summary(self) -> Summary:
        return self._control.summary()

    @property
    def budget(self) -> Budget:
        """Of session starts, now."""
        return self.gateway.application.budget(self._now())

    @property
    def counters(self) -> Counters:
        return self.gateway.truth.counters

    def truth(self) -> Truth:
        return self.gateway.truth.truth()

    def _ask(self, method: str, path: str, body: object, into: type[_Body]) -> _Body:
        answer = self._control.handle(wire.Request(method=method, path=path, body=msgspec.json.encode(body)))
        assert answer.status == 200, answer.body
        self._settle()
        return msgspec.json.decode(answer.body, type=into)

    # --- The network ------------------------------------------------------------------------------------------------

    async def _http(self, request: Request) -> Response:
        answer = rest.handle(
            self.gateway,
            wire.Request(
                method=request.method,
                path=request.path,
                query=request.query,
                headers={**request.headers, "host": HOST, "x-forwarded-proto": "https"},
                body=request.body,
            ),
        )
        self._settle()
        if answer.hangs:
            await self._loop.create_future()
        return Response(status=answer.status, headers=dict(answer.headers), body=answer.body)

    async def _websocket(self, socket: ServerSocket) -> None:
        parts = urlsplit(socket.url)
        query = dict(parse_qsl(parts.query))
        admitted = rest.admit(self.gateway, wire.Request(method="GET", path=parts.path, query=query))
        if isinstance(admitted, wire.Answer):
            socket.abort()
            return
        connection = self.gateway.connection_opened(
            _Transport(socket),
            url=f"wss://{HOST}",
            encoder=admitted,
            version=query.get("v"),
            encoding=query.get("encoding"),
        )
        self._settle()
        try:
            while True:
                self._take(connection, socket, await socket.receive())
                if connection.session is not None:
                    self.held_by.setdefault(connection.session.id, socket.source)
                    holders = self.holders.setdefault(connection.session.id, [])
                    if not holders or holders[-1][0] != socket.source:
                        holders.append((socket.source, self._loop.time()))
                self._settle()
        except SocketClosedError as closed:
            self.gateway.connection_lost(connection, closed.code)
            self._settle()

    def _take(self, connection: Connection, socket: ServerSocket, frame: bytes) -> None:
        violations = self.counters.bucket_violations
        self.gateway.frame_received(connection, frame)
        if msgspec.json.decode(frame, type=_Op).op != Opcode.IDENTIFY:
            return
        shard, _ = msgspec.json.decode(frame, type=_Identify).d.shard
        identify = Identify(
            bucket=shard % self.gateway.application.max_concurrency,
            shard=(generation_of(socket.source), shard),
            pod=socket.source,
            sent_at=socket.sent_at,
            arrived_at=self._loop.time(),
            orphaned=socket.orphaned,
        )
        self.identifies.note(identify, refused=self.counters.bucket_violations > violations)


class _Op(msgspec.Struct):
    op: int


class _Fields(msgspec.Struct):
    shard: tuple[int, int]


class _Identify(msgspec.Struct):
    d: _Fields


class _Transport:
    """:class:`discord_simulator.connection.Transport` on a virtual socket."""

    def __init__(self, socket: ServerSocket) -> None:
        self._socket = socket

    def send(self, data: bytes, binary: bool) -> None:
        self._socket.send(data, binary=binary)

    def close(self, code: int) -> None:
        self._socket.close(code)

    def drop(self) -> None:
        self._socket.abort()
