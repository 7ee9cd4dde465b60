"""What the runtime needs from the world: time, chance, network and disk.

Each port has one real implementation (``shard_runtime.connection`` and ``shard_runtime.disk``) and one on a virtual
clock and a virtual network in the tests, so that whole systems run from one seed. Code of the runtime never calls
``time``, ``random``, a socket or the file system itself; of asyncio it uses tasks, futures and events, which obey the
loop's clock.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
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

    def on_frames(self, messages: Sequence[bytes]) -> None:
        """Whole messages that came together, in order, text and binary ones, as they came from the wire."""
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

    @property
    def received_bytes(self) -> int:
        """Bytes that came over the connection, without those of TLS."""
        ...


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
        authorities: str | None = None,
    ) -> Response:
        """One HTTP request with its answer's body; redirects are not followed.

        *authorities*: PEM certificates that replace the system's certificate authorities for this request.
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

    def oldest_first(self, folder: Path) -> list[Path]:
        """The files of *folder* by when they were written; none where there is no such folder. Raises ``OSError``."""
        ...

    def spill(self, path: Path) -> Spill:
        """The store at *path*, made when it is loaded. One user at a time."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class SpilledGroup:
    """Some consecutive events of a lane, written and read together."""

    id: int
    """Rises within a lane; the lane's order."""
    lane: int
    skip: int = 0
    """How many of its events, from the first on, are finished."""
    summary: bytes
    """What a start needs to know of it without its body."""
    body: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class SpillTransaction:
    """What is written together, or not at all."""

    add: Sequence[SpilledGroup] = ()
    remove: Collection[int] = ()
    skip: Mapping[int, int] = field(default_factory=dict)
    """By group, how many of its first events are finished."""
    notes: Mapping[str, bytes | None] = field(default_factory=dict)
    """Small values by name; None removes one."""
    durable: bool = True
    """Whether it must survive a power cut, and not only the process."""


class SpillError(Exception):
    """The store did not do it; the text is the end of a sentence that begins with the store."""

    def __init__(self, problem: str, *, damaged: bool = False) -> None:
        super().__init__(problem)
        self.damaged = damaged
        """Whether the file is not a store (any more), so that trying again will not help."""


class Spill(Protocol):
    """Events on disk: groups in lanes, and notes, changed by transactions.

    Every method but :meth:`close` raises :class:`SpillError`.
    """

    def load(self) -> tuple[Mapping[str, bytes], Iterable[SpilledGroup]]:
        """Open the store, or make it; its notes, and its groups in order, without a body where nothing is skipped."""
        ...

    def set_aside(self) -> str:
        """Keep what is there under another name, for a person, and begin an empty store; returns that name."""
        ...

    async def commit(self, transaction: SpillTransaction) -> None:
        """Make all changes of *transaction*, or none."""
        ...

    async def read(self, lane: int, *, after: int, size: int) -> list[SpilledGroup]:
        """The lane's next groups after the id *after*: as many as *size* bytes of bodies allow, and at least one."""
        ...

    def volume_bytes(self) -> int | None:
        """How large the volume is that the store lies on, if that is known."""
        ...

    def close(self) -> None:
        """Let go of the store; what was committed stays."""
        ...
