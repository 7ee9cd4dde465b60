"""Which guild events of a new session tell the bot nothing new.

After READY, Discord sends the state of every guild that READY listed: a GUILD_CREATE with an ``unavailable`` key, or a
GUILD_DELETE with ``unavailable: true`` for a guild in outage. From a session that takes over from another one these
would look like joins and outages that never happened, so the *first* state of a listed guild is not forwarded.
Forwarded are genuine joins and leaves (the key is absent), and everything about a guild after its first state: so also
the recovery of a guild that was in outage at the start. (docs/protocol.md, guild availability.)
"""

from __future__ import annotations

from shard_runtime.protocol.envelope import UnreadableError
from shard_runtime.protocol.guilds import GUILD_FLOW
from shard_runtime.protocol.payloads import read_guild_news, read_ready


class StartupSnapshots:
    """Follows the guilds of one session from its READY on, also after it has been handed its streams."""

    def __init__(self, ready: bytes) -> None:
        """*ready*: the READY payload. One that cannot be read lists no guilds, and then nothing is a snapshot."""
        try:
            self._unseen = set(read_ready(ready).guilds)
        except UnreadableError:
            self._unseen = set()

    @property
    def unseen(self) -> frozenset[int]:
        """Guilds of READY whose first state has not come yet."""
        return frozenset(self._unseen)

    def is_startup_snapshot(self, name: str, payload: bytes) -> bool:
        """Whether this dispatch is the first state of a guild that READY listed.

        To be asked once for each dispatch, in order; costs nothing for other names or once all guilds were seen.
        """
        if not self._unseen or name not in GUILD_FLOW:
            return False
        try:
            news = read_guild_news(payload)
        except UnreadableError:
            return False
        if news.guild not in self._unseen:
            return False
        self._unseen.discard(news.guild)
        return news.unavailable is not None if name == "GUILD_CREATE" else news.unavailable is True
