"""How many sessions may be started *again* in an hour, so that no loop uses up the day.

A shard that is started for the first time in an hour is always served: after an outage all of them are. One that is
started again within the hour may be part of a loop (a proxy that drops sessions, a pod that dies over and over), and
what all such starts of an hour add up to, hour after hour, is what would overrun the day. So they get what the rest of
the day can bear evenly, or a fifth of what is left, whichever is more; past that they wait until an hour has gone by.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import Final

HOUR_SECONDS: Final = 3600.0
SPREAD_HOURS: Final = 5.0
"""At most what is left, divided by this, goes to repeated starts in one hour."""


@dataclass(slots=True)
class Repeats:
    """Starts of shards that had been started within the hour before; of one application."""

    times: deque[float] = field(default_factory=deque)

    def note(self, now: float) -> None:
        self.times.append(now)

    def take_back(self, at: float) -> None:
        """The start noted at *at* did not happen."""
        if at in self.times:
            self.times.remove(at)

    def too_many(self, now: float, *, left: int, reset_at: float) -> bool:
        """Whether, at the pace of the last hour, they would use up the *left* session starts before *reset_at*."""
        while self.times and self.times[0] <= now - HOUR_SECONDS:
            self.times.popleft()
        return len(self.times) >= bearable(left, hours=(reset_at - now) / HOUR_SECONDS)


def bearable(left: int, *, hours: float) -> float:
    """Repeated starts in one hour that *left* session starts bear for the next *hours*."""
    return left / min(SPREAD_HOURS, max(1.0, hours))
