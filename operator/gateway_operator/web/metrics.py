"""Metrics in Prometheus' text format; names and units follow its conventions.

Format: https://prometheus.io/docs/instrumenting/exposition_formats/#text-based-format
"""

from __future__ import annotations

import bisect
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"


@dataclass(frozen=True, slots=True)
class Sample:
    value: float
    labels: Mapping[str, str] = field(default_factory=dict)
    suffix: str = ""
    """``_bucket``, ``_sum`` or ``_count`` of a histogram."""


@dataclass(frozen=True, slots=True)
class Metric:
    """One metric with all of its samples; *kind* is counter, gauge or histogram."""

    name: str
    kind: str
    help: str
    samples: Sequence[Sample]
    labels: tuple[str, ...] = ()
    """Names of the labels that each sample has, but for a histogram's ``le``."""

    @classmethod
    def single(cls, name: str, kind: str, help: str, value: float) -> Metric:
        """A metric without labels."""
        return cls(name, kind, help, (Sample(value),))


class Histogram:
    """Counts of observations by upper bound."""

    def __init__(self, bounds: Sequence[float]) -> None:
        self._bounds = sorted(bounds)
        self._counts = [0] * (len(self._bounds) + 1)
        self._sum = 0.0

    def observe(self, value: float) -> None:
        self._counts[bisect.bisect_left(self._bounds, value)] += 1
        self._sum += value

    def samples(self, labels: Mapping[str, str] | None = None) -> Iterator[Sample]:
        labels, total = dict(labels or {}), 0
        for bound, count in zip([*self._bounds, float("inf")], self._counts, strict=True):
            total += count
            yield Sample(total, {**labels, "le": _number(bound)}, "_bucket")
        yield Sample(self._sum, labels, "_sum")
        yield Sample(total, labels, "_count")


def render(metrics: Iterable[Metric]) -> str:
    """All *metrics* as text."""
    lines: list[str] = []
    for metric in metrics:
        lines += [f"# HELP {metric.name} {metric.help}", f"# TYPE {metric.name} {metric.kind}"]
        for sample in metric.samples:
            labels = ",".join(f'{name}="{_escaped(value)}"' for name, value in sample.labels.items())
            lines.append(f"{metric.name}{sample.suffix}{{{labels}}} {_number(sample.value)}".replace("{} ", " ", 1))
    return "\n".join(lines) + "\n"


def _number(value: float) -> str:
    if value == float("inf"):
        return "+Inf"
    return f"{value:.0f}" if value == int(value) and abs(value) < 1e15 else repr(float(value))


def _escaped(value: str) -> str:
    return value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
