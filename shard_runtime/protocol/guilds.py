"""Which of a session's guilds have been seen since READY, and how many there are.

READY lists the shard's guilds as unavailable; a GUILD_CREATE or, for a guild in outage, a GUILD_DELETE follows for
each, with no mark at the end. So a session counts as settled when all have been seen, or after 15 s (discord.js does
the same). Without the GUILDS intent none follow, and the session is settled at once.

Later on a missing ``unavailable`` key tells a join from a recovery and a leave from an outage (docs/protocol.md), which
is all that a live count needs; ids are kept only until they were seen.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections.abc import Iterable
from typing import Final

from shard_runtime.protocol.payloads import GuildNews

SETTLE_SECONDS: Final = 15.0
GUILDS_INTENT: Final = 1 << 0

LARGEST_SNOWFLAKE: Final = (1 << 64) - 1

GUILD_FLOW: Final = frozenset({"GUILD_CREATE", "GUILD_DELETE"})
"""The dispatches to pass to :class:`Guilds`."""


class Guilds:
    """The guilds of one session. Times are seconds on one monotonic clock."""

    def __init__(self, *, count: int, pending: Iterable[int], ready_at: float | None) -> None:
        self.count = count
        self._pending = Pending(pending)
        self._ready_at = ready_at

    @classmethod
    def after_ready(cls, guilds: frozenset[int], *, intents: int, now: float) -> Guilds:
        return cls(count=len(guilds), pending=guilds if intents & GUILDS_INTENT else (), ready_at=now)

    @classmethod
    def restored(cls, count: int) -> Guilds:
        """Guilds of a session that READY opened in an earlier life of the process; it counts as settled."""
        return cls(count=count, pending=(), ready_at=None)

    def created(self, news: GuildNews) -> None:
        if self._pending.seen(news.guild):
            return
        if news.unavailable is not False:  # absent: joined; true: joined during an outage
            self.count += 1

    def deleted(self, news: GuildNews) -> None:
        self._pending.seen(news.guild)
        if news.unavailable is not True and self.count > 0:
            self.count -= 1

    def settled(self, now: float) -> bool:
        if not self._pending.left or self._ready_at is None:
            return True
        if now - self._ready_at < SETTLE_SECONDS:
            return False
        self._pending = Pending(())
        return True


class Pending:
    """Ids that have not been seen: in 9 bytes each, where a set takes 70, since all shards start at once."""

    __slots__ = ("_ids", "_unseen", "left")

    def __init__(self, ids: Iterable[int]) -> None:
        self._ids = array("Q", sorted({number for number in ids if 0 <= number <= LARGEST_SNOWFLAKE}))
        self._unseen = bytearray(b"\x01") * len(self._ids)
        self.left = len(self._ids)

    def seen(self, number: int) -> bool:
        """*number* is seen; whether that was news."""
        at = bisect_left(self._ids, number)
        if at == len(self._ids) or self._ids[at] != number or not self._unseen[at]:
            return False
        self._unseen[at] = 0
        self.left -= 1
        if not self.left:
            self._ids, self._unseen = array("Q"), bytearray()
        return True
