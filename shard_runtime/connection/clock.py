"""Real time and real chance."""

from __future__ import annotations

import asyncio
import random
import time

from shard_runtime.ports import Chance


class SystemClock:
    """:class:`~shard_runtime.ports.Clock` of the machine.

    The wall clock is read once, so that stepping it (NTP, a resumed virtual machine) reorders nothing that this process
    has stamped.
    """

    def __init__(self) -> None:
        self._anchor = time.time() - time.monotonic()

    def monotonic(self) -> float:
        return time.monotonic()

    def unix_milliseconds(self) -> int:
        return int((self._anchor + time.monotonic()) * 1000)

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


def system_chance() -> Chance:
    """Jitter, seeded by the operating system; nothing secret is drawn from it."""
    return random.Random()
