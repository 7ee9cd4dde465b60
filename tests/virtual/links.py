"""Links of the virtual network: ordered, delayed, and sometimes cut.

A pipe is one direction of one connection. Like TCP it keeps order and loses nothing while the connection stands: what
is sent over a cut link waits for the link to heal. Only an end of the connection loses what is under way.
"""

from __future__ import annotations

import asyncio
import random
from collections import Counter, deque
from collections.abc import Callable


class Links:
    """Which machines can reach each other, and how long messages take."""

    def __init__(self, *, chance: random.Random, delay: tuple[float, float]) -> None:
        self._chance = chance
        self.delay = delay
        """Shortest and longest delay of one message in seconds; a pair of machines may have its own."""
        self._own_delay: dict[frozenset[str], tuple[float, float]] = {}
        self._cut: Counter[frozenset[str]] = Counter()
        self._alone: Counter[str] = Counter()
        self._stalled: list[Callable[[], None]] = []

    def draw_delay(self, a: str, b: str) -> float:
        return self._chance.uniform(*self._own_delay.get(frozenset((a, b)), self.delay))

    def set_delay(self, a: str, b: str, delay: tuple[float, float]) -> None:
        self._own_delay[frozenset((a, b))] = delay

    def reset_delay(self, a: str, b: str) -> None:
        """The usual delay again."""
        self._own_delay.pop(frozenset((a, b)), None)

    def cut(self, a: str, b: str) -> None:
        """Cut a link, until it is mended as often as it was cut."""
        self._cut[frozenset((a, b))] += 1

    def isolate(self, node: str) -> None:
        """Cut *node* off from everybody, until it is rejoined as often."""
        self._alone[node] += 1

    def mend(self, a: str, b: str) -> None:
        """Undo one cut; nothing if :meth:`heal` has."""
        link = frozenset((a, b))
        self._cut[link] = max(0, self._cut[link] - 1)
        self._go_on()

    def rejoin(self, node: str) -> None:
        """Undo one isolation."""
        self._alone[node] = max(0, self._alone[node] - 1)
        self._go_on()

    def heal(self) -> None:
        """Undo every cut; what waited goes on its way, in the order in which it began to wait."""
        self._cut.clear()
        self._alone.clear()
        self._go_on()

    def _go_on(self) -> None:
        """What still cannot pass waits again."""
        stalled, self._stalled = self._stalled, []
        for go_on in stalled:
            go_on()

    def passable(self, a: str, b: str) -> bool:
        return a == b or not (self._cut[frozenset((a, b))] or self._alone[a] or self._alone[b])

    def when_healed(self, go_on: Callable[[], None]) -> None:
        self._stalled.append(go_on)

    async def pass_over(self, a: str, b: str) -> None:
        """Take as long as one message from *a* to *b* takes; for ever while the link stays cut."""
        await asyncio.sleep(self.draw_delay(a, b))
        while not self.passable(a, b):
            healed = asyncio.Event()
            self.when_healed(healed.set)
            await healed.wait()


class Pipe:
    """One direction of one connection."""

    def __init__(self, *, links: Links, source: str, target: str) -> None:
        self._links = links
        self._ends = (source, target)
        self._queue: deque[tuple[float, Callable[[], None]]] = deque()
        self._pumping = False
        self._broken = False
        self._paused = False
        self._last_due = 0.0

    @property
    def waiting(self) -> int:
        """Messages that have not arrived."""
        return len(self._queue)

    def put(self, arrive: Callable[[], None]) -> None:
        """Have *arrive* called at the other end, after everything put before."""
        if self._broken:
            return
        due = asyncio.get_running_loop().time() + self._links.draw_delay(*self._ends)
        self._last_due = max(due, self._last_due)
        self._queue.append((self._last_due, arrive))
        self._start()

    def break_off(self) -> None:
        """Lose what is under way and everything to come."""
        self._broken = True
        self._queue.clear()

    def pause(self) -> None:
        """The receiver reads no more."""
        self._paused = True

    def resume(self) -> None:
        self._paused = False
        self._start()

    def _start(self) -> None:
        if not self._pumping and self._queue and not self._paused:
            self._pumping = True
            asyncio.get_running_loop().call_at(self._queue[0][0], self._pump)

    def _pump(self) -> None:
        self._pumping = False
        if not self._queue or self._paused:
            return
        if not self._links.passable(*self._ends):
            self._pumping = True
            self._links.when_healed(self._pump)
            return
        _, arrive = self._queue.popleft()
        arrive()
        self._start()
