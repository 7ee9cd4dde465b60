"""A heap of things to do later, on a clock that the caller owns.

Nothing here waits: the owner asks when the next action is due and calls back then, so the same gateway runs on a
socket server's clock and on a virtual one.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable


class Schedule:
    """Actions ordered by due time; equal times run in the order in which they were added."""

    def __init__(self, *, now: Callable[[], float]) -> None:
        self._now = now
        self._added = 0
        self._heap: list[tuple[float, int, Callable[[], None]]] = []

    def at(self, due: float, action: Callable[[], None]) -> None:
        """Run *action* once the clock reaches *due* (seconds). An action that may be out of date checks that itself."""
        self._added += 1
        heapq.heappush(self._heap, (due, self._added, action))

    def after(self, seconds: float, action: Callable[[], None]) -> None:
        self.at(self._now() + seconds, action)

    def next_due(self) -> float | None:
        """When something is to be done next, None if nothing is."""
        return self._heap[0][0] if self._heap else None

    def run_due(self) -> None:
        """Run all that is due by now, and what that adds if it is due at the same instant."""
        now = self._now()
        while self._heap and self._heap[0][0] <= now:
            heapq.heappop(self._heap)[2]()
