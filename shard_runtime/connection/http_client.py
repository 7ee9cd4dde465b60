"""HTTP/1.1 on kept connections, made for one thing: many posts to one receiver that answers with next to nothing.

A request is its head and its body, written as they are. The usual answer comes whole in one piece and is read at a
glance; every other is h11's (chunks, pieces, bodies that end with the connection, interim answers, nonsense), so there
is one full reading of the protocol here and it is not ours. aiohttp's client did the same with 160 µs of CPU more a
request (benchmarks/run.py).

Redirects are answers, cookies are not kept, no proxy is used, nothing is decompressed, and nothing is sent twice: what
failed is the caller's to repeat.
"""

from __future__ import annotations

import asyncio
import base64
import functools
import math
import re
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, cast
from urllib.parse import quote, unquote, urlsplit

import h11

from shard_runtime.ports import NetworkError, Response

LONGEST_ANSWER: Final = 128 << 20
"""Bytes; the windows of a handover are the largest answers."""

IDLE_SECONDS: Final = 15.0
"""How long an unused connection is kept; servers and the network between drop them without a word some time later."""

_PORTS: Final = {"http": 80, "https": 443}
_URL_SAFE: Final = "%/:?@!$&'()*+,;=[]~"
_STATUS: Final = re.compile(rb"HTTP/1\.1 ([2-5]\d\d)(?: [^\r\n]*)?")
_NAME: Final = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_BODILESS: Final = ("GET", "HEAD")
_NOT_AT_A_GLANCE: Final = frozenset({"transfer-encoding", "connection"})
_LIKELY_AGAIN: Final = 512
"""Bytes of an answer. Receivers acknowledge with the same few bytes, which need not be taken apart each time."""


_Place = tuple[bool, str, int, str | None]
"""Whether by TLS, host, port, and who vouches for it: what a kept connection may be used for."""


@dataclass(frozen=True, slots=True)
class _Target:
    secure: bool
    host: str
    port: int
    path: str
    """With the query."""
    netloc: str
    """As the ``Host`` header says it."""
    authorization: str | None
    """Of a user name and password in the URL."""


@functools.lru_cache(maxsize=64)
def _target(url: str) -> _Target:
    """Raises ``ValueError`` for what is no URL of a web server."""
    parts = urlsplit(url)
    port = parts.port or _PORTS[parts.scheme] if parts.scheme in _PORTS else 0
    if not port or not parts.hostname:
        raise ValueError("no http or https URL")
    host = parts.hostname if parts.hostname.isascii() else parts.hostname.encode("idna").decode()
    path = quote(parts.path or "/", safe=_URL_SAFE)
    if parts.query:
        path += "?" + quote(parts.query, safe=_URL_SAFE)
    netloc = f"[{host}]" if ":" in host else host
    authorization = None
    if parts.username is not None:
        user = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
        authorization = "Basic " + base64.b64encode(user.encode()).decode()
    return _Target(
        secure=parts.scheme == "https",
        host=host,
        port=port,
        path=path,
        netloc=netloc if port == _PORTS[parts.scheme] else f"{netloc}:{port}",
        authorization=authorization,
    )


@functools.lru_cache(maxsize=512)  # the number of events is among the headers
def _fixed_head(method: str, url: str, headers: tuple[tuple[str, str], ...], user_agent: str) -> bytes:
    """The request line and all headers but ``Content-Length``: the same for most requests.

    Raises ``ValueError`` for a header that would be more than one, and as :func:`_target`.
    """
    target = _target(url)
    lines = [
        f"{method} {target.path} HTTP/1.1",
        f"Host: {target.netloc}",
        *[f"{name}: {value}" for name, value in headers],
    ]
    names = {name.lower() for name, _ in headers}
    if "user-agent" not in names:
        lines.append(f"User-Agent: {user_agent}")
    if target.authorization is not None and "authorization" not in names:
        lines.append(f"Authorization: {target.authorization}")
    text = "\r\n".join(lines)
    if text.count("\n") != len(lines) - 1 or text.count("\r") != len(lines) - 1 or "\0" in text:
        raise ValueError("a line break in a header")
    return text.encode("latin-1") + b"\r\n"


