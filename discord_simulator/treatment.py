"""How a session's copy of an event reaches it: late, not at all, twice, with its keys in another order.

Discord documents that an event is delivered zero, one or several times and that nothing is promised of the order
between guilds; JSON promises nothing of the order of keys. Source: Discord, "Consistency"; docs/protocol.md, "Two
sessions, same guild".
"""

from __future__ import annotations

import heapq
from dataclasses import dataclass
from random import Random
from typing import Final

import msgspec

from discord_simulator.events import Event

_MOST_COPIES: Final = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Treatment:
    """What a session is treated like. Times in seconds, chances from 0 to 1."""

    least: float = 0.0
    most: float = 0.0
    """Delay of an event: at least, at most."""
    per_guild: bool = False
    """Order is kept within a guild only; otherwise over the whole session."""
    drop: float = 0.0
    """Chance that an event never reaches the session: it gets no sequence there."""
    duplicate: float = 0.0
    """Chance of one more copy, with a sequence of its own; after each copy of yet another."""
    duplicate_least: float = 0.0
    duplicate_most: float = 0.0
    """How much later a further copy comes."""
    shuffle_keys: bool = False

    @property
    def prompt(self) -> bool:
        """Whether every event comes once and at once."""
        return self.most <= 0.0 and self.drop <= 0.0 and self.duplicate <= 0.0

    def delay(self, random: Random) -> float:
        return self.least + (self.most - self.least) * random.random()

    def copies(self, random: Random) -> list[float]:
        """How much later each copy is sent than the event happens; empty if it is dropped."""
        if self.drop > 0.0 and random.random() < self.drop:
            return []
        copies = [0.0]
        while len(copies) < _MOST_COPIES and self.duplicate > 0.0 and random.random() < self.duplicate:
            copies.append(self.duplicate_least + (self.duplicate_most - self.duplicate_least) * random.random())
        return copies


class Lag:
    """Events on their way to a session that is delayed or stalled, in the order in which they may pass."""

    def __init__(self) -> None:
        self.stalled_until = 0.0
        self._waiting: list[tuple[float, int, Event]] = []
        self._added = 0
        self._last_due = 0.0
        """When the last one that waits is due, and that for each stream."""
        self._last_of_stream: dict[int, float] = {}

    @property
    def idle(self) -> bool:
        """Whether nothing that came earlier is still to pass."""
        return not self._waiting and self.stalled_until <= 0.0

    def hold(self, event: Event, *, per_guild: bool, delay: float, now: float) -> float:
        """Keep *event* back, behind all that waits of its guild (*per_guild*), or behind all that waits at all.

        What waits has been held back under either rule, as treatments change; so both are kept up for each event.
        Answers when the session is to be looked at again.
        """
        before = self._last_of_stream.get(event.stream, 0.0) if per_guild else self._last_due
        due = max(before, now + delay, self.stalled_until)
        self._last_due = max(due, self._last_due)
        self._last_of_stream[event.stream] = due
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
            self._last_due = 0.0
            self._last_of_stream.clear()
        return passed

    def waiting(self) -> int:
        return len(self._waiting)


def shuffled(payload: bytes, *, seed: str) -> bytes:
    """*payload* with the keys of every object in another order, always the same for one *seed*."""
    random = Random(seed)

    def shuffle(value: object) -> object:
        if isinstance(value, list):
            return [shuffle(item) for item in value]
        if isinstance(value, dict):
            keys = list(value)
            random.shuffle(keys)
            return {key: shuffle(value[key]) for key in keys}
        return value

    return msgspec.json.encode(shuffle(msgspec.json.decode(payload)))
