"""What the control plane needs from the world besides the cluster: time, chance and HTTP.

Each port has one real implementation (``http_client``, ``SystemClock``) and one on a virtual clock and a virtual
network in tests, so that planner, gate and reconcile loop also run from one seed. Code above this module never reads a
clock, draws a random number or opens a socket itself.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol


class Clock(Protocol):
    def monotonic(self) -> float:
        """Seconds on a clock that never goes back."""
        ...

    def unix(self) -> float:
        """Seconds since 1970."""
        ...


class Chance(Protocol):
    """``random.Random`` satisfies it."""

    def random(self) -> float:
        """Uniform in [0, 1)."""
        ...

    def uniform(self, a: float, b: float) -> float: ...


class SystemClock:
    """The machine's clocks; wall time is read once and then advanced by the monotonic clock, as the runtime does."""

    def __init__(self) -> None:
        self._anchor = time.time() - time.monotonic()

    def monotonic(self) -> float:
        return time.monotonic()

    def unix(self) -> float:
        return self._anchor + time.monotonic()


@dataclass(frozen=True, slots=True)
class HttpResponse:
    status: int
    body: bytes
    headers: Mapping[str, str] = field(default_factory=dict)
    """Names in lower case."""


class HttpError(Exception):
    """No complete answer; the text names the host and the cause, never a header or a token."""


class HttpClient(Protocol):
    async def request(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str],
        body: bytes = b"",
        timeout: float,
    ) -> HttpResponse:
        """One request with its answer's body; redirects are not followed.

        Raises :class:`HttpError` when there is no complete answer within *timeout* seconds.
        """
        ...
