"""When each strike of a round begins and ends, on a machine that may have no time for it.

What is drawn has no two strikes at once of which one would undo the other (two that change how the bot answers). A
machine that is late with the one and not with the other would have them, so what would be in the way waits here too.
"""

from __future__ import annotations

import contextlib
import heapq
import itertools
import time
from collections.abc import Callable
from typing import Final

from chaos.schedule import Strike, held_by

AGAIN_SECONDS: Final = 5.0
MISSED_SECONDS: Final = 20.0
"""For so long a strike is tried: what it is to hit may just be starting."""

Act = Callable[[], float | None]
"""Does something; it may say in how many seconds it wants to be called again."""


class Agenda:
    """One round's; moments are seconds after it began."""

    def __init__(
        self, *, now: Callable[[], float] = time.monotonic, sleep: Callable[[float], None] = time.sleep
    ) -> None:
        self._now, self._sleep = now, sleep
        self._began = now()
        self._order = itertools.count()
        self._due: list[tuple[float, int, Act]] = []
        self._held: set[str] = set()

    def __bool__(self) -> bool:
        return bool(self._due)

    def at(self, moment: float, act: Act) -> None:
        heapq.heappush(self._due, (moment, next(self._order), act))

    def strike(
        self,
        strike: Strike,
        *,
        begin: Callable[[Strike, contextlib.ExitStack], bool],
        end: Callable[[Strike, contextlib.ExitStack], None],
        missed: Callable[[Strike], None],
        undoing: contextlib.ExitStack,
    ) -> None:
        """*begin* is tried until it has struck or is *missed*; *undoing* ends what lasts at the round's end."""
        holds = held_by(strike)

        def try_it() -> float | None:
            if self._held & holds:
                return AGAIN_SECONDS
            late = self._now() - self._began - strike.at
            ends = undoing.enter_context(contextlib.ExitStack())
            if not begin(strike, ends):
                if late < MISSED_SECONDS:
                    return AGAIN_SECONDS
                missed(strike)
            elif strike.seconds:
                self._held |= holds
                self.at(strike.ends + late, lambda: over(ends))
            return None

        def over(ends: contextlib.ExitStack) -> None:
            end(strike, ends)
            self._held -= holds

        self.at(strike.at, try_it)

    def run(self) -> None:
        """Until nothing is left to be done."""
        while self._due:
            moment, _, act = heapq.heappop(self._due)
            self._sleep(max(0.0, self._began + moment - self._now()))
            again = act()
            if again is not None:
                self.at(self._now() - self._began + again, act)
