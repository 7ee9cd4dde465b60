"""Whether a new session's events come when they should, or late because the session was stalled or away.

While a session stalls, nothing comes; then all that waited comes as fast as it is read. The only trace on this side is
the gap, so every event that comes after a gap's end could have arrived at any time since it began, until the session
has caught up: as many events have come since as its usual rate makes in that time. A backlog of seconds takes longer
than a moment to read on a busy machine, so no fixed time would do.

Until it has, what is missing may only be late, as in the gap itself.

A session with little traffic has such gaps all the time, and then this says less about its events than it could; that
only leaves more places possible. Its gaps are part of its usual rate, so it has caught up as soon as they are over.
"""

from __future__ import annotations

import math
from typing import Final

from shard_runtime.handover.exact import SETTLE_MILLISECONDS
from shard_runtime.handover.lags import MARGIN_MILLISECONDS

GAP_MILLISECONDS: Final = MARGIN_MILLISECONDS
"""A shorter one lies within the margin of the measured bounds."""

LONGEST_CATCHING_UP: Final = 4
"""Times the gap. A session that has become quieter would never catch up."""

SILENCE_MILLISECONDS: Final = 900
"""How long a silent session is waited for: what it gave before is held back meanwhile, and an answer to an interaction
is due within 3 s."""

BY_CHANCE: Final = 2.5
"""Standard deviations of a Poisson process by which the events of a time may be fewer than usual."""

_REMEMBERED_MILLISECONDS: Final = 5000
"""Over how long the usual rate is an average; older arrivals count ever less."""


class Course:
    """The arrivals of one shard."""

    def __init__(self) -> None:
        self._last: int | None = None
        self._gap_since = 0
        self._late_until = -1
        self._woke_at = -1
        self._catches_up_until = -1
        self._came = 0
        """Events since the gap's end."""
        self._lately = 0.0
        """Events in time, the older the less."""
        self._weight = 0.0
        """Milliseconds that :attr:`_lately` is of, weighted alike."""

    def not_before(self, arrival: int, *, replayed: bool) -> int | None:
        """When the next event, which came at *arrival*, could have come at the earliest; None: just then."""
        last, self._last = self._last, arrival
        if arrival <= self._late_until:
            self._came += 1
            if replayed or self._is_behind(arrival):
                self._late_until = arrival + SETTLE_MILLISECONDS
            return self._gap_since
        if self._came:
            self._count(self._came, last - self._gap_since if last is not None and self._gap_since else 0)
            self._came = 0
        if not replayed and (last is None or arrival - last <= GAP_MILLISECONDS):
            if last is not None:
                self._count(1, arrival - last)
            return None
        self._gap_since = 0 if last is None else last
        self._woke_at = arrival
        self._late_until = arrival + SETTLE_MILLISECONDS
        self._catches_up_until = arrival + LONGEST_CATCHING_UP * (0 if last is None else arrival - last)
        self._came = 1
        return self._gap_since

    def is_late(self, now: int) -> bool:
        """Whether what is missing may only be late: nothing has come for long, or not yet what waited meanwhile."""
        return self._is_silent(now) or self._is_catching_up(now)

    def passed(self, now: int) -> int:
        """The moment up to which what is missing is not only late, with some patience for a session that is."""
        if self._last is None:
            return now
        if self._is_silent(now):
            return max(self._last + GAP_MILLISECONDS, now - SILENCE_MILLISECONDS)
        if self._is_catching_up(now) and now <= self._woke_at + SILENCE_MILLISECONDS:
            return self._gap_since + GAP_MILLISECONDS
        return now

    def _is_silent(self, now: int) -> bool:
        return self._last is not None and now - self._last > GAP_MILLISECONDS

    def _is_catching_up(self, now: int) -> bool:
        return now <= self._late_until and self._is_behind(now)

    def _is_behind(self, now: int) -> bool:
        """By more than the margin of the measured bounds, and than by chance."""
        if not self._weight or now > self._catches_up_until:
            return False
        usual = self._lately / self._weight
        due = usual * (now - self._gap_since)
        return due - self._came > max(usual * MARGIN_MILLISECONDS, BY_CHANCE * math.sqrt(due))

    def _count(self, came: int, passed: int) -> None:
        kept = math.exp(-passed / _REMEMBERED_MILLISECONDS)
        self._lately = self._lately * kept + came
        self._weight = self._weight * kept + passed
