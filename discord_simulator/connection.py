"""One websocket connection as the gateway sees it.

A connection carries at most one session at a time and has its own compression context and send budget; both are gone
when it is. The transport below it is a socket in the server and a queue on a virtual network.
"""

from __future__ import annotations

from collections import deque
from typing import Final, Protocol

from discord_simulator.compression import Encoder, PayloadEncoder, PlainEncoder
from discord_simulator.sessions import Session

SENDS_PER_MINUTE: Final = 120
LARGEST_SEND: Final = 4096


class Transport(Protocol):
    """What carries a connection. Calls neither block nor call back into the gateway."""

    def send(self, data: bytes, binary: bool) -> None:
        """Queue one message."""
        ...

    def close(self, code: int) -> None:
        """Send what is queued, then a close frame."""
        ...

    def drop(self) -> None:
        """Reset the connection, without a close frame; what is queued may be lost."""
        ...


class Connection:
    def __init__(self, *, transport: Transport, encoder: Encoder, url: str, version: int, opened: float) -> None:
        self.transport = transport
        self.url = url
        """``ws://host:port`` as the client reached it, for READY's ``resume_gateway_url``."""
        self.version = version
        self.last_heartbeat = opened
        self.session: Session | None = None
        self.identifying = False
        """An IDENTIFY was accepted and its READY is still being held back."""
        self.closed = False
        self._encoder = encoder
        self._received: deque[float] = deque()

    def send(self, payload: bytes) -> None:
        if not self.closed:
            for data, binary in self._encoder.encode(payload):
                self.transport.send(data, binary)

    def compress_payloads(self) -> None:
        """IDENTIFY asked for payload compression; without effect on a compressed transport."""
        if isinstance(self._encoder, PlainEncoder):
            self._encoder = PayloadEncoder()

    def within_send_budget(self, now: float) -> bool:
        """Count one frame from the client; False past 120 in 60 s."""
        while self._received and now - self._received[0] >= 60.0:
            self._received.popleft()
        self._received.append(now)
        return len(self._received) <= SENDS_PER_MINUTE
