"""What a target holds back until it knows what the old side accepted, by the old pod that has to say so.

An old pod is sealed as a whole, so everything about its guilds waits together, in order of arrival. What may be
trimmed, and when, is decided in ``cutover``.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Final

import msgspec

from shard_runtime.handover.keys import REPLIES, Place, event_key, latest_subject, place_of

HOLD_EVENTS: Final = 400_000
"""Most events that one worker holds."""

HOLD_BYTES: Final = 256 << 20

HELD_OVERHEAD: Final = 320
"""Bytes that a held event takes besides its payload's own."""


class Held(msgspec.Struct, frozen=True, gc=False):
    """An event of a target's session; made by :func:`held`."""

    shard: int
    session: str
    sequence: int
    name: str
    payload: bytes
    place: Place
    key: int
    unique: bool
    subject: int | None
    arrival: int
    """Unix milliseconds on this pod's clock."""
    replayed: bool = False
    """Came between RESUME and RESUMED: older than its arrival says."""
    not_before: int | None = None
    """When it could have arrived at the earliest, where that is before *arrival* (:class:`Course`)."""

    @property
    def guild(self) -> int:
        return self.place.guild

    @property
    def reply(self) -> bool:
        return self.name in REPLIES

    @property
    def size(self) -> int:
        return len(self.payload) + HELD_OVERHEAD


def held(
    *,
    shard: int,
    count: int,
    session: str,
    sequence: int,
    name: str,
    payload: bytes,
    arrival: int,
    replayed: bool = False,
    own_user: int | None = None,
) -> Held:
    """An event that came on *shard* of *count*. *own_user* is the bot's user id, if known."""
    key, unique = event_key(name, payload)
    return Held(
        shard=shard,
        session=session,
        sequence=sequence,
        name=name,
        payload=payload,
        place=place_of(name, payload, shard=shard, count=count),
        key=key,
        unique=unique,
        subject=latest_subject(name, payload, own_user=own_user),
        arrival=arrival,
        replayed=replayed,
    )


class Hold:
    """The events that wait for one old pod, oldest first."""

    def __init__(self) -> None:
        self.events: deque[Held] = deque()
        self.bytes = 0
        self.complete_since = 0
        """Everything that arrived later than this is still here, as far as it is not taken."""

    def __len__(self) -> int:
        return len(self.events)

    def append(self, event: Held) -> None:
        self.events.append(event)
        self.bytes += event.size

    def pop_oldest(self) -> Held:
        event = self.events.popleft()
        self.bytes -= event.size
        self.complete_since = max(self.complete_since, event.arrival)
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
