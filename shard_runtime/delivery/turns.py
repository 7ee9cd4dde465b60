"""Reading and delivering take turns while both have more to do than the process can.

A socket that is full is read until it is empty, so in a burst a worker would read first and deliver later: what waits
meanwhile grows past what Discord would send again, goes to disk and leaves the processor's caches. So once more waits
than the lanes can take, reading rests for a moment, until the lanes have caught up or the moment is over. Then reading
has its turn, so that a receiver that is slow or away does not slow it down: what waits then goes its usual way.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

REST_SECONDS: Final = 0.005
READ_SECONDS: Final = 0.002
"""Between two rests, at least."""

SMALLEST_DEPTH: Final = 1024
"""Events that may wait in any case."""


class Turns:
    def __init__(
        self, *, pause: Callable[[bool], None], held: Callable[[], bool], monotonic: Callable[[], float]
    ) -> None:
        """*pause* stops reading or lets it go on; *held* says whether somebody else has paused it."""
        self._pause = pause
        self._held = held
        self._monotonic = monotonic
        self._resting: asyncio.Handle | None = None
        self._rested_at = float("-inf")

    def rest(self) -> None:
        """Too many events wait: read no more for a moment, unless reading has only just had its turn."""
        if self._resting is None and not self._held() and self._monotonic() - self._rested_at >= READ_SECONDS:
            self._resting = asyncio.get_running_loop().call_later(REST_SECONDS, self._end)
            self._pause(True)

    @property
    def resting(self) -> bool:
        return self._resting is not None

    def _end(self) -> None:
        # A process that did not get to run meanwhile finds its timer due before it has looked at any socket.
        loop = asyncio.get_running_loop()
        self._resting = loop.call_soon(lambda: loop.call_soon(self.read))

    def read(self) -> None:
        """The rest is over."""
        if self._resting is not None:
            self._resting.cancel()
            self._resting = None
            self._rested_at = self._monotonic()
            if not self._held():
                self._pause(False)
