"""What the old side remembers of the streams it accepts: keys and arrival times, in a sliding window per stream.

Recorded only while a target exists. The window slides with its own events, not with a clock: once sealed, nothing is
recorded any more and so nothing is forgotten, however long the new side takes to ask. A second window, of what arrives
in the moment after the seal and is not accepted, is evidence of where the stream went on.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from typing import Final, NamedTuple

from shard_runtime.contract import GuildWindow, HandoverRequest, LatestEvent, WindowEvent, shard_of_guild
from shard_runtime.handover.keys import REPLIES, SESSION_OWN, Place, event_key, latest_subject

WINDOW_EVENTS: Final = 400_000
"""Most events that one worker's window holds."""

WINDOW_BYTES: Final = 64 << 20

EVENT_BYTES: Final = 160
"""What one of them takes (struct, two numbers, queue slots), so a bound in bytes is one on their number too."""

AFTER_MILLISECONDS: Final = 300
"""How long after the seal the streams are followed on."""

NOT_RECORDED: Final = SESSION_OWN | REPLIES
"""The other generation's sessions never get a copy."""


class _Stream:
    """The events of one stream that have a place in it."""

    __slots__ = ("events", "place")

    def __init__(self, place: Place) -> None:
        self.place = place
        self.events: deque[WindowEvent] = deque()

    @property
    def oldest(self) -> int:
        return self.events[0].arrival


class _Stated(NamedTuple):
    """An event of which only the latest of its subject counts."""

    place: Place
    subject: int
    oldest: int
    """Its arrival."""


class Window:
    """The recent past of one worker's accepted events. Times are unix milliseconds of the recording pod."""

    def __init__(
        self,
        *,
        since: int,
        overlap_seconds: float,
        own_user: int | None = None,
        max_events: int = WINDOW_EVENTS,
        max_bytes: int = WINDOW_BYTES,
    ) -> None:
        """Begin to record at *since*. *own_user* is the bot's user id, if known."""
        self._span = int(overlap_seconds * 1000)
        self._most = max(1, min(max_events, max_bytes // EVENT_BYTES))
        self._own_user = own_user
        self._streams: dict[Place, _Stream] = {}
        self._latest: dict[tuple[Place, int], LatestEvent] = {}
        self._order: deque[_Stream | _Stated] = deque()
        """Where each recorded event went, oldest first: what is in a stream is in this order, too."""
        self._since = since
        self._complete_until: int | None = None

    def complete_until(self, moment: int) -> None:
        """All that Discord had sent by *moment* has arrived. What is missing since then may come to the other side
        only, which will have to find its place: so the past is kept from the span before that moment on."""
        self._complete_until = moment

    @property
    def recorded_since(self) -> int:
        """Every event accepted after this moment is in the window."""
        return self._since

    def __len__(self) -> int:
        return len(self._order)

    def record(self, place: Place, name: str, payload: bytes, arrival: int) -> None:
        """Remember an accepted event of the stream *place* that arrived at *arrival*."""
        if name in NOT_RECORDED:
            return
        hash_, unique = event_key(name, payload)
        subject = latest_subject(name, payload, own_user=self._own_user)
        if subject is not None:
            self._latest[place, subject] = LatestEvent(subject=subject, key=hash_, arrival=arrival)
            self._order.append(_Stated(place, subject, arrival))
        else:
            stream = self._streams.get(place)
            if stream is None:
                stream = self._streams[place] = _Stream(place)
            stream.events.append(WindowEvent(key=hash_, arrival=arrival, unique=unique))
            self._order.append(stream)
        horizon = (arrival if self._complete_until is None else min(arrival, self._complete_until)) - self._span
        while len(self._order) > self._most or self._order[0].oldest < horizon:
            self._forget_oldest()

    def _forget_oldest(self) -> None:
        first = self._order.popleft()
        self._since = max(self._since, first.oldest)
        if isinstance(first, _Stated):
            if self._latest.get((first.place, first.subject), _NEVER).arrival == first.oldest:
                del self._latest[first.place, first.subject]
            return
        first.events.popleft()
        if not first.events:
            del self._streams[first.place]

    def export(self, request: HandoverRequest) -> list[GuildWindow]:
        """The windows of the asker's guilds; streams without a recorded event are left out."""
        shards = frozenset(request.shards)
        latest: dict[Place, list[LatestEvent]] = {}
        for (place, _), event in self._latest.items():
            latest.setdefault(place, []).append(event)
        return [
            GuildWindow(
                guild=place.guild,
                channel=place.channel,
                events=list(self._streams[place].events) if place in self._streams else [],
                latest=latest.get(place, []),
            )
            for place in dict.fromkeys((*self._streams, *latest))
            if shard_of_guild(place.guild, request.count) in shards
        ]


_NEVER: Final = LatestEvent(subject=0, key=0, arrival=-1)


def asked_for(guilds: Iterable[int], request: HandoverRequest) -> list[int]:
    """Those of *guilds* that are the asker's (for ``unacknowledged``)."""
    shards = frozenset(request.shards)
    return [guild for guild in guilds if shard_of_guild(guild, request.count) in shards]
