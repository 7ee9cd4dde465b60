"""When a worker gives memory back that it has no use for.

What a session's beginning and a burst leave is small pieces between others and the touched pages of large read buffers.
Handing it back takes some milliseconds and makes the next burst fetch it again, so it is done in the first quiet moment
after sessions began or ended, and after each further :data:`MUCH_RECEIVED`.
"""

from __future__ import annotations

from typing import Final

QUIET_SECONDS: Final = 0.5
QUIET_BYTES_A_SECOND: Final = 64 << 10
MUCH_RECEIVED: Final = 4 << 20
"""Bytes on the wire."""


class Quiet:
    def __init__(self) -> None:
        self._received = 0
        self._given_back_at = 0
        """Of the bytes received."""
        self.sessions_changed = False
        """Since memory was given back; to be set by whoever sees it."""
        self._looked_at: float | None = None
        self._quiet_since: float | None = None

    def look(self, received: int, now: float) -> bool:
        """Whether to give memory back now; to be asked a few times a second. *received*: bytes so far."""
        before, self._received = self._received, received
        looked_at, self._looked_at = self._looked_at, now
        if looked_at is None or received - before > QUIET_BYTES_A_SECOND * (now - looked_at):
            self._quiet_since = None
            return False
        if self._quiet_since is None:
            self._quiet_since = looked_at
        if now - self._quiet_since < QUIET_SECONDS:
            return False
        if not self.sessions_changed and received - self._given_back_at < MUCH_RECEIVED:
            return False
        self._given_back_at = received
        self.sessions_changed = False
        return True
