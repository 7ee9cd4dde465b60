"""A moment's rest between two looks at the sockets, while frames come one by one and quickly.

To be woken for a single frame costs five times what is done with it: the loop asks the kernel twice, and finds every
cache cold. So where many come, the worker looks only once in :data:`REST_SECONDS`, as network cards do, and finds
several. It rests, with the whole loop, when at the rate of the last turns at least :data:`WORTH_RESTING_FOR` more
frames come meanwhile, and not when a turn has brought as many as in a burst.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable
from typing import Final

REST_SECONDS: Final = 0.0015
WORTH_RESTING_FOR: Final = 3.0
MANY: Final = 32
"""Frames of a turn: then the work itself takes long enough for others to come."""

TURNS_LOOKED_AT: Final = 16


class Breath:
    """One for all connections of an event loop."""

    def __init__(
        self, *, sleep: Callable[[float], None] = time.sleep, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self._sleep = sleep
        self._monotonic = monotonic
        self._turn = 0
        """Frames of this turn of the loop."""
        self._total = 0
        self._before: deque[tuple[float, int]] = deque(maxlen=TURNS_LOOKED_AT)
        """Of the last turns, when they were over and how many frames had come by then."""

    def came(self, frames: int) -> None:
        """A connection has read *frames*, at least one."""
        if not self._turn:
            asyncio.get_running_loop().call_soon(self._handed_on)
        self._turn += frames

    def _handed_on(self) -> None:
        asyncio.get_running_loop().call_soon(self._is_over)  # after what the frames have set going

    def _is_over(self) -> None:
        frames, self._turn = self._turn, 0
        self._total += frames
        before, now = self._before, self._monotonic()
        rests = False
        if frames < MANY and len(before) == TURNS_LOOKED_AT:
            since, until_then = before[0]
            rests = (self._total - until_then) * REST_SECONDS >= WORTH_RESTING_FOR * (now - since)
        before.append((now, self._total))
        if rests:
            self._sleep(REST_SECONDS)
