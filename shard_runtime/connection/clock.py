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

    def __init__(self, *, offset: float | None = None) -> None:
        """*offset*: seconds that the wall clock is ahead of the monotonic one; None: as the machine has it now."""
        self._anchor = system_offset() if offset is None else offset

    def monotonic(self) -> float:
        return time.monotonic()

    def unix_milliseconds(self) -> int:
        return int((self._anchor + time.monotonic()) * 1000)

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


def system_offset() -> float:
    """Seconds that the machine's wall clock is ahead of its monotonic one now."""
    return time.time() - time.monotonic()


def system_chance() -> Chance:
    """Jitter, seeded by the operating system; nothing secret is drawn from it."""
    return random.Random()
