"""The ground truth: what was sent to which session, and what happened to sessions.

It is kept in flat arrays, since a run has millions of (session, sequence, event) triples, and it is the only place
where an event's number is written down. It grows for as long as the simulator runs, 18 bytes per event and 8 more per
session that it was sent to; ``forget`` starts it anew.
"""

from __future__ import annotations

from array import array
from collections import deque
from collections.abc import Callable
from hashlib import blake2b
from typing import Final

import msgspec

from discord_simulator.digests import digest
from discord_simulator.events import Event, EventKind

_JOURNAL_ENTRIES: Final = 100_000


class Counters(msgspec.Struct, rename="camel", kw_only=True):
    """Totals since the start."""

    connections: int = 0
    connections_refused: int = 0
    identify_attempts: int = 0
    identifies_accepted: int = 0
    identifies_rejected: dict[str, int] = {}
    """By reason: ``bucket``, ``token``, ``shard``, ``shardingRequired``, ``intents``, ``disallowedIntents``,
    ``budget``, ``twice``, ``decode``."""
    resumes_accepted: int = 0
    resumes_refused: dict[str, int] = {}
    """By reason: ``token``, ``unknown``, ``sequence``, ``evicted``, ``fault``, ``twice``, ``decode``."""
    bucket_violations: int = 0
    budget_overruns: int = 0
    heartbeats: int = 0
    heartbeat_timeouts: int = 0
    closed_by_server: dict[str, int] = {}
    """By close code; ``dropped`` where there was none."""
    closed_by_client: dict[str, int] = {}
    commands: dict[str, int] = {}
    """Opcodes from clients other than heartbeat, IDENTIFY and RESUME."""
    member_requests: int = 0
    slow_consumers: int = 0
    events: int = 0
    """Broadcasts that at least one session was to see."""
    sent: int = 0
    """Those that at least one session was sent: distinct events."""
    dispatches: int = 0
    """Payloads with a sequence, of all kinds, over all sessions."""
    replayed: int = 0
    dropped: int = 0
    """Copies of events that never reached a session, on purpose."""
    doubled: int = 0
    """Copies of events that reached a session once more, on purpose."""
    presences_ignored: int = 0
    """Op 3 past its limit."""

    def raise_by_one(self, table: dict[str, int], key: str) -> None:
        table[key] = table.get(key, 0) + 1


class SessionLog:
    """One session's life, and the broadcasts it was sent in the order of their sequences."""

    __slots__ = ("count", "created", "end", "ended", "events", "id", "intents", "resumes", "sequences", "shard")

    def __init__(self, *, id: str, shard: int, count: int, intents: int, created: float) -> None:
        self.id = id
        self.shard = shard
        self.count = count
        self.intents = intents
        self.created = created
        self.ended: float | None = None
        self.end: str | None = None
        self.resumes = 0
        self.sequences = array("I")
        self.events = array("I")


class SessionTruth(msgspec.Struct, rename="camel", kw_only=True):
    id: str
    shard: int
    count: int
    intents: int
    created_at: int
    """Unix milliseconds, as all times here."""
    ended_at: int | None
    end: str | None
    """How it ended: ``clientClose``, ``expired``, ``evicted``, ``invalidated``, ``killed``, ``closed:<code>``,
    ``tokenReset``; absent while it lives."""
    resumes: int
    sequences: list[int]
    events: list[int]
    """``events[i]`` is the number of the event that was sent as ``sequences[i]``."""


class JournalEntry(msgspec.Struct, rename="camel", kw_only=True):
    """One handshake or close, in the order in which they happened."""

    at: int
    """Unix milliseconds."""
    what: str
    """``identify``, ``resume``, ``clientClose`` or ``serverClose``."""
    outcome: str
    """Of a handshake ``accepted`` or why it was refused, as in the counters; of a close its code, or ``dropped``."""
    session: str | None
    shard: int | None
    count: int | None


class EventTruth(msgspec.Struct, rename="camel", kw_only=True):
    """Columns; the event with number n is at index ``n - first``."""

    first: int
    names: list[int]
    """Indexes into ``Truth.names``."""
    streams: list[int]
    """Indexes into ``Truth.streams``."""
    keys: list[int]
    """Events with equal keys have equal names and bodies; 0 for those whose body exists once."""
    at: list[int]
    """Milliseconds since ``Truth.since``."""
    digests: list[tuple[int, int]] = []
    """Of each event: its body, and what sessions without MESSAGE_CONTENT get. Empty unless ``Settings.digests``."""


