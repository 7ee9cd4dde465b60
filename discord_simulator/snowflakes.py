"""Discord's ids: 42 bits of milliseconds since 2015, then 22 bits that keep ids of one millisecond apart."""

from __future__ import annotations

from random import Random
from typing import Final

DISCORD_EPOCH_MILLISECONDS: Final = 1_420_070_400_000

_FIRST_GUILD_AGE: Final = 30_000_000_000
_LAST_GUILD_AGE: Final = 300_000_000_000


class SnowflakeSource:
    """Ids that only grow, each made once."""

    def __init__(self) -> None:
        self._last = 0

    def next(self, now: float) -> int:
        """An id made at *now* (unix seconds)."""
        milliseconds = max(0, int(now * 1000) - DISCORD_EPOCH_MILLISECONDS)
        self._last = max(self._last + 1, milliseconds << 22)
        return self._last


def guild_id(random: Random) -> int:
    """An id of a guild made at any moment of Discord's first years, so that ``id >> 22`` spreads over shards."""
    return random.randrange(_FIRST_GUILD_AGE, _LAST_GUILD_AGE) << 22 | random.randrange(1 << 12)
