"""What the shards of a worker measure, all in one: the label of a shard would make series by the thousand.

Names of dispatches and close codes come from Discord, so how many different ones are kept is bounded.
"""

from __future__ import annotations

import re
from collections import Counter
from typing import Final

from shard_runtime.measures import ALONE, OTHER, Histogram, Measures

COUNTED_TOGETHER: Final = 2048
"""Names; to count many at once takes half the time."""
MOST_NAMES: Final = 200
"""Different dispatch names; Discord has about 80."""

BEAT_BOUNDS: Final = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
"""Seconds."""

_NAME: Final = re.compile(r"[A-Z0-9_]{1,64}")
_CODES: Final = frozenset((*range(1000, 1016), *range(4000, 4015)))
"""Those that RFC 6455 and Discord have."""


class ShardMeter:
    """Filled by shards and their connections."""

    __slots__ = (
        "_events",
        "_uncounted",
        "beats",
        "closes",
        "commands",
        "endings",
        "identifies",
        "inflated",
        "resumes",
        "wire",
    )

    def __init__(self) -> None:
        self._events: Counter[str] = Counter()
        """Dispatches by name."""
        self._uncounted: list[str] = []
        """Names of further ones."""
        self.wire = 0
        """Bytes that connections which are over have received."""
        self.inflated = 0
        """Bytes of payloads that came compressed."""
        self.beats = Histogram(BEAT_BOUNDS)
        self.identifies = 0
        self.resumes = 0
        """RESUMED came."""
        self.closes: Counter[str] = Counter()
        self.endings: Counter[str] = Counter()
        """Connections that are over, by why."""
        self.commands = 0

    def received(self, names: list[str]) -> None:
        """Dispatches came together."""
        uncounted = self._uncounted
        uncounted += names
        if len(uncounted) > COUNTED_TOGETHER:
            self._count()

    def _count(self) -> None:
        self._events.update(self._uncounted)
        self._uncounted.clear()
        if len(self._events) > MOST_NAMES:
            self._fold()

    def closed(self, code: int | None) -> None:
        """Discord ended a connection; without a code when it just dropped."""
        self.closes["none" if code is None else str(code) if code in _CODES else OTHER] += 1

    def _fold(self) -> None:
        rare = self._events.most_common()[MOST_NAMES // 2 :]
        for name, _ in rare:
            del self._events[name]
        self._events[OTHER] += sum(count for _, count in rare)

    def measures(self, *, wire: int, compressed: bool) -> Measures:
        """All of it; *wire* has what the connections have received that there are now."""
        self._count()
        events: Counter[str] = Counter()
        for name, count in self._events.items():
            events[name if _NAME.fullmatch(name) else OTHER] += count
        received = self.wire + wire
        return Measures(
            counters={
                "received": dict(events),
                "wireBytes": {ALONE: received},
                "payloadBytes": {ALONE: self.inflated if compressed else received},
                "identifies": {ALONE: self.identifies},
                "resumes": {ALONE: self.resumes},
                "closes": dict(self.closes),
                "reconnects": dict(self.endings),
                "commands": {ALONE: self.commands},
            },
            histograms={"heartbeat": self.beats.counts()},
        )
