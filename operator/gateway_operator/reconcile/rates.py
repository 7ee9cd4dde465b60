"""How fast events come to each shard, told from how its sequence number grows between passes.

Only a rollout asks, to know how long Discord's replay buffer lasts; so a rough figure will do that is there within
seconds, and it is rather too high than too low: a burst counts at once and is forgotten slowly.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from shard_runtime.contract import ShardStatus

LEAST_SPAN_SECONDS: Final = 0.9
"""Two looks closer together than this say little about a rate."""
WEIGHT: Final = 0.2
"""Of a new figure that is lower than the one before."""


@dataclass(slots=True)
class _Seen:
    at: float
    sequence: int
    rate: float | None = None


class EventRates:
    """Rates of the shards of one gateway, by generation and shard."""

    def __init__(self) -> None:
        self._seen: dict[tuple[int, int], _Seen] = {}

    def note(self, now: float, generation: int, shards: Iterable[ShardStatus]) -> dict[int, float]:
        """Take note of what a pod says at *now* (monotonic seconds); its shards' rates, as far as they are known."""
        rates = {}
        for shard in shards:
            if shard.sequence is None:
                self._seen.pop((generation, shard.id), None)
                continue
            seen = self._seen.setdefault((generation, shard.id), _Seen(at=now, sequence=shard.sequence))
            self._renew(seen, now, shard.sequence)
            if seen.rate is not None:
                rates[shard.id] = seen.rate
        return rates

    def keep(self, generations: Iterable[int]) -> None:
        """Forget all generations but these."""
        kept = frozenset(generations)
        for key in [key for key in self._seen if key[0] not in kept]:
            del self._seen[key]

    @staticmethod
    def _renew(seen: _Seen, now: float, sequence: int) -> None:
        span = now - seen.at
        if span < LEAST_SPAN_SECONDS:
            return
        if sequence >= seen.sequence:  # lower: a new session, which counts from 1
            rate = (sequence - seen.sequence) / span
            known = seen.rate
            seen.rate = rate if known is None or rate > known else known + WEIGHT * (rate - known)
        seen.at, seen.sequence = now, sequence
