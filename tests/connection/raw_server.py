"""A websocket server that writes frames byte by byte, so that a test can send what no library would."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import hashlib
import struct
from collections.abc import AsyncIterator, Awaitable, Callable

CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0x0, 0x1, 0x2, 0x8, 0x9, 0xA


class Peer:
    """The server's side of one connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, request: str) -> None:
        self.reader = reader
        self.writer = writer
        self.request = request

    def frame(self, opcode: int, payload: bytes, *, fin: bool = True) -> None:
        head = bytes([(0x80 if fin else 0) | opcode])
        size = len(payload)
        if size < 126:
            head += bytes([size])
        elif size < 1 << 16:
            head += b"\x7e" + struct.pack(">H", size)
        else:
            head += b"\x7f" + struct.pack(">Q", size)
        self.writer.write(head + payload)

    def close(self, code: int, reason: str = "") -> None:
        self.frame(CLOSE, struct.pack(">H", code) + reason.encode())

    async def receive(self) -> tuple[int, bytes]:
        """(opcode, payload) of the client's next frame. Raises ``IncompleteReadError`` when the connection ended."""
        first, second = await self.reader.readexactly(2)
        size = second & 0x7F
        if size == 126:
            (size,) = struct.unpack(">H", await self.reader.readexactly(2))
        elif size == 127:
            (size,) = struct.unpack(">Q", await self.reader.readexactly(8))
        mask = await self.reader.readexactly(4)
        masked = await self.reader.readexactly(size)
        return first & 0x0F, bytes(byte ^ mask[at % 4] for at, byte in enumerate(masked))

    async def receive_close(self) -> int:
        """The code of the client's next close frame."""
        while True:
            opcode, payload = await self.receive()
            if opcode == CLOSE:
                return int(struct.unpack(">H", payload[:2])[0])

    async def ended(self) -> None:
        """Wait until the client has ended the connection."""
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                await self.receive()


@contextlib.asynccontextmanager
async def raw_server(handler: Callable[[Peer], Awaitable[None]], *, early: bytes = b"") -> AsyncIterator[str]:
    """Serve on loopback; gives the URL. *early* is sent in one piece with the handshake's answer."""
    failures: list[BaseException] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            request = (await reader.readuntil(b"\r\n\r\n")).decode()
            [key] = [
                line.split(": ")[1] for line in request.split("\r\n") if line.lower().startswith("sec-websocket-key")
            ]
            accept = base64.b64encode(hashlib.sha1((key + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11").encode()).digest())
            writer.write(
                b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                b"Sec-WebSocket-Accept: " + accept + b"\r\n\r\n" + early
            )
            await handler(Peer(reader, writer, request))
        except Exception as error:  # noqa: BLE001 — raised in the test below
            failures.append(error)
        finally:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    try:
        yield f"ws://127.0.0.1:{port}/?v=10"
    finally:
        server.close()
    if failures:
        raise failures[0]
