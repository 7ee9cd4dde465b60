"""How long to wait before the next connection.

Capped and jittered, and quick where quickness counts: a busy session's replay buffer is full within seconds, so the
first reconnect after a connection that lived comes at once (op 7) or within half a second, and while a session is held
the cap is low. A connection that lived clears the past, so that a mass outage heals as fast as Discord does.
"""

from __future__ import annotations

from typing import Final

from shard_runtime.ports import Chance
from shard_runtime.protocol.transitions import Pause

STEADY_SECONDS: Final = 30.0
"""A connection that was live, or waiting for a permit, for this long was a good one."""

CAP_SECONDS: Final = 60.0
CAP_WITH_SESSION_SECONDS: Final = 10.0
SPREAD_SECONDS: Final = 0.5
"""Shards that start or drop together do not come back in one instant."""


class Backoff:
    """Counts the connections in a row that came to nothing."""

    __slots__ = ("_chance", "failures")

    def __init__(self, chance: Chance) -> None:
        self._chance = chance
        self.failures = 0

    def failed(self) -> None:
        self.failures += 1

    def cleared(self) -> None:
        self.failures = 0

    def ended(self, *, steady_seconds: float | None) -> None:
        """A connection ended that had been good for *steady_seconds*; None if it never got that far."""
        if steady_seconds is not None and steady_seconds >= STEADY_SECONDS:
            self.failures = 0
        else:
            self.failures += 1

    def first(self) -> float:
        """Seconds before the very first connection."""
        return self._chance.uniform(0, SPREAD_SECONDS)

    def pause(self, kind: Pause, *, holds_session: bool) -> float:
        """Seconds until the next connection."""
        delay = self._delay(CAP_WITH_SESSION_SECONDS if holds_session else CAP_SECONDS)
        if kind is Pause.INVALID_SESSION:
            return max(delay, self._chance.uniform(1, 5))
        if self.failures == 0:
            return 0.0 if kind is Pause.NONE else self._chance.uniform(0, SPREAD_SECONDS)
        return delay

    def _delay(self, cap: float) -> float:
        longest = min(cap, SPREAD_SECONDS * 2.0 ** min(self.failures, 16))
        return self._chance.uniform(longest / 2, longest)
