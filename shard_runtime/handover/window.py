"""What the old side remembers of the streams it accepts: keys and arrival times, in a sliding window per guild.

Recorded only while a target exists. The window slides with its own events, not with a clock: once sealed, nothing is
recorded any more and so nothing is forgotten, however long the new side takes to ask.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from typing import Final

from shard_runtime.contract import GuildWindow, HandoverRequest, WindowEvent, shard_of_guild
from shard_runtime.handover.keys import event_key

WINDOW_EVENTS: Final = 400_000
"""Most events that one worker's window holds."""

WINDOW_BYTES: Final = 64 << 20

EVENT_BYTES: Final = 160
"""What one of them takes (struct, two numbers, queue slots), so a bound in bytes is one on their number too."""

NOT_RECORDED: Final = frozenset(
    {"READY", "RESUMED", "GUILD_MEMBERS_CHUNK", "SOUNDBOARD_SOUNDS", "CHANNEL_INFO", "RATE_LIMITED"}
)
"""A session's own events and answers to its own requests: the other generation's sessions never get a copy."""


class Window:
    """The recent past of one worker's accepted events. Times are unix milliseconds of the recording pod."""

    def __init__(
        self, *, since: int, overlap_seconds: float, max_events: int = WINDOW_EVENTS, max_bytes: int = WINDOW_BYTES
    ) -> None:
        """Begin to record at *since*."""
        self._span = int(overlap_seconds * 1000)
        self._most = max(1, min(max_events, max_bytes // EVENT_BYTES))
        self._guilds: dict[int, deque[WindowEvent]] = {}
        self._order: deque[int] = deque()
        """The guild of each recorded event, oldest first."""
        self._since = since

    @property
    def recorded_since(self) -> int:
        """Every event accepted after this moment is in the window."""
        return self._since

    def __len__(self) -> int:
        return len(self._order)

    def record(self, guild: int, name: str, payload: bytes, arrival: int) -> None:
        """Remember an accepted event of *guild* (0: none) that arrived at *arrival*."""
        if name in NOT_RECORDED:
            return
        hash_, unique = event_key(name, payload)
        events = self._guilds.get(guild)
        if events is None:
            events = self._guilds[guild] = deque()
        events.append(WindowEvent(key=hash_, arrival=arrival, unique=unique))
        self._order.append(guild)
        horizon = arrival - self._span
        while len(self._order) > self._most or self._guilds[self._order[0]][0].arrival < horizon:
            self._forget_oldest()

    def _forget_oldest(self) -> None:
        guild = self._order.popleft()
        events = self._guilds[guild]
        self._since = max(self._since, events.popleft().arrival)
        if not events:
            del self._guilds[guild]

    def export(self, request: HandoverRequest) -> list[GuildWindow]:
        """The windows of the asker's guilds; guilds without a recorded event are left out."""
        shards = frozenset(request.shards)
        return [
            GuildWindow(guild=guild, events=list(events))
            for guild, events in self._guilds.items()
            if shard_of_guild(guild, request.count) in shards
        ]


def asked_for(guilds: Iterable[int], request: HandoverRequest) -> list[int]:
    """Those of *guilds* that are the asker's (for ``unacknowledged``)."""
    shards = frozenset(request.shards)
    return [guild for guild in guilds if shard_of_guild(guild, request.count) in shards]
