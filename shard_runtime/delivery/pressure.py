"""When to stop reading from Discord for a while, so that it keeps the events and not we.

Two things ask for it: a queue that is full, where the user chose ``Pause``, and a memory that fills faster than the
disk takes it. What is not read stays in the sockets' buffers and on Discord's side, and heartbeats go on. Discord does
not say how long it puts up with that, so a pause has an end: before the events that a session has not read would no
longer fit its replay buffer, and at the latest after :data:`LONGEST_PAUSE`. Then reading goes on and the queue's oldest
events are dropped and counted, until there is room again.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Final

LONGEST_PAUSE: Final = 30.0
SHORTEST_PAUSE: Final = 1.0
"""Seconds; a session with a small replay buffer is not worth less."""

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
        self.gave_way = False
        """The pause came to its end without room: what is full now is dropped, until it is not full any more."""
        self.pauses = 0

    @property
    def paused(self) -> bool:
        return self._since is not None

    def look(self, now: float, *, reason: str | None) -> None:
        """Pause while there is a *reason*, or not."""
        if reason is None:
            self.gave_way = False
            if self._since is not None:
                self._resume()
                self._log(logging.INFO, "Reading from Discord goes on.")
        elif self._since is None:
            if not self.gave_way:
                self._since = now
                self._until = now + min(LONGEST_PAUSE, max(SHORTEST_PAUSE, self._replay_seconds() / 2))
                self.pauses += 1
                self._log(logging.WARNING, f"Reading from Discord pauses: {reason}.")
                self._pause(True)
        elif now >= self._until:
            self.gave_way = True
            self._log(
                logging.ERROR,
                f"Reading from Discord goes on after a pause of {now - self._since:.1f} s, since the sessions would "
                f"not survive a longer one: {reason}. Events are dropped and counted now.",
            )
            self._resume()
        else:
            self._pause(True)  # also what connected meanwhile

    def _resume(self) -> None:
        self._since = None
        self._pause(False)
