"""Faults that last for a while, each open until some moment, for everybody or for some sessions."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from random import Random
from typing import Final

from discord_simulator.sessions import Session

WINDOWS: Final = frozenset(
    {
        "refuseConnections",
        "resetResumes",
        "reconnectInsteadOfHello",
        "dropHeartbeatAcks",
        "delayHeartbeatAcks",
        "delayReady",
        "api",
        "apiHang",
    }
)
AIMED: Final = frozenset({"dropHeartbeatAcks", "delayHeartbeatAcks", "resetResumes"})
"""Those that know the session they strike; the others strike before there is one, so they are for everybody."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """Which sessions are meant; None leaves a dimension open."""

    session: str | None = None
    shard: int | None = None
    count: int | None = None

    @property
    def everybody(self) -> bool:
        return self.session is None and self.shard is None and self.count is None

    def means(self, session: Session | None) -> bool:
        """Whether *session* is meant; a connection without one (None) only if everybody is."""
        if session is None:
            return self.everybody
        return (
            self.session in (None, session.id)
            and self.shard in (None, session.shard)
            and self.count in (None, session.count)
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Window:
    until: float
    least: float
    most: float
    target: Target


class FaultWindows:
    def __init__(self, *, now: Callable[[], float]) -> None:
        self._now = now
        self._open: dict[str, list[_Window]] = {}

    def open(
        self, name: str, *, seconds: float, least: float = 1.0, most: float = 1.0, target: Target | None = None
    ) -> None:
        """Open window *name*; *least* and *most* are what the fault takes (a status, the bounds of a delay)."""
        now = self._now()
        window = _Window(until=now + seconds, least=least, most=most, target=target or Target())
        # The newest comes first, so that it decides; a window of the same target takes the older one's place.
        others = [old for old in self._open.get(name, ()) if old.until > now and old.target != window.target]
        self._open[name] = [window, *others]

    def _find(self, name: str, session: Session | None) -> _Window | None:
        now = self._now()
        return next((w for w in self._open.get(name, ()) if now < w.until and w.target.means(session)), None)

    def active(self, name: str, session: Session | None = None) -> bool:
        """Whether window *name* is open for *session*, or for everybody."""
        return self._find(name, session) is not None

    def value(self, name: str) -> float:
        """The fault's value while its window is open, else 0."""
        window = self._find(name, None)
        return 0.0 if window is None else window.most

    def delay(self, name: str, random: Random, session: Session | None = None) -> float:
        """A delay within the window's bounds while it is open, else 0."""
        window = self._find(name, session)
        return 0.0 if window is None else random.uniform(window.least, window.most)

    def clear(self) -> None:
        self._open.clear()
