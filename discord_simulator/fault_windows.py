"""Faults that last for a while, each open until some moment."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

WINDOWS: Final = frozenset(
    {
        "refuseConnections",
        "resetResumes",
        "reconnectInsteadOfHello",
        "dropHeartbeatAcks",
        "delayReady",
        "api",
        "apiHang",
    }
)


class FaultWindows:
    def __init__(self, *, now: Callable[[], float]) -> None:
        self._now = now
        self._open: dict[str, tuple[float, float]] = {}

    def open(self, name: str, *, seconds: float, value: float = 1.0) -> None:
        """Open window *name*; *value* is what the fault takes (a status, a delay)."""
        self._open[name] = (self._now() + seconds, value)

    def value(self, name: str) -> float:
        """The fault's value while its window is open, else 0."""
        until, value = self._open.get(name, (0.0, 0.0))
        return value if self._now() < until else 0.0

    def active(self, name: str) -> bool:
        return self.value(name) > 0.0

    def clear(self) -> None:
        self._open.clear()
