"""Whether a new session's events come when they should, or late because the session was stalled or away.

While a session stalls, nothing comes; then all that waited comes at once. The only trace on this side is the gap, so
every event that comes within a moment of a gap's end could have arrived at any time since it began. A session with
little traffic has such gaps all the time, and then this says less about its events than it could; that only leaves more
places possible.
"""

from __future__ import annotations

from typing import Final

from shard_runtime.handover.exact import SETTLE_MILLISECONDS
from shard_runtime.handover.lags import MARGIN_MILLISECONDS

GAP_MILLISECONDS: Final = MARGIN_MILLISECONDS
"""A shorter one lies within the margin of the measured bounds."""


class Course:
    """The arrivals of one shard."""

    def __init__(self) -> None:
        self._last: int | None = None
        self._gap_since = 0
        self._late_until = -1

    def not_before(self, arrival: int, *, replayed: bool) -> int | None:
        """When the next event, which came at *arrival*, could have come at the earliest; None: just then."""
        last, self._last = self._last, arrival
        if arrival > self._late_until:
            if not replayed and (last is None or arrival - last <= GAP_MILLISECONDS):
                return None
            self._gap_since = 0 if last is None else last
            self._late_until = arrival + SETTLE_MILLISECONDS
        elif replayed:
            self._late_until = arrival + SETTLE_MILLISECONDS
        return self._gap_since
