"""When to stop reading from Discord for a while, so that it keeps the events and not we.

Two things ask for it: a queue that is full, where the user chose ``Pause``, and a memory that fills faster than the
disk takes it. What is not read stays in the sockets' buffers and on Discord's side, and heartbeats go on. Discord does
not say how long it puts up with that, so a pause has an end: before the events that a session has not read would no
longer fit its replay buffer, and at the latest after :data:`LONGEST_PAUSE`. Then reading goes on. If the queue is full,
its oldest events are dropped and counted until there is room again; if it is the memory, the next pause may begin after
as long a time of reading.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Final

LONGEST_PAUSE: Final = 30.0
SHORTEST_PAUSE: Final = 1.0
"""Seconds; a session with a small replay buffer is not worth less."""

SILENCE_SECONDS: Final = 10.0
"""Between two log lines of the same level."""

MUCH_MEMORY: Final = 48 << 20
ENOUGH_MEMORY: Final = 16 << 20
"""Bytes of events that are only in memory: reading pauses above the first, and goes on below the second."""


class Pressure:
    def __init__(
        self, *, pause: Callable[[bool], None], replay_seconds: Callable[[], float], log: Callable[..., None]
    ) -> None:
        """*pause* stops reading or lets it go on, and may be repeated; *replay_seconds* says how long Discord's replay
        buffers would last now."""
        self._pause = pause
        self._replay_seconds = replay_seconds
        self._log = log
        self._since: float | None = None
        self._until = 0.0
        self._not_before = float("-inf")
        self._told: dict[int, float] = {}
        self.gave_way = False
        """The pause came to its end without room: what is full now is dropped, until it is not full any more."""
        self.pauses = 0

    @property
    def paused(self) -> bool:
        return self._since is not None

    def look(self, now: float, *, reason: str | None, full: bool) -> None:
        """Pause while there is a *reason*, or not; *full*: the reason is a full queue."""
        if reason is None:
            self.gave_way = False
            if self._since is not None:
                self._resume()
                self._tell(logging.INFO, "Reading from Discord goes on.", now)
        elif self._since is None:
            if not self.gave_way and now >= self._not_before:
                self._since = now
                self._until = now + min(LONGEST_PAUSE, max(SHORTEST_PAUSE, self._replay_seconds() / 2))
                self.pauses += 1
                self._tell(logging.WARNING, f"Reading from Discord pauses: {reason}.", now)
                self._pause(True)
        elif now >= self._until:
            self.gave_way = full
            self._not_before = now + (now - self._since)
            follows = " Events are dropped and counted now." if full else ""
            self._tell(
                logging.ERROR,
                f"Reading from Discord goes on after a pause of {now - self._since:.1f} s, since the sessions would "
                f"not survive a longer one: {reason}.{follows}",
                now,
            )
            self._resume()
        else:
            self._pause(True)  # also what connected meanwhile

    def _tell(self, level: int, sentence: str, now: float) -> None:
        """Log, but not pause after pause."""
        if level not in self._told or now - self._told[level] >= SILENCE_SECONDS:
            self._told[level] = now
            self._log(level, sentence)

    def _resume(self) -> None:
        self._since = None
        self._pause(False)