class Truth(msgspec.Struct, rename="camel", kw_only=True):
    """``GET /control/truth``."""

    now: int
    since: int
    counters: Counters
    names: list[str]
    streams: list[int]
    """Ids in whose order events are judged: guilds, and channels of direct messages."""
    events: EventTruth
    sessions: list[SessionTruth]
    journal: list[JournalEntry] = []
    """The last 100,000 handshakes and closes."""

    def event_of(self) -> dict[tuple[str, int], int]:
        """The number of each event, by each session and sequence that it was sent as."""
        return {
            (session.id, sequence): event
            for session in self.sessions
            for sequence, event in zip(session.sequences, session.events, strict=True)
        }

    def name_of(self, event: int) -> str:
        return self.names[self.events.names[event - self.events.first]]

    def stream_of(self, event: int) -> int:
        """The guild's id, or the channel's."""
        return self.streams[self.events.streams[event - self.events.first]]

    def made_at(self, event: int) -> int:
        """Unix milliseconds."""
        return self.since + self.events.at[event - self.events.first]


def _key(event: Event) -> int:
    digest = blake2b(event.body, digest_size=6, person=event.name.encode()[:16]).digest()
    return int.from_bytes(digest, "big") or 1


class GroundTruth:
    def __init__(self, *, now: Callable[[], float], digests: bool = False) -> None:
        self._now = now
        self._digesting = digests
        self.counters = Counters(
            identifies_rejected={}, resumes_refused={}, closed_by_server={}, closed_by_client={}, commands={}
        )
        self._numbered = 0
        self.forget()

    def forget(self) -> None:
        """Forget all sent events and all sessions that have ended; counters and living sessions stay."""
        self._since = self._now()
        self._first = self._numbered + 1
        self._names: dict[str, int] = {}
        self._streams: dict[int, int] = {}
        self._event_names = array("H")
        self._event_streams = array("I")
        self._event_keys = array("Q")
        self._event_at = array("I")
        self._event_digests = array("Q")
        """Two for each event."""
        self._journal: deque[JournalEntry] = deque(maxlen=_JOURNAL_ENTRIES)
        self._logs = [log for log in getattr(self, "_logs", []) if log.ended is None]
        for log in self._logs:
            del log.sequences[:], log.events[:]

    def session_started(self, *, id: str, shard: int, count: int, intents: int) -> SessionLog:
        log = SessionLog(id=id, shard=shard, count=count, intents=intents, created=self._now())
        self._logs.append(log)
        return log

    def session_ended(self, log: SessionLog, how: str) -> None:
        log.ended, log.end = self._now(), how

    def number(self, event: Event, *, repeatable: bool) -> None:
        """Give a broadcast its number. *repeatable* ones may have the same body as others."""
        self._numbered += 1
        self.counters.events += 1
        event.number = self._numbered
        self._event_names.append(self._names.setdefault(event.name, len(self._names)))
        self._event_streams.append(self._streams.setdefault(event.stream, len(self._streams)))
        self._event_keys.append(_key(event) if repeatable else 0)
        self._event_at.append(int((self._now() - self._since) * 1000))
        if self._digesting:
            whole = digest(event.body)
            self._event_digests.append(whole)
            self._event_digests.append(whole if event.redacted is None else digest(event.redacted))

    def sent(self, log: SessionLog, sequence: int, event: Event) -> None:
        """A session gave *event* a sequence: from now on it is that session's to deliver or to replay."""
        self.counters.dispatches += 1
        if event.kind is not EventKind.BROADCAST or event.number < self._first:
            return
        log.sequences.append(sequence)
        log.events.append(event.number)
        if not event.sent:
            event.sent = True
            self.counters.sent += 1

    def note(
        self,
        what: str,
        outcome: str,
        *,
        session: str | None = None,
        shard: int | None = None,
        count: int | None = None,
    ) -> None:
        """Write one handshake or close into the journal."""
        at = round(self._now() * 1000)
        entry = JournalEntry(at=at, what=what, outcome=outcome, session=session, shard=shard, count=count)
        self._journal.append(entry)

    def truth(self) -> Truth:
        return Truth(
            now=round(self._now() * 1000),
            since=round(self._since * 1000),
            counters=self.counters,
            names=list(self._names),
            streams=list(self._streams),
            events=EventTruth(
                first=self._first,
                names=self._event_names.tolist(),
                streams=self._event_streams.tolist(),
                keys=self._event_keys.tolist(),
                at=self._event_at.tolist(),
                digests=list(zip(self._event_digests[::2], self._event_digests[1::2], strict=True)),
            ),
            sessions=[
                SessionTruth(
                    id=log.id,
                    shard=log.shard,
                    count=log.count,
                    intents=log.intents,
                    created_at=round(log.created * 1000),
                    ended_at=None if log.ended is None else round(log.ended * 1000),
                    end=log.end,
                    resumes=log.resumes,
                    sequences=log.sequences.tolist(),
                    events=log.events.tolist(),
                )
                for log in self._logs
            ],
            journal=list(self._journal),
        )
