"""Clocks on the virtual loop's time."""

from __future__ import annotations

import asyncio
from typing import Final

VIRTUAL_EPOCH_MILLISECONDS: Final = 1_700_000_000_000
"""The wall clock's time when a virtual world begins."""


class VirtualClock:
    """:class:`~shard_runtime.ports.Clock` of one machine of a virtual world.

    *skew_seconds* puts this machine's wall clock off the others'; *rate* makes both its clocks run fast or slow. Timers
    are the loop's, as asyncio's own are, and so they obey neither.
    """

    def __init__(
        self, *, skew_seconds: float = 0.0, rate: float = 1.0, loop: asyncio.AbstractEventLoop | None = None
    ) -> None:
        self._loop = loop or asyncio.get_running_loop()
        self._skew = skew_seconds
        self._rate = rate

    def monotonic(self) -> float:
        return self._loop.time() * self._rate

    def unix_milliseconds(self) -> int:
        return VIRTUAL_EPOCH_MILLISECONDS + int((self._loop.time() * self._rate + self._skew) * 1000)

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)
