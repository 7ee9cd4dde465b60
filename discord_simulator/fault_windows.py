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


@dataclass(slots=True, kw_only=True)
class _Window:
    until: float
    least: float
    most: float
    left: int | None
    target: Target


class FaultWindows:
    def __init__(self, *, now: Callable[[], float]) -> None:
        self._now = now
        self._open: dict[str, list[_Window]] = {}

    def open(
        self,
        name: str,
        *,
        seconds: float,
        least: float = 1.0,
        most: float = 1.0,
        times: int | None = None,
        target: Target | None = None,
    ) -> None:
        """Open window *name*; *least* and *most* are what the fault takes (a status, the bounds of a delay).

        It closes after so many *seconds*, or once it has struck so many *times*.
        """
        now = self._now()
        window = _Window(until=now + seconds, least=least, most=most, left=times, target=target or Target())
        # The newest comes first, so that it decides; a window of the same target takes the older one's place.
        others = [old for old in self._open.get(name, ()) if old.until > now and old.target != window.target]
        self._open[name] = [window, *others]

    def _strike(self, name: str, session: Session | None) -> _Window | None:
        now = self._now()
        for window in self._open.get(name, ()):
            if now < window.until and window.left != 0 and window.target.means(session):
                if window.left is not None:
                    window.left -= 1
                return window
        return None

    def strikes(self, name: str, session: Session | None = None) -> bool:
        """Whether the fault of window *name* happens now to *session*, or to a connection without one."""
        return self._strike(name, session) is not None

    def value(self, name: str) -> float:
        """What the fault takes if it happens now, else 0."""
        window = self._strike(name, None)
        return 0.0 if window is None else window.most

    def delay(self, name: str, random: Random, session: Session | None = None) -> float:
        """A delay within the window's bounds if the fault happens now, else 0."""
        window = self._strike(name, session)
        return 0.0 if window is None else random.uniform(window.least, window.most)

    def clear(self) -> None:
        self._open.clear()
