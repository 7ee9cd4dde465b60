"""A connection's transport on a real socket.

Frames of one turn of the gateway are gathered and written at once: a server's frames are not masked, so a header of a
few bytes is all that a message needs, and a burst of a hundred events costs one system call instead of a hundred.
Pings and pongs are aiohttp's, and the answer to a client's close. Our own close waits for the client's: a connection
that is ended at once is reset by what the client still sends, and then a client that is busy never reads the code.
"""

from __future__ import annotations

import asyncio
import struct
from collections.abc import Callable
from socket import SO_LINGER, SOL_SOCKET
from typing import Final

_TEXT: Final = 0x81
_BINARY: Final = 0x82
_CLOSE: Final = 0x88
_AT_ONCE: Final = struct.pack("ii", 1, 0)
"""``struct linger``: on, for no time, so that the close sends a RST."""
CLOSE_SECONDS: Final = 5.0
"""For a client to answer a close."""
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

    def __init__(self, *, transport: asyncio.Transport, written_to: Callable[[SocketTransport], None]) -> None:
        self._transport = transport
        self._written_to = written_to
        self._frames: list[bytes] = []
        self._patience: asyncio.TimerHandle | None = None
        """Set once closing has begun."""
        self._ended = asyncio.Event()

    def send(self, data: bytes, binary: bool) -> None:
        if not self._frames:
            self._written_to(self)
        self._frames.append(frame(data, binary))

    @property
    def closing(self) -> bool:
        """Whether we have closed, and what the client sends is only waited for its end."""
        return self._patience is not None

    def close(self, code: int) -> None:
        self.flush()
        if self._patience is None and not self._transport.is_closing():
            self._transport.write(bytes((_CLOSE, 2)) + code.to_bytes(2, "big"))
            self._patience = asyncio.get_running_loop().call_later(CLOSE_SECONDS, self._transport.abort)

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

    def end(self) -> None:
        """The client has closed, or is gone."""
        if self._patience is not None:
            self._patience.cancel()
        self._transport.close()
        self._ended.set()

    async def closed(self) -> None:
        """Wait for the end of a close that was begun."""
        if self._patience is not None:
            await self._ended.wait()
