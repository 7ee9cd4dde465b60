"""How long to wait before another try: doubling, capped, and with jitter so that many pods do not try in step."""

from __future__ import annotations

from shard_runtime.ports import Chance


class Backoff:
    """Delays for one thing that is tried again and again; :meth:`reset` after it went well."""

    def __init__(self, *, first: float, cap: float, chance: Chance) -> None:
        """*first* and *cap* in seconds; the drawn delay lies between half of the current bound and the bound."""
        self._first = first
        self._cap = cap
        self._chance = chance
        self._bound = first

    def next(self) -> float:
        """Seconds to wait before the next try."""
        bound = self._bound
        self._bound = min(self._cap, bound * 2)
        return self._chance.uniform(bound / 2, bound)

    def reset(self) -> None:
        self._bound = self._first
