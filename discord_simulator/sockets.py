"""A connection's transport on a real socket.

Frames of one turn of the gateway are gathered and written at once: a server's frames are not masked, so a header of a
few bytes is all that a message needs, and a burst of a hundred events costs one system call instead of a hundred.
Pings, pongs and the closing handshake are aiohttp's.
"""

from __future__ import annotations

import asyncio
import struct
from collections.abc import Callable
from socket import SO_LINGER, SOL_SOCKET
from typing import Final

from aiohttp import web

_TEXT: Final = 0x81
_BINARY: Final = 0x82
_AT_ONCE: Final = struct.pack("ii", 1, 0)
"""``struct linger``: on, for no time, so that the close sends a RST."""
LARGEST_BACKLOG: Final = 32 << 20
"""Bytes that a client may leave unread before its connection is dropped; its session stays."""


def frame(data: bytes, binary: bool) -> bytes:
    """One whole unmasked message (RFC 6455, section 5.2)."""
    opcode, length = _BINARY if binary else _TEXT, len(data)
    if length < 126:
        header = bytes((opcode, length))
    elif length < 1 << 16:
        header = bytes((opcode, 126)) + length.to_bytes(2, "big")
    else:
        header = bytes((opcode, 127)) + length.to_bytes(8, "big")
    return header + data


class SocketTransport:
    """``Transport`` over an aiohttp websocket. *written_to* is told when there is something to flush."""

    def __init__(
        self,
        *,
        socket: web.WebSocketResponse,
        transport: asyncio.Transport,
        written_to: Callable[[SocketTransport], None],
    ) -> None:
        self._socket = socket
        self._transport = transport
        self._written_to = written_to
        self._frames: list[bytes] = []
        self._closing: asyncio.Task[bool] | None = None

    def send(self, data: bytes, binary: bool) -> None:
        if not self._frames:
            self._written_to(self)
        self._frames.append(frame(data, binary))

    def close(self, code: int) -> None:
        self.flush()
        if self._closing is None:
            self._closing = asyncio.get_running_loop().create_task(self._socket.close(code=code), name=f"close {code}")

    def drop(self) -> None:
        """Reset the TCP connection. To abort is no reset: with everything read, the kernel ends it with a plain FIN."""
        self._frames.clear()
        socket = self._transport.get_extra_info("socket")
        if socket is not None and not self._transport.is_closing():
            socket.setsockopt(SOL_SOCKET, SO_LINGER, _AT_ONCE)
        self._transport.abort()

    def flush(self) -> bool:
        """Write what was gathered; False if the client has left too much unread."""
        if self._frames:
            data = b"".join(self._frames)
            self._frames.clear()
            if not self._transport.is_closing():
                self._transport.write(data)
        return self._transport.get_write_buffer_size() <= LARGEST_BACKLOG

    async def closed(self) -> None:
        """Wait for a closing handshake that was begun."""
        if self._closing is not None:
            await self._closing
