"""The simulator on one port: Discord's REST paths, the gateway's websocket and the control API.

The shell around the pure gateway: it turns sockets into calls, the loop's clock into the gateway's, and writes out what
a turn has gathered. ``run_server`` is the way to run one inside another program.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from random import Random
from typing import Final

from aiohttp import WSCloseCode, WSMsgType, web

from discord_simulator import rest
from discord_simulator.connection import Connection
from discord_simulator.control import Control
from discord_simulator.gateway import Gateway
from discord_simulator.settings import Settings
from discord_simulator.sockets import SocketTransport
from discord_simulator.traffic import Traffic
from discord_simulator.wire import Answer, Request

log = logging.getLogger(__name__)

_LARGEST_FRAME: Final = 1 << 20
_CLOSE_SECONDS: Final = 2.0
_NEVER_SENT: Final = frozenset({0, 1005, 1006, 1015})
"""Close codes that stand for having none; aiohttp's is 0."""


class Server:
    """One simulated Discord on the running loop."""

    def __init__(self, *, settings: Settings, seed: int) -> None:
        self._loop = asyncio.get_running_loop()
        self._epoch = time.time() - self._loop.time()
        self.gateway = Gateway(settings=settings, now=self._now, random=Random(seed))
        self.traffic = Traffic(gateway=self.gateway)
        self._control = Control(gateway=self.gateway, traffic=self.traffic)
        self._written: list[SocketTransport] = []
        self._owners: dict[SocketTransport, Connection] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._stopping = asyncio.Event()

    def _now(self) -> float:
        return self._epoch + self._loop.time()

    def application(self) -> web.Application:
        app = web.Application(client_max_size=16 << 20)
        app.router.add_route("*", "/{path:.*}", self._serve)
        app.on_shutdown.append(self._shut_down)
        return app

    async def _shut_down(self, app: web.Application) -> None:
        del app
        self._stopping.set()
        if self._timer is not None:
            self._timer.cancel()
        for connection in list(self.gateway.connections):
            self.gateway.close(connection, 1001)
        await asyncio.gather(*(transport.closed() for transport in list(self._owners)))

    # --- Turns --------------------------------------------------------------------------------------------------------

    def _note_written(self, transport: SocketTransport) -> None:
        self._written.append(transport)

    def settle(self) -> None:
        """Do what is due, write out what was gathered, and wake up when there is more to do.

        To be called after every call into the gateway from outside this class.
        """
        self.gateway.advance()
        while self._written:
            written, self._written = self._written, []
            for transport in written:
                if not transport.flush():
                    self.gateway.truth.counters.slow_consumers += 1
                    self.gateway.drop(self._owners[transport])
        due = self.gateway.next_due()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if due is not None and not self._stopping.is_set():
            self._timer = self._loop.call_at(due - self._epoch, self.settle)

    # --- HTTP ---------------------------------------------------------------------------------------------------------

    async def _serve(self, request: web.Request) -> web.StreamResponse:
        if request.headers.get("upgrade", "").lower() == "websocket":
            return await self._serve_websocket(request)
        if request.path == "/healthz":
            return web.Response(text="ok")
        received = await read_request(request)
        if received.path.startswith("/control/"):
            answer = self._control.handle(received)
        else:
            answer = rest.handle(self.gateway, received)
        self.settle()
        if answer.hangs:
            await self._stopping.wait()
        return response(answer)

    async def _serve_websocket(self, request: web.Request) -> web.StreamResponse:
        received = await read_request(request)
        admitted = rest.admit(self.gateway, received)
        if isinstance(admitted, Answer):
            return response(admitted)
        socket = web.WebSocketResponse(
            timeout=_CLOSE_SECONDS, max_msg_size=_LARGEST_FRAME, compress=False, autoclose=False
        )
        await socket.prepare(request)
        if request.transport is None:
            return socket
        transport = SocketTransport(transport=request.transport, written_to=self._note_written)
        connection = self.gateway.connection_opened(
            transport,
            url=rest.websocket_url(received),
            encoder=admitted,
            version=request.query.get("v"),
            encoding=request.query.get("encoding"),
        )
        self._owners[transport] = connection
        self.settle()
        try:
            async for message in socket:
                if message.type is WSMsgType.TEXT:
                    self.gateway.frame_received(connection, message.data.encode())
                elif message.type is WSMsgType.BINARY:
                    self.gateway.frame_received(connection, message.data)
                self.settle()
        finally:
            code = socket.close_code
            self.gateway.connection_lost(connection, None if code == 1006 else code)
            self.settle()
            del self._owners[transport]
        if transport.closing:
            transport.end()
        elif not socket.closed:
            # The client's own code comes back to it (RFC 6455, section 5.5.1): discordeno tells by it who closed.
            await socket.close(code=code if code is not None and code not in _NEVER_SENT else WSCloseCode.OK)
        return socket


async def read_request(request: web.Request) -> Request:
    return Request(
        method=request.method,
        path=request.path,
        query=dict(request.query),
        headers={name.lower(): value for name, value in request.headers.items()},
        body=await request.read() if request.can_read_body else b"",
    )


def response(answer: Answer) -> web.Response:
    return web.Response(status=answer.status, body=answer.body, headers=dict(answer.headers))


@asynccontextmanager
async def run_server(
    *, settings: Settings | None = None, host: str = "127.0.0.1", port: int = 0, seed: int = 0
) -> AsyncIterator[tuple[Server, int]]:
    """Run a simulator on the current loop; gives it and its port (a free one for 0)."""
    server = Server(settings=settings or Settings(), seed=seed)
    runner = web.AppRunner(server.application(), access_log=None, shutdown_timeout=5.0)
    await runner.setup()
    try:
        site = web.TCPSite(runner, host, port)
        await site.start()
        yield server, runner.addresses[0][1]
    finally:
        await runner.cleanup()
