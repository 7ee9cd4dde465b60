"""How far a session is done with, when its events are done with in any order.

A restart resumes a session from its watermark: Discord then sends everything above it again. So the watermark is the
highest sequence with *every* lower one finished (acknowledged, excluded, dropped and counted, dead-lettered, skipped),
and never the last one finished: lanes finish out of order, an excluded event finishes while older ones wait.

What is finished above the watermark is kept as runs of consecutive numbers. In the usual case (one lane, in order)
there is none and finishing costs one comparison; while older events wait, a run grows at its end. There are never more
runs than unfinished events, so the bounds of the queue bound this too.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from typing import Final

_COMPACT_AT: Final = 512
"""Consumed runs at the front of the lists before they are cut off; cutting shifts what follows."""


class Watermark:
    """Tracks one session. Sequences are Discord's `s`, starting at 1."""

    __slots__ = ("_ends", "_head", "_starts", "value")

    def __init__(self, value: int) -> None:
        """Everything up to and including *value* counts as finished."""
        self.value = value
        self._starts: list[int] = []
        self._ends: list[int] = []
        self._head = 0

    @property
    def runs(self) -> int:
        """How many separate runs are finished above the watermark."""
        return len(self._starts) - self._head

    def finish(self, sequence: int) -> None:
        """*sequence* needs nothing more. Harmless when repeated."""
        if sequence == self.value + 1:
            self.value = sequence
            if self._head < len(self._starts):
                self._advance()
        elif sequence > self.value:
            self._remember(sequence, sequence)

    def finish_through(self, sequence: int) -> None:
        """Everything up to and including *sequence* needs nothing more."""
        if sequence > self.value:
            self.value = sequence
            if self._head < len(self._starts):
                self._advance()

    def finish_range(self, first: int, last: int) -> None:
        """*first* to *last*, both included, need nothing more. Harmless when repeated."""
        if first <= self.value + 1:
            self.finish_through(last)
            return
        starts, ends = self._starts, self._ends
        begin = bisect_left(ends, first - 1, self._head)  # the first run that does not end before it
        end = bisect_right(starts, last + 1, self._head)  # the first run that begins after it
        if begin < end:
            first, last = min(first, starts[begin]), max(last, ends[end - 1])
        starts[begin:end] = [first]
        ends[begin:end] = [last]

    def _advance(self) -> None:
        starts, ends, head = self._starts, self._ends, self._head
        while head < len(starts) and starts[head] <= self.value + 1:
            self.value = max(self.value, ends[head])
            head += 1
        if head == len(starts):
            starts.clear()
            ends.clear()
            head = 0
        elif head >= _COMPACT_AT and head * 2 >= len(starts):
            del starts[:head], ends[:head]
            head = 0
        self._head = head

    def _remember(self, first: int, last: int) -> None:
        starts, ends = self._starts, self._ends
        if self._head == len(starts) or first > ends[-1] + 1:
            starts.append(first)
            ends.append(last)
            return
        if first == ends[-1] + 1:
            ends[-1] = last
            return
        at = bisect_right(starts, first, self._head)  # the first run that begins after it
        joins_left = at > self._head and ends[at - 1] + 1 >= first
        joins_right = at < len(starts) and starts[at] <= last + 1
        if joins_left and joins_right:
            ends[at - 1] = max(ends[at - 1], ends[at])
            del starts[at], ends[at]
        elif joins_left:
            ends[at - 1] = max(ends[at - 1], last)
        elif joins_right:
            starts[at] = first
        else:
            starts.insert(at, first)
            ends.insert(at, last)

    def covers(self, sequence: int) -> bool:
        """Whether *sequence* is finished."""
        if sequence <= self.value:
            return True
        at = bisect_right(self._starts, sequence, self._head) - 1
        return at >= self._head and self._ends[at] >= sequence

    def lacks(self, first: int, last: int) -> list[tuple[int, int]]:
        """The parts of *first* to *last*, both included, that are not finished."""
        lacking: list[tuple[int, int]] = []
        first = max(first, self.value + 1)
        for at in range(bisect_left(self._ends, first, self._head), len(self._starts)):
            if first > last or self._starts[at] > last:
                break
            if first < self._starts[at]:
                lacking.append((first, self._starts[at] - 1))
            first = self._ends[at] + 1
        if first <= last:
            lacking.append((first, last))
        return lacking

    @property
    def last(self) -> int:
        """The highest finished sequence."""
        return self._ends[-1] if self.runs else self.value

    def copy(self) -> Watermark:
        twin = Watermark(self.value)
        twin._starts, twin._ends = self._starts[self._head :], self._ends[self._head :]
        return twin

    def export(self, most: int) -> list[int]:
        """The watermark, and the bounds of the first *most* runs above it: value, start, end, start, end ..."""
        runs = zip(self._starts[self._head :][:most], self._ends[self._head :][:most], strict=True)
        return [self.value, *(bound for run in runs for bound in run)]

    @classmethod
    def restored(cls, exported: list[int]) -> Watermark:
        """What :meth:`export` gave."""
        watermark = cls(exported[0])
        watermark._starts, watermark._ends = exported[1::2], exported[2::2]
        return watermark
