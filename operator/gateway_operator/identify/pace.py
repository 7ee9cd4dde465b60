"""How many sessions may be started *again* in an hour, so that no loop uses up the day.

A shard that is started for the first time in a day is always served: after an outage all of them are. One that is
started again may be part of a loop (a proxy that drops sessions, a pod that dies over and over), and what all such
starts of an hour add up to, hour after hour, is what would overrun the day. So they get what the rest of the day can
bear evenly, or a fifth of what is left, whichever is more; past that they wait until an hour has gone by.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import Final

from gateway_operator.identify.asks import ShardKey

HOUR_SECONDS: Final = 3600.0
DAY_SECONDS: Final = 24 * HOUR_SECONDS
SPREAD_HOURS: Final = 5.0
"""At most what is left, divided by this, goes to repeated starts in one hour."""


@dataclass(slots=True)
class Starts:
    """Starts of the shards of one application, as far back as they matter."""

    last: dict[ShardKey, float] = field(default_factory=dict)
    repeats: deque[float] = field(default_factory=deque)

    def note(self, now: float, key: ShardKey) -> float | None:
        """*key* is started; returns when it was before, None where that was not in the last day."""
        before = self.last.get(key)
        self.last[key] = now
        if before is None or before <= now - DAY_SECONDS:
            return None
        self.repeats.append(now)
        return before

    def take_back(self, at: float, key: ShardKey, before: float | None) -> None:
        """The start noted at *at* did not happen."""
        if self.last.get(key) == at:
            if before is None:
                del self.last[key]
            else:
                self.last[key] = before
        if before is not None and at in self.repeats:
            self.repeats.remove(at)

    def repeated(self, now: float, key: ShardKey) -> bool:
        """Whether a start of *key* would be a repeated one."""
        return self.last.get(key, now - DAY_SECONDS) > now - DAY_SECONDS

    def too_many(self, now: float, *, left: int, reset_at: float) -> bool:
        """Whether, at the pace of the last hour, repeats would use up the *left* session starts before *reset_at*."""
        while self.repeats and self.repeats[0] <= now - HOUR_SECONDS:
            self.repeats.popleft()
        return len(self.repeats) >= bearable(left, hours=(reset_at - now) / HOUR_SECONDS)

    def forget(self, now: float) -> None:
        """Drop what is too old to matter."""
        self.last = {key: at for key, at in self.last.items() if at > now - DAY_SECONDS}


def bearable(left: int, *, hours: float) -> float:
    """Repeated starts in one hour that *left* session starts bear for the next *hours*."""
    return left / min(SPREAD_HOURS, max(1.0, hours))