class HttpClient:
    """Keeps connections to whatever it was asked for. One request at a time on each, as many as there are requests."""

    def __init__(self, *, context: ssl.SSLContext | None, user_agent: str) -> None:
        """*context* replaces the system's certificate authorities."""
        self._context = context
        self._own_context: tuple[str, ssl.SSLContext] | None = None
        """The last authorities that a request brought along, and what was made of them."""
        self._user_agent = user_agent
        self._idle: dict[_Place, list[_Connection]] = {}
        self._open: set[_Connection] = set()
        self._deadlines = _Deadlines(self._open)
        self._sweeping: asyncio.TimerHandle | None = None

    async def request(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str],
        body: bytes,
        timeout: float,
        authorities: str | None = None,
    ) -> Response:
        """*authorities* are PEM certificates; a connection that others vouched for is not used.

        Raises :class:`~shard_runtime.ports.NetworkError`, ``OSError`` or ``ValueError`` (also for an impossible URL
        or header) when there is no whole answer within *timeout* seconds.
        """
        target = _target(url)
        head = self._head(method, url, headers, len(body))
        deadline = asyncio.get_running_loop().time() + timeout
        connection = self._kept(target, authorities)
        if connection is None:
            async with asyncio.timeout_at(deadline):
                connection = await self._connect(target, authorities)
        self._deadlines.watch(connection, deadline)
        try:
            response = await connection.exchange(head, body)
        except BaseException:
            connection.abort()
            raise
        if connection.reusable:
            self._keep(target, authorities, connection)
        else:
            connection.abort()
        return response

    async def close(self) -> None:
        """Drop all connections, also those in use."""
        if self._sweeping is not None:
            self._sweeping.cancel()
            self._sweeping = None
        self._deadlines.close()
        self._idle.clear()
        for connection in list(self._open):
            connection.abort()

    def _head(self, method: str, url: str, headers: Mapping[str, str], size: int) -> bytes:
        head = _fixed_head(method, url, tuple(headers.items()), self._user_agent)
        return b"%bContent-Length: %d\r\n\r\n" % (head, size) if size or method not in _BODILESS else head + b"\r\n"

    # --- Connections

    async def _connect(self, target: _Target, authorities: str | None) -> _Connection:
        context = self._tls(authorities) if target.secure else None
        _, connection = await asyncio.get_running_loop().create_connection(
            lambda: _Connection(self._open), target.host, target.port, ssl=context
        )
        return connection

    def _tls(self, authorities: str | None) -> ssl.SSLContext:
        if authorities is None:
            if self._context is None:
                self._context = ssl.create_default_context()
            return self._context
        if self._own_context is None or self._own_context[0] != authorities:
            self._own_context = authorities, ssl.create_default_context(cadata=authorities)
        return self._own_context[1]

    def _kept(self, target: _Target, authorities: str | None) -> _Connection | None:
        idle = self._idle.get((target.secure, target.host, target.port, authorities))
        while idle:
            connection = idle.pop()
            if connection.reusable:
                return connection
        return None

    def _keep(self, target: _Target, authorities: str | None, connection: _Connection) -> None:
        loop = asyncio.get_running_loop()
        connection.idle_since = loop.time()
        self._idle.setdefault((target.secure, target.host, target.port, authorities), []).append(connection)
        if self._sweeping is None:
            self._sweeping = loop.call_later(IDLE_SECONDS, self._sweep)

    def _sweep(self) -> None:
        """Drop what has not been used for long; runs as long as anything is kept."""
        loop = asyncio.get_running_loop()
        for place, idle in list(self._idle.items()):
            for connection in idle:
                if loop.time() - connection.idle_since >= IDLE_SECONDS:
                    connection.abort()
            self._idle[place] = [connection for connection in idle if connection.reusable]
            if not self._idle[place]:
                del self._idle[place]
        self._sweeping = loop.call_later(IDLE_SECONDS, self._sweep) if self._idle else None


