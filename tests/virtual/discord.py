"""A small Discord for the virtual network, to be told what to do wrong.

It speaks enough of the gateway to hold sessions: HELLO, heartbeats, IDENTIFY, READY with a guild burst, dispatches,
RESUME with replay, close codes. A test queues *scripts* for the next connections; without one, a connection is served
well. It is no model of Discord's limits; the simulator is.
"""

from __future__ import annotations

import asyncio
import json
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

from virtual.network import Request, VirtualNetwork
from virtual.sockets import ServerSocket, SocketClosedError

from shard_runtime.ports import Response

Script = Callable[[ServerSocket], Awaitable[None]]
HOST = "gateway.test"
RESUME_HOST = "resume.gateway.test"
API = "https://api.test/api/v10"


@dataclass
class Session:
    """A session outlives its connections."""

    id: str
    shard: tuple[int, int]
    sequence: int = 0
    sent: list[dict[str, Any]] = field(default_factory=list)
    """Every dispatch, the replay buffer without end."""
    socket: ServerSocket | None = None
    spoiled: set[int] = field(default_factory=set)
    """Sequences at which what is sent is no payload, each time."""

    def dispatch(self, name: str, d: object) -> dict[str, Any]:
        self.sequence += 1
        payload = {"t": name, "s": self.sequence, "op": 0, "d": d}
        self.sent.append(payload)
        if self.socket is not None:
            self.send(self.socket, payload)
        return payload

    def send(self, socket: ServerSocket, payload: dict[str, Any]) -> None:
        if payload["s"] in self.spoiled:
            socket.send(b"no payload")
        else:
            send(socket, payload)


def send(socket: ServerSocket, payload: dict[str, Any]) -> None:
    socket.send(json.dumps(payload, separators=(",", ":")).encode())


class ScriptedDiscord:
    """See the module. *guilds* are the ids that READY lists, to every shard alike."""

    def __init__(self, network: VirtualNetwork, *, guilds: tuple[int, ...] = (), interval: float = 41.25) -> None:
        self.guilds = guilds
        self.interval = interval
        self.token = "right"
        self.scripts: deque[Script] = deque()
        """How the next connections are served."""
        self.sessions: dict[str, Session] = {}
        self._ended = 0
        self.connections: list[str] = []
        """URLs, in order."""
        self.identifies: list[dict[str, Any]] = []
        self.resumes: list[dict[str, Any]] = []
        self.heartbeats: list[int | None] = []
        self.received: list[tuple[float, int, Any]] = []
        """(virtual time, op, d) of everything."""
        self.client_closes: list[int | None] = []
        self.acknowledges = True
        self.missing: frozenset[int] = frozenset()
        """Guilds that READY lists and that never show up."""
        network.serve("api.test", node="discord", http=self._http)
        for host in (HOST, RESUME_HOST):
            network.serve(host, node="discord", websocket=self._connection)

    @property
    def session(self) -> Session:
        """The latest."""
        return list(self.sessions.values())[-1]

    async def _http(self, request: Request) -> Response:
        found = request.path == "/api/v10/gateway"
        return Response(
            status=200 if found else 404,
            headers={},
            body=json.dumps({"url": f"wss://{HOST}/"}).encode() if found else b"{}",
        )

    async def _connection(self, socket: ServerSocket) -> None:
        self.connections.append(socket.url)
        script = self.scripts.popleft() if self.scripts else self.serve
        try:
            await script(socket)
            while True:
                await socket.receive()
        except SocketClosedError as closed:
            self.client_closes.append(closed.code)
        finally:
            for session in self.sessions.values():
                if session.socket is socket:
                    session.socket = None

    async def serve(self, socket: ServerSocket) -> None:
        """Serve a connection well, until it ends."""
        self.hello(socket)
        while True:
            await self.answer(socket)

    def hello(self, socket: ServerSocket) -> None:
        send(socket, {"op": 10, "d": {"heartbeat_interval": self.interval * 1000}, "s": None, "t": None})

    async def answer(self, socket: ServerSocket) -> int:
        """Receive one payload and answer it; returns its op."""
        payload = json.loads(await socket.receive())
        op, d = payload["op"], payload["d"]
        self.received.append((asyncio.get_running_loop().time(), op, d))
        if op == 1:
            self.heartbeats.append(d)
            if self.acknowledges:
                send(socket, {"op": 11})
        elif op == 2:
            self.identifies.append(d)
            self.open(socket, d)
        elif op == 6:
            self.resumes.append(d)
            self.resume(socket, d)
        return int(op)

    def open(self, socket: ServerSocket, d: dict[str, Any]) -> None:
        if d["token"] != self.token:
            socket.close(4004)
            return
        session = Session(id=f"session-{len(self.sessions) + self._ended + 1}", shard=tuple(d["shard"]))
        self.sessions[session.id] = session
        session.socket = socket
        stubs = [{"id": str(guild), "unavailable": True} for guild in self.guilds]
        url = f"wss://{RESUME_HOST}"
        session.dispatch("READY", {"v": 10, "session_id": session.id, "resume_gateway_url": url, "guilds": stubs})
        for guild in self.guilds:
            if guild in self.missing:
                continue
            session.dispatch("GUILD_CREATE", {"id": str(guild), "unavailable": False, "name": "guild"})

    def end(self, session: Session) -> None:
        """As an op 9 that cannot be resumed: nothing more comes, and nothing is remembered."""
        del self.sessions[session.id]
        self._ended += 1
        if session.socket is not None:
            send(session.socket, {"op": 9, "d": False})
            session.socket = None

    def resume(self, socket: ServerSocket, d: dict[str, Any]) -> None:
        session = self.sessions.get(d["session_id"])
        if d["token"] != self.token:
            socket.close(4004)
        elif session is None:
            send(socket, {"op": 9, "d": False})
        elif d["seq"] > session.sequence:
            socket.close(4007)
        else:
            for payload in session.sent:
                if payload["s"] > d["seq"]:
                    session.send(socket, payload)
            session.socket = socket
            session.dispatch("RESUMED", {"_trace": []})
