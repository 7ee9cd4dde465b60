"""Whether an event that waits will soon have company, so that one request can carry them together.

A request costs as much CPU as twenty events do, so a lane with many events saves by waiting for more of them, and one
with few only loses time. How many come is what its last requests say: a lane waits, at most ``maxDelayMilliseconds``,
when at their rate at least :data:`WORTH_WAITING_FOR` more would come meanwhile. Otherwise it sends at once.
"""

from __future__ import annotations

from collections import deque
from typing import Final

WORTH_WAITING_FOR: Final = 1.0
"""Events."""

REQUESTS_LOOKED_AT: Final = 16
"""So many rarely come close together by chance."""


class Company:
    __slots__ = ("_sent", "_times", "_totals")

    def __init__(self) -> None:
        self._times: deque[float] = deque(maxlen=REQUESTS_LOOKED_AT)
        """When the last requests were made, on the monotonic clock."""
        self._totals: deque[int] = deque(maxlen=REQUESTS_LOOKED_AT)
        """How many events had been sent by then."""
        self._sent = 0

    def sent(self, events: int, now: float) -> None:
        """A request is made of so many events."""
        self._sent += events
        self._times.append(now)
        self._totals.append(self._sent)

    def is_expected(self, *, waiting: int, within: float, now: float) -> bool:
        """Whether to wait, with *waiting* events there already, for what comes *within* so many seconds."""
        times = self._times
        if len(times) < REQUESTS_LOOKED_AT:
            return False
        came = self._sent - self._totals[0] + waiting
        return came * within >= WORTH_WAITING_FOR * (now - times[0])
