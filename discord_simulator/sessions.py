"""Sessions: what outlives a connection.

A session has an id, a sequence that only grows, and a bounded buffer of what it was sent last, from which a RESUME is
replayed. It goes on receiving events while nobody is connected, until it expires. Source: Discord, "Resuming";
docs/protocol.md, section on sessions.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from typing import TYPE_CHECKING

from discord_simulator.events import Event, EventKind
from discord_simulator.treatment import Lag, Treatment, shuffled
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
        treatment: Treatment,
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
        self.treatment = treatment
        self.lag = Lag()
        self.compresses_payloads = False
        """IDENTIFY asked for payload compression. That it holds after a RESUME, which cannot ask, is our inference."""
        self.presences: deque[float] = deque()
        """When its last presence updates came, unix seconds."""
        self.bursting = False
        """Its start-up burst is under way."""
        self.owed_acknowledgements = 0
        """Heartbeats whose acknowledgement waits behind the burst."""

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
            self.connection.send(self._payload(sequence, event))

    def _payload(self, sequence: int, event: Event) -> bytes:
        payload = event.payload(sequence=sequence, intents=self.intents)
        return shuffled(payload, seed=f"{self.id}:{sequence}") if self.treatment.shuffle_keys else payload

    def replay(self, after: int) -> Iterator[bytes]:
        """Payloads with a sequence above *after*, as they were sent the first time."""
        for sequence, event in self._buffer:
            if sequence > after:
                yield self._payload(sequence, event)

    def trim(self, through: int) -> None:
        """Free the buffer up to a sequence that the client has confirmed."""
        while self._buffer and self._buffer[0][0] <= through:
            self.evicted_through = self._buffer.popleft()[0]
