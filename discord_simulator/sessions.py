"""Sessions: what outlives a connection.

A session has an id, a sequence that only grows, and a bounded buffer of what it was sent last, from which a RESUME is
replayed. It goes on receiving events while nobody is connected, until it expires. Source: Discord, "Resuming";
docs/protocol.md, section on sessions.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Iterator
from typing import TYPE_CHECKING

from discord_simulator.events import Event, EventKind
from discord_simulator.truth import GroundTruth, SessionLog

if TYPE_CHECKING:
    from discord_simulator.connection import Connection


def replay_capacity(guilds: int) -> int:
    """How many messages Discord is known to keep for a session of so many guilds."""
    return max(100, min(3500, 75 * guilds))


class Session:
    """One session ``[shard, count]``; *sharded* is False for an IDENTIFY without ``shard``, which sees everything."""

    def __init__(
        self,
        *,
        id: str,
        shard: int,
        count: int,
        sharded: bool,
        intents: int,
        capacity: int,
        log: SessionLog,
        truth: GroundTruth,
    ) -> None:
        self.id = id
        self.shard = shard
        self.count = count
        self.sharded = sharded
        self.intents = intents
        self.sequence = 0
        self.evicted_through = 0
        """No sequence up to this one can be replayed any more."""
        self.connection: Connection | None = None
        self.detached_at: float | None = None
        self.alive = True
        self.log = log
        self._capacity = capacity
        self._truth = truth
        self._buffer: deque[tuple[int, Event]] = deque()
        self.lag = Lag()

    def dispatch(self, event: Event) -> None:
        """Give *event* the next sequence, remember it for a replay, and send it if somebody is connected."""
        self.sequence += 1
        sequence = self.sequence
        if event.kind is not EventKind.SESSION:
            # READY cannot be missed by a session that resumes, and RESUMED belongs to one RESUME alone.
            self._buffer.append((sequence, event))
            if len(self._buffer) > self._capacity:
                self.evicted_through = self._buffer.popleft()[0]
        self._truth.sent(self.log, sequence, event)
        if self.connection is not None:
            self.connection.send(event.payload(sequence=sequence, intents=self.intents))

    def replay(self, after: int) -> Iterator[bytes]:
        """Payloads with a sequence above *after*, as they were sent the first time."""
        for sequence, event in self._buffer:
            if sequence > after:
                yield event.payload(sequence=sequence, intents=self.intents)

    def trim(self, through: int) -> None:
        """Free the buffer up to a sequence that the client has confirmed."""
        while self._buffer and self._buffer[0][0] <= through:
            self.evicted_through = self._buffer.popleft()[0]


class Lag:
    """How far a session is behind the guilds it sees: a delay per event that keeps order, and stalls.

    Order is kept over the whole session, or with ``per_guild`` only within each guild, as Discord promises no more.
    """

    def __init__(self) -> None:
        self.least = 0.0
        self.most = 0.0
        self.per_guild = False
        self.stalled_until = 0.0
        self._waiting: list[tuple[float, int, Event]] = []
        self._added = 0
        self._last_due: dict[int, float] = {}

    @property
    def idle(self) -> bool:
        """Whether an event may pass at once."""
        return not self._waiting and self.most <= 0.0 and self.stalled_until <= 0.0

    def hold(self, event: Event, *, delay: float, now: float) -> float:
        """Keep *event* back; answers when the session is to be looked at again."""
        lane = event.stream if self.per_guild else 0
        due = max(self._last_due.get(lane, 0.0), now + delay, self.stalled_until)
        self._last_due[lane] = due
        self._added += 1
        heapq.heappush(self._waiting, (due, self._added, event))
        return due

    def due(self, now: float) -> list[Event]:
        """What may pass by *now*, in order."""
        if now < self.stalled_until:
            return []
        self.stalled_until = 0.0
        passed = []
        while self._waiting and self._waiting[0][0] <= now:
            passed.append(heapq.heappop(self._waiting)[2])
        if not self._waiting:
            self._last_due.clear()
        return passed

    def waiting(self) -> int:
        return len(self._waiting)
