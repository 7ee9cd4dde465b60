"""What the parts of a worker measure, in the form in which the supervisor adds it up over workers.

A part counts in plain attributes and says what they came to when somebody asks, so that measuring costs an addition per
batch, and no lock, name or label on the way of an event. ``supervisor/metrics.py`` gives each measure its public name.
"""

from __future__ import annotations

import bisect
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

import msgspec

from shard_runtime.contract import Wire

ALONE: Final = ""
"""The label's value where a measure has no label."""

OTHER: Final = "other"

Labelled = dict[str, dict[str, float]]
"""By measure and by the value of its one label."""


class HistogramCounts(Wire, frozen=True, kw_only=True):
    """Observations by class: one for each bound, and one for what is larger than all of them."""

    bounds: list[float]
    counts: list[int]
    sum: float = 0.0

    def plus(self, other: HistogramCounts) -> HistogramCounts:
        """Both together; of two that have not the same classes (pods of two versions do not mix) only this one."""
        if other.bounds != self.bounds:
            return self
        counts = [one + two for one, two in zip(self.counts, other.counts, strict=True)]
        return HistogramCounts(bounds=self.bounds, counts=counts, sum=self.sum + other.sum)


class Measures(Wire, frozen=True, kw_only=True):
    """What was measured; *counters* and *histograms* since the start, *gauges* now."""

    counters: Labelled = msgspec.field(default_factory=dict)
    gauges: Labelled = msgspec.field(default_factory=dict)
    histograms: dict[str, HistogramCounts] = msgspec.field(default_factory=dict)

    def counter(self, name: str) -> Mapping[str, float]:
        """By the label's value; :data:`ALONE` without one."""
        return self.counters.get(name, {})

    def total(self, name: str) -> float:
        """Over all values of the label."""
        return sum(self.counter(name).values())

    def past(self) -> Measures:
        """What stays when the process that measured has ended."""
        return Measures(counters=self.counters, histograms=self.histograms)


def merged(parts: Iterable[Measures]) -> Measures:
    """The sums over *parts*."""
    counters: Labelled = {}
    gauges: Labelled = {}
    histograms: dict[str, HistogramCounts] = {}
    for part in parts:
        for into, labelled in ((counters, part.counters), (gauges, part.gauges)):
            for name, values in labelled.items():
                known = into.setdefault(name, {})
                for label, value in values.items():
                    known[label] = known.get(label, 0) + value
        for name, histogram in part.histograms.items():
            before = histograms.get(name)
            histograms[name] = histogram if before is None else before.plus(histogram)
    return Measures(counters=counters, gauges=gauges, histograms=histograms)


class Histogram:
    """Observations by upper bound."""

    __slots__ = ("_bounds", "_counts", "_sum")

    def __init__(self, bounds: Sequence[float]) -> None:
        self._bounds = sorted(bounds)
        self._counts = [0] * (len(self._bounds) + 1)
        self._sum = 0.0

    def observe(self, value: float, count: int = 1) -> None:
        """*value* was seen *count* times."""
        self._counts[bisect.bisect_left(self._bounds, value)] += count
        self._sum += value * count

    def counts(self) -> HistogramCounts:
        return HistogramCounts(bounds=self._bounds, counts=list(self._counts), sum=self._sum)
