"""When to beat, whether Discord answers, and how long ago it was last heard.

The first beat is jittered, so that shards that connect together do not beat together. A connection is dead when a beat
is due and no frame of any kind came since the last one: an acknowledgement can be stuck behind a burst of guilds, so
any frame counts. https://discord.com/developers/docs/events/gateway#sending-heartbeats
"""

from __future__ import annotations

import math

from shard_runtime.ports import Chance


class Heartbeat:
    """The heartbeat of one connection after another. Times are seconds on one monotonic clock."""

    __slots__ = ("_chance", "_interval", "_last_frame_at", "_sent_at", "due_at", "heard", "latency")

    def __init__(self, chance: Chance) -> None:
        self._chance = chance
        self._interval = math.inf
        self._sent_at: float | None = None
        self._last_frame_at: float | None = None
        self.due_at = math.inf
        self.heard = False
        """Set by the driver with each frame; turned into a time when somebody looks, which spares a clock per event."""
        self.latency: float | None = None
        """Seconds from the last acknowledged beat to its acknowledgement."""

    def connected(self, now: float) -> None:
        self._last_frame_at = now
        self.heard = False

    def greeted(self, interval: float, now: float) -> None:
        self._interval = interval
        self.due_at = now + interval * self._chance.random()

    def disconnected(self) -> None:
        self.due_at = self._interval = math.inf
        self._sent_at = None

    def sent(self, now: float) -> None:
        self._listen(now)
        self._sent_at = now
        self.due_at = now + self._interval

    def acknowledged(self, now: float) -> None:
        if self._sent_at is not None:
            self.latency = now - self._sent_at

    def unanswered(self, now: float) -> bool:
        """Whether nothing came since the last beat."""
        self._listen(now)
        sent, heard = self._sent_at, self._last_frame_at
        return sent is not None and heard is not None and heard <= sent

    def silent_seconds(self, now: float) -> float | None:
        """Age of the last frame, as far as looks at it tell; None before the first connection."""
        self._listen(now)
        return None if self._last_frame_at is None else now - self._last_frame_at

    def _listen(self, now: float) -> None:
        if self.heard:
            self.heard = False
            self._last_frame_at = now
