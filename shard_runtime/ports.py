"""What the runtime needs from the world: time, chance, network and disk.

Each port has one real implementation (``shard_runtime.connection`` and ``shard_runtime.disk``) and one on a virtual clock and a virtual
network in the tests, so that whole systems run from one seed. Code of the runtime never calls ``time``, ``random``, a
socket or the file system itself; of asyncio it uses tasks, futures and events, which obey the loop's clock.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol


class Clock(Protocol):
    def monotonic(self) -> float:
        """Seconds on a clock that never goes back."""
        ...

    def unix_milliseconds(self) -> int:
        """Milliseconds since 1970 from a wall clock read once, then advanced by the monotonic one."""
        ...

    async def sleep(self, seconds: float) -> None: ...


class Chance(Protocol):
    """``random.Random`` satisfies it."""

    def random(self) -> float:
        """Uniform in [0, 1)."""
        ...

    def uniform(self, a: float, b: float) -> float: ...


class FrameListener(Protocol):
    """Called by a websocket, on the event loop."""

    def on_frame(self, data: bytes, binary: bool) -> None:
        """One whole message as it came from the wire, not yet inflated."""
        ...

    def on_closed(self, code: int | None, reason: str) -> None:
        """Called exactly once; *code* is the peer's close code, None when the connection dropped without one."""
        ...


class WebSocket(Protocol):
    def send(self, data: bytes) -> None:
        """Send one text message."""
        ...

    def close(self, code: int) -> None:
        """Send a close frame with *code* and end the connection; ``on_closed`` follows."""
        ...

    def abort(self) -> None:
        """Drop the connection without a close frame; ``on_closed(None, ...)`` follows."""
        ...

    def pause_reading(self) -> None:
        """Stop reading from the socket, so that the peer feels back pressure."""
        ...

    def resume_reading(self) -> None: ...


@dataclass(frozen=True, slots=True)
class Response:
    status: int
    headers: Mapping[str, str]
    """Names in lower case."""
    body: bytes


class NetworkError(Exception):
    """A connection or a request failed before an answer; the text names the host, never a token."""


class Network(Protocol):
    async def connect(self, url: str, listener: FrameListener, *, timeout: float) -> WebSocket:
        """Open a websocket. Raises :class:`NetworkError` within *timeout* seconds if it does not come about."""
        ...

    async def request(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str],
        body: bytes = b"",
        timeout: float,
    ) -> Response:
        """One HTTP request with its answer's body; redirects are not followed.

        Raises :class:`NetworkError` when there is no complete answer within *timeout* seconds.
        """
        ...


class Disk(Protocol):
    def read(self, path: Path) -> bytes | None:
        """The file's bytes, None if there is no such file. Raises ``OSError``."""
        ...

    def write(self, path: Path, data: bytes) -> None:
        """Replace the file atomically; durable (fsynced, its folder too) on return. Raises ``OSError``."""
        ...

    def write_soon(self, path: Path, data: bytes) -> None:
        """Replace the file atomically without waiting for the disk: survives a process, not a power cut."""
        ...

    def remove(self, path: Path) -> None:
        """Remove the file if it is there."""
        ...
