"""What the sessions of a sealed worker go on receiving: kept until its generation is retired, and delivered by nobody.

The new side has all of it from its own sessions, unless one of them is lost after the seal: Discord gives what comes
until the next READY to the old sessions alone. So the new side can ask for it (:mod:`.missed`).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from typing import Final

from shard_runtime.contract import ReceivedEvent, ReceivedRequest, shard_of_guild
from shard_runtime.handover.keys import REPLIES, SESSION_OWN

RECEIVED_BYTES: Final = 32 << 20
"""Most that one worker keeps; the oldest goes first. A retired generation keeps nothing, so this is enough for a
handover of half a minute at a thousand events a second."""

OVERHEAD: Final = 240
"""Bytes that an event takes besides its payload's own."""

PAGE_BYTES: Final = 2 << 20
"""Payloads in one answer."""


class Received:
    """The events of one worker, oldest first."""

    def __init__(self, *, complete: bool, max_bytes: int = RECEIVED_BYTES) -> None:
        """*complete*: nothing has come since the seal yet."""
        self.complete = complete
        """Everything that came since the seal is here."""
        self._max_bytes = max_bytes
        self._bytes = 0
        self._events: deque[tuple[int, ReceivedEvent]] = deque()

    def __len__(self) -> int:
        return len(self._events)

    def add(self, guild: int, event: ReceivedEvent) -> None:
        """Keep *event*; Discord routes it by *guild*."""
        if event.name in SESSION_OWN or event.name in REPLIES:
            return
        self._events.append((guild, event))
        self._bytes += len(event.payload) + OVERHEAD
        while self._bytes > self._max_bytes:
            _, oldest = self._events.popleft()
            self._bytes -= len(oldest.payload) + OVERHEAD
            self.complete = False

    def page(self, request: ReceivedRequest) -> tuple[list[ReceivedEvent], bool]:
        """The next of the asker's events, and whether there are more."""
        found: list[ReceivedEvent] = []
        size = 0
        for event in self._asked_for(request):
            if size > PAGE_BYTES:
                return found, True
            found.append(event)
            size += len(event.payload)
        return found, False

    def _asked_for(self, request: ReceivedRequest) -> Iterable[ReceivedEvent]:
        shards = frozenset(request.shards)
        for guild, event in self._events:
            if event.sequence > request.after.get(event.session, 0) and shard_of_guild(guild, request.count) in shards:
                yield event
