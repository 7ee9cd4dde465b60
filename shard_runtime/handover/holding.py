"""What a target holds back until it knows what the old side accepted, by the old pod that has to say so.

An old pod is sealed as a whole, so everything about its guilds waits together, in order of arrival. What may be
trimmed, and when, is decided in ``cutover``.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Final

import msgspec

HOLD_EVENTS: Final = 400_000
"""Most events that one worker holds."""

HOLD_BYTES: Final = 256 << 20

HELD_OVERHEAD: Final = 240
"""Bytes that a held event takes besides its payload's own."""


class Held(msgspec.Struct, frozen=True, gc=False):
    """An event of a target's session."""

    shard: int
    session: str
    sequence: int
    name: str
    payload: bytes
    guild: int
    arrival: int
    """Unix milliseconds on this pod's clock."""
    replayed: bool = False
    """Came between RESUME and RESUMED: older than its arrival says."""

    @property
    def size(self) -> int:
        return len(self.payload) + HELD_OVERHEAD


class Hold:
    """The events that wait for one old pod, oldest first."""

    def __init__(self) -> None:
        self.events: deque[Held] = deque()
        self.bytes = 0

    def __len__(self) -> int:
        return len(self.events)

    def append(self, event: Held) -> None:
        self.events.append(event)
        self.bytes += event.size

    def pop_oldest(self) -> Held:
        event = self.events.popleft()
        self.bytes -= event.size
        return event

    def trim(self, before: int) -> list[Held]:
        """Take out what arrived earlier than *before*."""
        trimmed: list[Held] = []
        while self.events and self.events[0].arrival < before:
            trimmed.append(self.pop_oldest())
        return trimmed

    def take(self, wanted: Callable[[int], bool]) -> list[Held]:
        """Take out the events of all guilds that are *wanted*, in order."""
        taken: list[Held] = []
        left: deque[Held] = deque()
        for event in self.events:
            if wanted(event.guild):
                taken.append(event)
                self.bytes -= event.size
            else:
                left.append(event)
        self.events = left
        return taken
