"""A network in memory: HTTP and websockets between named machines, with seeded delays and faults.

Servers are registered by the ``host[:port]`` of their URLs, clients get the network through :meth:`VirtualNetwork.of`
under their machine's name. Every draw comes from one seed, in the order of the loop, so a run can be repeated.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from virtual.links import Links
from virtual.sockets import ClientSocket, ServerSocket

from shard_runtime.ports import FrameListener, NetworkError, Response, WebSocket


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """One HTTP request, as a server gets it."""

    method: str
    url: str
    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    """Names in lower case."""
    body: bytes
    source: str
    """The client's machine."""


HttpHandler = Callable[[Request], Awaitable[Response]]
SocketHandler = Callable[[ServerSocket], Awaitable[None]]


@dataclass(slots=True, kw_only=True)
class Faults:
    """What goes wrong by chance; each is a probability from 0 to 1."""

    refuse: float = 0.0
    """A request or a websocket is refused before it reaches the server."""
    lose_answer: float = 0.0
    """The server did what was asked, and its answer never comes."""


@dataclass(slots=True, kw_only=True)
class _Server:
    node: str
    http: HttpHandler | None
    websocket: SocketHandler | None


class VirtualNetwork:
    """See the module."""

    def __init__(self, *, seed: int | str, delay: tuple[float, float] = (0.000_2, 0.003)) -> None:
        self._chance = random.Random(f"network/{seed}")
        self.links = Links(chance=self._chance, delay=delay)
        self.faults = Faults()
        self._servers: dict[str, _Server] = {}
        self._sockets: list[ClientSocket] = []
        self._handlers: dict[asyncio.Task[None], str] = {}

    def serve(
        self,
        host: str,
        *,
        node: str | None = None,
        http: HttpHandler | None = None,
        websocket: SocketHandler | None = None,
    ) -> None:
        """Answer for *host* (as in URLs) on machine *node*, which is *host* where None; replaces who answered before.

        *http* is called for each request and *websocket* for each connection, whose handler's return ends it with 1000.
        """
        self._servers[host] = _Server(node=node or host, http=http, websocket=websocket)

    def stop_serving(self, host: str) -> None:
        """Refuse new requests and connections; those that stand are left alone."""
        self._servers.pop(host, None)

    def of(self, node: str) -> NetworkOfProcess:
        """The network as one process on *node* sees it."""
        return NetworkOfProcess(self, node)

    def reset(self, *nodes: str) -> int:
        """Reset every websocket that touches all of *nodes* (all websockets, if none is named); returns how many."""
        hit = [socket for socket in self._sockets if not socket.ended and socket.nodes.issuperset(nodes)]
        for socket in hit:
            socket.reset()
        return len(hit)

    def crash_servers(self, node: str) -> None:
        """Machine *node* stops to serve, in one moment; its clients see their connections reset."""
        self._servers = {host: server for host, server in self._servers.items() if server.node != node}
        for socket in self._sockets:
            if not socket.ended and node in socket.nodes and socket.server.source != node:
                socket.die_at_server()
        for task in [task for task, of in self._handlers.items() if of == node]:
            task.cancel()

    # --- Used by NetworkOfProcess ---------------------------------------------------------------------------------

    def _find(self, url: str) -> tuple[str, _Server]:
        parts = urlsplit(url)
        server = self._servers.get(parts.netloc) or self._servers.get(parts.hostname or "")
        if server is None or self._chance.random() < self.faults.refuse:
            raise NetworkError(f"{parts.netloc}: connection refused")
        return parts.netloc, server

    async def _open(self, source: str, url: str, listener: FrameListener) -> ClientSocket:
        _, server = self._find(url)
        await self.links.pass_over(source, server.node)
        host, server = self._find(url)
        if server.websocket is None:
            raise NetworkError(f"{host}: no websocket here")
        await self.links.pass_over(server.node, source)
        socket = ClientSocket(links=self.links, source=source, target=server.node, url=url, listener=listener)
        self._sockets = [known for known in self._sockets if not known.ended]
        self._sockets.append(socket)
        self._run(server.node, _serve(server.websocket, socket.server), name=f"websocket of {source} at {host}")
        return socket

    async def _exchange(self, request: Request) -> Response:
        _, server = self._find(request.url)
        await self.links.pass_over(request.source, server.node)
        host, server = self._find(request.url)
        if server.http is None:
            raise NetworkError(f"{host}: no HTTP here")
        answer: asyncio.Future[Response] = asyncio.get_running_loop().create_future()
        self._run(
            server.node, _answer(server.http, request, answer), name=f"{request.method} of {request.source} at {host}"
        )
        response = await answer
        if self._chance.random() < self.faults.lose_answer:
            await asyncio.get_running_loop().create_future()
        await self.links.pass_over(server.node, request.source)
        return response

    def _run(self, node: str, work: Coroutine[Any, Any, None], *, name: str) -> None:
        """A server's work outlives the client's patience."""
        task = asyncio.get_running_loop().create_task(work, name=name)
        self._handlers[task] = node
        task.add_done_callback(self._handled)

    def _handled(self, task: asyncio.Task[None]) -> None:
        self._handlers.pop(task, None)
        if not task.cancelled() and (error := task.exception()) is not None:
            # A server's fault is a fault of the test: run_virtual fails on it.
            task.get_loop().call_exception_handler({"message": task.get_name(), "exception": error})


async def _serve(handler: SocketHandler, socket: ServerSocket) -> None:
    await handler(socket)
    socket.close(1000)


async def _answer(handler: HttpHandler, request: Request, answer: asyncio.Future[Response]) -> None:
    try:
        response = await handler(request)
    except BaseException:
        if not answer.done():
            answer.set_exception(NetworkError(f"{urlsplit(request.url).netloc}: connection reset"))
        raise
    if not answer.done():
        answer.set_result(response)


class NetworkOfProcess:
    """:class:`~shard_runtime.ports.Network` of one process; dead from :meth:`die` on."""

    def __init__(self, network: VirtualNetwork, node: str) -> None:
        self._network = network
        self._node = node
        self._sockets: list[ClientSocket] = []
        self._dead = False

    async def connect(self, url: str, listener: FrameListener, *, timeout: float) -> WebSocket:
        await self._alive()
        try:
            async with asyncio.timeout(timeout):
                socket = await self._network._open(self._node, url, listener)
        except TimeoutError:
            raise NetworkError(f"{urlsplit(url).netloc}: no websocket within {timeout:g} s") from None
        self._sockets = [known for known in self._sockets if not known.ended]
        self._sockets.append(socket)
        if self._dead:
            socket.die_at_client()
        return socket

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
        await self._alive()
        parts = urlsplit(url)
        request = Request(
            method=method,
            url=url,
            path=parts.path or "/",
            query=dict(parse_qsl(parts.query)),
            headers={name.lower(): value for name, value in headers.items()},
            body=bytes(body),
            source=self._node,
        )
        try:
            async with asyncio.timeout(timeout):
                return await self._network._exchange(request)
        except TimeoutError:
            raise NetworkError(f"{parts.netloc}: no answer within {timeout:g} s") from None

    async def close(self) -> None:
        """As the real one; nothing is kept here."""

    def die(self) -> None:
        """The process is gone, in one moment: its callbacks are never called again, its peers see drops."""
        self._dead = True
        for socket in self._sockets:
            if not socket.ended:
                socket.die_at_client()

    async def _alive(self) -> None:
        if self._dead:
            # What a dead process awaits never comes; it is being cancelled.
            await asyncio.get_running_loop().create_future()