class _Deadlines:
    """Ends exchanges that take too long. A timer for each of them would cost a tenth of a request, so there is one for
    all, which goes off when the first of them may be late, and is not touched by those that are over in time."""

    def __init__(self, opened: set[_Connection]) -> None:
        self._opened = opened
        self._timer: asyncio.TimerHandle | None = None
        self._looks_at = math.inf

    def watch(self, connection: _Connection, deadline: float) -> None:
        """The exchange that follows on *connection* fails with ``TimeoutError`` at *deadline*, on the loop's clock."""
        connection.deadline = deadline
        if deadline < self._looks_at:
            self.close()
            self._looks_at = deadline
            self._timer = asyncio.get_running_loop().call_at(deadline, self._look)

    def _look(self) -> None:
        self._timer, self._looks_at = None, math.inf
        now = asyncio.get_running_loop().time()
        for connection in list(self._opened):
            if connection.deadline <= now:
                connection.late()
            elif connection.deadline < math.inf:
                self.watch(connection, connection.deadline)

    def close(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer, self._looks_at = None, math.inf


class _Connection(asyncio.Protocol):
    """One connection, one exchange after another."""

    def __init__(self, opened: set[_Connection]) -> None:
        self._opened = opened
        self._transport: asyncio.Transport | None = None
        self._answer: asyncio.Future[Response] | None = None
        self._reading: _Reading | None = None
        self._asked = b""
        self.reusable = False
        """Whether another exchange may follow."""
        self.idle_since = 0.0
        self.deadline = math.inf
        """Of the exchange under way, on the loop's clock."""

    async def exchange(self, head: bytes, body: bytes) -> Response:
        transport = self._transport
        if transport is None:
            raise NetworkError("the connection was closed")
        self.reusable = False
        self._reading = None
        self._asked = head
        self._answer = asyncio.get_running_loop().create_future()
        transport.writelines((head, body)) if body else transport.write(head)
        try:
            return await self._answer
        finally:
            self._answer = None
            self.deadline = math.inf

    def late(self) -> None:
        """The exchange under way has had its time."""
        self.deadline = math.inf
        self._fail(TimeoutError())

    def abort(self) -> None:
        self.reusable = False
        if self._transport is not None:
            self._transport.abort()

    # --- asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is no subclass
        self._opened.add(self)

    def data_received(self, data: bytes) -> None:
        if self._answer is None or self._answer.done():
            self.abort()  # nobody asked
            return
        if self._reading is None:
            response = _seen_before(data) if len(data) <= _LIKELY_AGAIN else _at_a_glance(data)
            if response is not None and not self._asked.startswith(b"HEAD "):
                self._finish(response, keep=True)
                return
            self._reading = _Reading(self._asked)
        self._read_on(data)

    def eof_received(self) -> None:
        self.reusable = False
        if self._reading is not None:
            self._read_on(b"")  # the end of the body, perhaps

    def connection_lost(self, error: Exception | None) -> None:
        self._transport = None
        self.reusable = False
        self._opened.discard(self)
        self._fail(error or NetworkError("the connection was closed before the answer was whole"))

    def _read_on(self, data: bytes) -> None:
        if self._reading is None or self._answer is None or self._answer.done():
            return
        try:
            response = self._reading.feed(data)
        except h11.RemoteProtocolError as error:
            self._fail(NetworkError(f"no proper answer: {error}"))
        except NetworkError as error:
            self._fail(error)
        else:
            if response is not None:
                self._finish(response, keep=bool(data) and self._reading.keeps)

    def _finish(self, response: Response, *, keep: bool) -> None:
        assert self._answer is not None and self._transport is not None
        # an answer may come before the request was read to its end
        self.reusable = keep and not self._transport.get_write_buffer_size() and not self._transport.is_closing()
        self._answer.set_result(response)

    def _fail(self, error: Exception) -> None:
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(error)


class _Reading:
    """One answer by h11, which has to be told the question."""

    def __init__(self, asked: bytes) -> None:
        self._http = h11.Connection(h11.CLIENT)
        first, *lines = asked[:-4].split(b"\r\n")
        method, target, _ = first.split(b" ")
        # What of the body was sent matters to nobody here, so h11 is told that there was none.
        headers = [
            (name, value.strip())
            for name, _, value in (line.partition(b":") for line in lines)
            if name.lower() != b"content-length"
        ]
        self._http.send(h11.Request(method=method, target=target, headers=headers))
        self._http.send(h11.EndOfMessage())
        self._status = 0
        self._headers: dict[str, str] = {}
        self._body = bytearray()
        self.keeps = False
        """Whether the connection can be used again, once the answer is whole."""

    def feed(self, data: bytes) -> Response | None:
        """The answer once *data* completes it; empty data is the end of the connection.

        Raises ``h11.RemoteProtocolError`` or :class:`~shard_runtime.ports.NetworkError`.
        """
        http = self._http
        http.receive_data(data)
        while True:
            match http.next_event():
                case h11.Response() as answer:
                    self._status = answer.status_code
                    for name, value in answer.headers:
                        self._headers[name.decode("latin-1")] = value.decode("latin-1")
                case h11.Data() as part:
                    self._body += part.data
                    if len(self._body) > LONGEST_ANSWER:
                        raise NetworkError(f"an answer of more than {LONGEST_ANSWER} bytes")
                case h11.EndOfMessage():
                    self.keeps = http.their_state is h11.DONE and not http.trailing_data[0]
                    return Response(status=self._status, headers=self._headers, body=bytes(self._body))
                case h11.InformationalResponse():
                    continue
                case _:
                    return None


def _at_a_glance(data: bytes) -> Response | None:
    """The answer in *data*, if it is whole there and of the simplest form; else None."""
    head, end, body = data.partition(b"\r\n\r\n")
    first, *lines = head.split(b"\r\n")
    status = _STATUS.fullmatch(first)
    if not end or status is None:
        return None
    headers: dict[str, str] = {}
    for line in lines:
        name, colon, value = line.partition(b":")
        known = name.lower().decode("latin-1")
        if not colon or not _NAME.fullmatch(name) or known in headers or known in _NOT_AT_A_GLANCE or b"\n" in value:
            return None
        headers[known] = value.strip(b" \t").decode("latin-1")
    code = int(status[1])
    size = "0" if code in (204, 304) else headers.get("content-length", "")
    if not (size.isascii() and size.isdigit() and len(size) < 10 and int(size) == len(body)):
        return None
    return Response(status=code, headers=headers, body=body)


_seen_before: Final = functools.lru_cache(maxsize=16)(_at_a_glance)
