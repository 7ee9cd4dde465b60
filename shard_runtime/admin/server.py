"""HTTP/1.1 over asyncio streams, with h11 as the parser and a bound on everything a client can send or delay.

The supervisor shares its pod with workers that are paid for by the byte, so it does without an HTTP framework.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

import h11

from shard_runtime.admin.heads import flaw
from shard_runtime.admin.messages import Answer, Application, Head, problem

READ_SIZE: Final = 64 << 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Bounds in bytes and seconds."""

    head_bytes: int = 16 << 10
    body_bytes: int = 1 << 20
    connections: int = 256
    idle_seconds: float = 75.0
    """Between requests on a kept connection; longer than clients keep theirs, so that they close first."""
    request_seconds: float = 10.0
    """From a request's first byte to its last."""
    answer_seconds: float = 30.0
    write_seconds: float = 30.0


class AdminServer:
    """Serves one :class:`Application`."""

    def __init__(self, application: Application, *, log: logging.Logger, limits: Limits | None = None) -> None:
        self._application = application
        self._log = log
        self._limits = Limits() if limits is None else limits
        self._server: asyncio.Server | None = None
        self._connections: set[asyncio.Task[None]] = set()

    async def start(self, host: str, port: int) -> int:
        """Listen; the port that was bound (for *port* 0). Raises ``OSError`` when it cannot be bound."""
        self._server = await asyncio.start_server(self._accept, host, port, limit=READ_SIZE)
        return int(self._server.sockets[0].getsockname()[1])

    async def close(self) -> None:
        """Stop listening and drop all connections."""
        if self._server is not None:
            self._server.close()
        for task in set(self._connections):
            task.cancel()
        await asyncio.gather(*self._connections, return_exceptions=True)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        if len(self._connections) >= self._limits.connections:
            writer.transport.abort()
            return
        self._connections.add(task)
        connection = _Connection(reader, writer, self._application, self._limits, self._log)
        try:
            await connection.run()
        except (OSError, TimeoutError, asyncio.CancelledError):
            pass  # the client is gone or too slow, or the server is closing: nobody is left to tell
        finally:
            self._connections.discard(task)
            writer.transport.abort() if connection.broken else writer.close()


class _Connection:
    def __init__(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        application: Application,
        limits: Limits,
        log: logging.Logger,
    ) -> None:
        self._reader = reader
        self._writer = writer
        self._application = application
        self._limits = limits
        self._log = log
        self._h11 = h11.Connection(h11.SERVER, max_incomplete_event_size=limits.head_bytes)
        self.broken = True
        """Whether the connection ended in the middle of something."""

    async def run(self) -> None:
        while await self._one_request():
            self._h11.start_next_cycle()
        self.broken = False

    async def _one_request(self) -> bool:
        """Serve one request; whether the connection can carry another."""
        try:
            request = await self._first_event()
            if not isinstance(request, h11.Request):
                return False
            async with asyncio.timeout(self._limits.request_seconds):
                received = await self._receive(request)
            if isinstance(received, Answer):  # refused before its body: whatever follows would be read as a request
                await self._send(received, close=True)
                return False
            head, body = received
        except h11.RemoteProtocolError as error:
            await self._refuse(error.error_status_hint, f"The request is not valid HTTP/1.1: {error}.")
            return False
        except TimeoutError:
            await self._refuse(408, "The request did not arrive in time.")
            return False
        await self._send(await self._respond(head, body), close=False)
        return self._h11.our_state is h11.DONE and self._h11.their_state is h11.DONE

    async def _first_event(self) -> h11.Event | type[h11.NEED_DATA] | type[h11.PAUSED]:
        """Wait for a request's first byte as long as a connection may idle, then for its head."""
        try:
            async with asyncio.timeout(self._limits.idle_seconds):
                event = self._parsed()
                if event is h11.NEED_DATA:
                    self._h11.receive_data(await self._reader.read(READ_SIZE))
                    event = self._parsed()
        except TimeoutError:
            return h11.PAUSED
        if event is not h11.NEED_DATA:
            return event
        async with asyncio.timeout(self._limits.request_seconds):
            return await self._next_event()

    def _parsed(self) -> h11.Event | type[h11.NEED_DATA] | type[h11.PAUSED]:
        """What h11 makes of what came; a head first has to be beyond doubt."""
        if self._h11.their_state is h11.IDLE:
            found = flaw(self._h11.trailing_data[0])
            if found is not None:
                raise h11.RemoteProtocolError(found)
        return self._h11.next_event()

    async def _next_event(self) -> h11.Event | type[h11.NEED_DATA] | type[h11.PAUSED]:
        while (event := self._parsed()) is h11.NEED_DATA:
            if self._h11.they_are_waiting_for_100_continue:
                headers: list[tuple[bytes, bytes]] = []
                await self._write(self._h11.send(h11.InformationalResponse(status_code=100, headers=headers)))
            self._h11.receive_data(await self._reader.read(READ_SIZE))
        return event

    async def _receive(self, request: h11.Request) -> tuple[Head, bytes] | Answer:
        headers = _joined(request.headers)
        target = request.target.decode("latin-1")
        head = Head(method=request.method.decode("ascii"), path=target.partition("?")[0], headers=headers)
        if "transfer-encoding" in headers and "content-length" in headers:
            return problem(400, "A request has either Content-Length or Transfer-Encoding.")  # a smuggler's means
        refusal = self._application.refuse(head)
        if refusal is not None:
            return refusal
        limit = self._limits.body_bytes
        if int(headers.get("content-length", "0")) > limit:
            return problem(413, f"The body is larger than {limit} bytes.")
        body = bytearray()
        while isinstance(event := await self._next_event(), h11.Data):
            body += event.data
            if len(body) > limit:
                return problem(413, f"The body is larger than {limit} bytes.")
        if not isinstance(event, h11.EndOfMessage):
            raise h11.RemoteProtocolError("the body ends early")
        return head, bytes(body)

    async def _respond(self, head: Head, body: bytes) -> Answer:
        try:
            async with asyncio.timeout(self._limits.answer_seconds):
                return await self._application.respond(head, body)
        except TimeoutError:
            return problem(503, "The answer took too long; try again.")
        except Exception:  # noqa: BLE001  # one failed call must not end the surface that probes and siblings rely on
            self._log.exception("The call %s %s failed.", head.method, head.path)
            return problem(500, "The call failed; the pod's log says why.")

    async def _refuse(self, status: int, sentence: str) -> None:
        if self._h11.our_state in (h11.IDLE, h11.SEND_RESPONSE):
            await self._send(problem(status, sentence), close=True)

    async def _send(self, answer: Answer, *, close: bool) -> None:
        headers = [("content-type", answer.content_type), ("content-length", str(len(answer.body)))]
        headers += [("connection", "close")] if close else []
        headers += list(answer.headers.items())
        data = self._h11.send(h11.Response(status_code=answer.status, headers=headers)) or b""
        data += self._h11.send(h11.Data(data=answer.body)) or b""
        data += self._h11.send(h11.EndOfMessage()) or b""
        await self._write(data)

    async def _write(self, data: bytes | None) -> None:
        if data:
            self._writer.write(data)
            async with asyncio.timeout(self._limits.write_seconds):
                await self._writer.drain()


def _joined(headers: Iterable[tuple[bytes, bytes]]) -> dict[str, str]:
    joined: dict[str, str] = {}
    for name, value in headers:
        key, text = name.decode("latin-1"), value.decode("latin-1")
        joined[key] = f"{joined[key]}, {text}" if key in joined else text
    return joined
