"""Both ends of a virtual websocket."""

from __future__ import annotations

import asyncio
from collections import deque

from virtual.links import Links, Pipe

from shard_runtime.ports import FrameListener

CLOSE_SECONDS = 2.0
"""As the real client: how long a polite close may take before the connection is dropped."""


class SocketClosedError(Exception):
    """The client closed with ``code``; None: the connection dropped."""

    def __init__(self, code: int | None) -> None:
        super().__init__(f"closed with {code}")
        self.code = code


class ClientSocket:
    """:class:`~shard_runtime.ports.WebSocket` on the virtual network."""

    def __init__(self, *, links: Links, source: str, target: str, url: str, listener: FrameListener) -> None:
        self._listener = listener
        self._up = Pipe(links=links, source=source, target=target)
        self._down = Pipe(links=links, source=target, target=source)
        self._ended = False
        self.received_bytes = 0
        self.nodes = frozenset((source, target))
        self.server = ServerSocket(self, url=url, source=source)

    def send(self, data: bytes) -> None:
        if not self._ended:
            sent_at = asyncio.get_running_loop().time()
            self._up.put(lambda: self.server._arrived(bytes(data), sent_at))

    def close(self, code: int) -> None:
        if not self._ended:
            self._up.put(lambda: self.server._closed_by_client(code))
            asyncio.get_running_loop().call_later(CLOSE_SECONDS, self.abort)

    def abort(self) -> None:
        """Drop; the server learns of it when the message gets through."""
        if not self._ended:
            self._up.put(self.server._dropped)
            self._down.break_off()
            asyncio.get_running_loop().call_soon(self._end, None, "dropped")

    def pause_reading(self) -> None:
        self._down.pause()

    def resume_reading(self) -> None:
        self._down.resume()

    # --- The network ------------------------------------------------------------------------------------------------

    def reset(self) -> None:
        """The connection dies in one moment at both ends; what is under way is lost."""
        self._up.break_off()
        self._down.break_off()
        self.server._dropped()
        self._end(None, "connection reset")

    def die_at_client(self) -> None:
        """The client's process is gone: nobody listens any more, and the server sees the connection drop."""
        self._ended = True
        self.server.orphaned = True
        self._down.break_off()
        self._up.put(self.server._dropped)

    def die_at_server(self) -> None:
        self.server._die()
        self._up.break_off()
        self._down.put(lambda: self._end(None, "connection reset"))

    @property
    def ended(self) -> bool:
        return self._ended

    def _end(self, code: int | None, reason: str) -> None:
        if not self._ended:
            self._ended = True
            self._listener.on_closed(code, reason)

    def _frame(self, data: bytes, binary: bool) -> None:
        if not self._ended:
            self.received_bytes += len(data)
            self._listener.on_frames([data])


class ServerSocket:
    """The server's end: a coroutine that receives, sends and closes."""

    def __init__(self, client: ClientSocket, *, url: str, source: str) -> None:
        self._client = client
        self.url = url
        """As the client asked for it, query included."""
        self.source = source
        """The client's machine."""
        self.sent_at = 0.0
        """When the message that was received last was sent."""
        self.orphaned = False
        """The client's process is gone, whether or not that is known here."""
        self._received: deque[tuple[bytes, float]] = deque()
        self._news = asyncio.Event()
        self._closed = False
        self._close_code: int | None = None

    @property
    def closed(self) -> bool:
        return self._closed

    @property
    def unread(self) -> int:
        """Messages that the client has not taken yet: its back pressure."""
        return self._client._down.waiting

    async def receive(self) -> bytes:
        """The next message. Raises :class:`SocketClosedError` once the connection has ended and all was read."""
        while not self._received:
            if self._closed:
                raise SocketClosedError(self._close_code)
            self._news.clear()
            await self._news.wait()
        data, self.sent_at = self._received.popleft()
        return data

    def send(self, data: bytes, *, binary: bool = False) -> None:
        """Send one message; lost silently when the connection has ended, as over TCP."""
        if not self._closed:
            client = self._client
            client._down.put(lambda: client._frame(bytes(data), binary))

    def close(self, code: int, reason: str = "") -> None:
        if not self._closed:
            client = self._client
            client._down.put(lambda: client._end(code, reason))
            self._finish(code)

    def abort(self) -> None:
        """Drop the connection without a close frame; what is under way to the client still arrives."""
        if not self._closed:
            client = self._client
            client._down.put(lambda: client._end(None, "dropped"))
            self._finish(None)

    def _arrived(self, data: bytes, sent_at: float) -> None:
        if not self._closed:
            self._received.append((data, sent_at))
            self._news.set()

    def _closed_by_client(self, code: int) -> None:
        self.close(code)

    def _dropped(self) -> None:
        self._finish(None)

    def _die(self) -> None:
        self._finish(None)

    def _finish(self, code: int | None) -> None:
        if not self._closed:
            self._closed = True
            self._close_code = code
            self._news.set()
