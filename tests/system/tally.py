"""What the workers of a run counted as dropped: each life of each worker, as its metrics would be read at its end."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from typing import Final

from shard_runtime.delivery.bounds import FULL, TOO_LARGE
from shard_runtime.delivery.lane_queue import AGED
from shard_runtime.supervisor.metrics import DROPPED
from shard_runtime.worker.flow import HELD_TOO_MANY

REASONS: Final = frozenset({FULL, TOO_LARGE, AGED, HELD_TOO_MANY})
"""For which an event may be dropped under a bound."""


class Tally:
    def __init__(self) -> None:
        self._lives: list[Callable[[], Mapping[str, int]]] = []

    def add(self, counters: Callable[[], Mapping[str, int]]) -> None:
        """A worker begins; *counters* are its own."""
        self._lives.append(counters)

    def dropped(self) -> Counter[tuple[str, str]]:
        """By event name and reason."""
        drops: Counter[tuple[str, str]] = Counter()
        for counters in self._lives:
            for counter, count in counters().items():
                if counter.startswith(DROPPED):
                    name, _, reason = counter.removeprefix(DROPPED).partition(":")
                    drops[name, reason] += count
        return drops
