"""A failing schedule made short: the fewest steps, and the plainest world, that break the same promise.

Delta debugging (Zeller, Hildebrandt 2002) over the list of steps, then step by step shorter, then the world setting by
setting as usual. Steps choose by numbers of their own, so leaving one out does not change what the others draw.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import msgspec
from system.schedule import Schedule, Step
from system.setting import Setting

Fails = Callable[[Schedule], bool]
"""Whether a schedule breaks the promise in question."""


class _TriesSpentError(Exception):
    """No more runs are to be made."""


class Shrinker:
    """Makes at most *tries* runs."""

    def __init__(self, fails: Fails, *, tries: int) -> None:
        self._fails = fails
        self._left = tries
        self._known: dict[bytes, bool] = {}

    def shrink(self, schedule: Schedule) -> Schedule:
        """The shortest schedule found that fails as *schedule* does."""
        self._best = schedule
        try:
            self._steps()
            for name in Setting.__struct_fields__:
                self._try(self._best, setting=msgspec.structs.replace(self._best.setting, **{name: _usual(name)}))
            for index in range(len(self._best.steps)):
                self._shorten(index)
        except _TriesSpentError:
            pass
        return self._best

    def _steps(self) -> None:
        parts = 2
        while len(self._best.steps) >= 2:
            steps = self._best.steps
            for rest in _without_parts(steps, parts):
                if self._try(self._best, steps=rest):
                    parts = max(2, parts - 1)
                    break
            else:
                if parts >= len(steps):
                    break
                parts = min(len(steps), 2 * parts)
        if len(self._best.steps) == 1:
            self._try(self._best, steps=())

    def _shorten(self, index: int) -> None:
        for _ in range(3):
            step = self._best.steps[index]
            if step.seconds < 1.0:
                return
            shorter = msgspec.structs.replace(step, seconds=round(step.seconds / 2, 3))
            if not self._try(self._best, steps=(*self._best.steps[:index], shorter, *self._best.steps[index + 1 :])):
                return

    def _try(self, schedule: Schedule, **change: object) -> bool:
        candidate = msgspec.structs.replace(schedule, **change)
        if candidate == self._best:
            return False
        key = candidate.encode()
        if key not in self._known:
            if self._left <= 0:
                raise _TriesSpentError
            self._left -= 1
            self._known[key] = self._fails(candidate)
        if self._known[key]:
            self._best = candidate
        return self._known[key]


def _usual(name: str) -> object:
    return getattr(Setting(), name)


def _without_parts(steps: Sequence[Step], parts: int) -> Iterator[tuple[Step, ...]]:
    """*steps* without each of *parts* parts in turn; the later ones first, since what came last is seldom the cause."""
    size = -(-len(steps) // parts)
    for begin in reversed(range(0, len(steps), size)):
        yield (*steps[:begin], *steps[begin + size :])
