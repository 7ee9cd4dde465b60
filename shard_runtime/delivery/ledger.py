"""What is owed to the receiver: how much is queued, of which session and guild, and how each event ended.

Every event that enters the queue leaves it through :meth:`Ledger.settle`, once, and only that moves watermarks and
counts; so "acknowledged or counted" can be read off one place.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable
from typing import Final

from shard_runtime.delivery.events import EVENT_OVERHEAD, Event, Session
from shard_runtime.handover.keys import stream_of

DROPPED_NAMES_KEPT: Final = 1000
"""Different (name, reason) pairs that drops are counted by; Discord has about 80 names. The rest is counted as one."""


class Ledger:
    def __init__(self) -> None:
        self.sessions: dict[str, Session] = {}
        self.queued = 0
        """Events that are queued or in flight."""
        self.bytes = 0
        """Memory that they take, payloads and overhead."""
        self.accepted = 0
        self.acknowledged = 0
        self.excluded = 0
        self.dead_lettered = 0
        self.marked = 0
        self.dropped: Counter[tuple[str, str]] = Counter()
        """By event name and reason."""
        self.guilds: Counter[int] | None = None
        """Queued and in flight by guild, 0 for none; None while nobody needs it."""

    def enqueue(self, event: Event) -> None:
        """Take *event* into the count of what is owed."""
        session = event.session
        session.queued += 1
        self.queued += 1
        self.accepted += 1
        self.bytes += len(event.payload) + EVENT_OVERHEAD
        if event.maybe_duplicate:
            self.marked += 1
        if self.guilds is not None:
            if not event.guild:
                event.guild = stream_of(event.name, event.payload)
            self.guilds[event.guild] += 1

    def settle(self, events: Iterable[Event]) -> None:
        """*events* are acknowledged, dropped or dead-lettered: their sequences are finished."""
        count = size = 0
        guilds = self.guilds
        for event in events:
            session = event.session
            session.queued -= 1
            session.watermark.finish(event.sequence)
            count += 1
            size += len(event.payload)
            if guilds is not None:
                left = guilds[event.guild] - 1
                if left > 0:
                    guilds[event.guild] = left
                else:
                    del guilds[event.guild]
            if session.forgotten and not session.queued:
                self._forget(session)
        self.queued -= count
        self.bytes -= size + count * EVENT_OVERHEAD

    def finish(self, session: Session, sequence: int) -> None:
        """*sequence* never entered the queue and needs nothing more."""
        session.watermark.finish(sequence)
        if session.forgotten and not session.queued:
            self._forget(session)

    def drop(self, event: Event, reason: str) -> None:
        """Settle *event* without delivery, counted by name and *reason*."""
        self.count_drop(event.name, reason)
        self.settle((event,))

    def count_drop(self, name: str, reason: str) -> None:
        pair = (name, reason)
        if pair not in self.dropped and len(self.dropped) >= DROPPED_NAMES_KEPT:
            pair = ("other", reason)
        self.dropped[pair] += 1

    def session_for(self, session_id: str, sequence: int) -> Session:
        """The session, or a new one without a watermark of use: nobody said that it started."""
        session = self.sessions.get(session_id)
        if session is None:
            session = self.sessions[session_id] = Session(session_id, sequence - 1, forgotten=True)
        return session

    def begin(self, session_id: str, watermark: int) -> None:
        """Track *session_id*, of which everything up to *watermark* is finished."""
        session = self.sessions.get(session_id)
        if session is None:
            self.sessions[session_id] = Session(session_id, watermark)
        else:
            session.forgotten = False
            session.watermark.finish_through(watermark)

    def forget(self, session_id: str) -> None:
        """The session is over; what is queued of it is still owed."""
        session = self.sessions.get(session_id)
        if session is not None:
            session.forgotten = True
            if not session.queued:
                self._forget(session)

    def _forget(self, session: Session) -> None:
        if self.sessions.get(session.id) is session:
            del self.sessions[session.id]

    def track_guilds(self, queued: Iterable[Event] | None) -> None:
        """Count by guild from now on, beginning with what is *queued* or in flight; None ends it."""
        if queued is None:
            self.guilds = None
            return
        self.guilds = Counter()
        for event in queued:
            if not event.guild:
                event.guild = stream_of(event.name, event.payload)
            self.guilds[event.guild] += 1

    def unacknowledged_guilds(self) -> Collection[int]:
        return () if self.guilds is None else self.guilds.keys()

    def queued_of(self, shard: int) -> int:
        return sum(session.queued for session in self.sessions.values() if session.shard == shard)
