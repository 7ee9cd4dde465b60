"""What the delivery measures, once for a request or a batch."""

from __future__ import annotations

from collections import Counter
from typing import Final

from shard_runtime.delivery.answers import Outcome
from shard_runtime.delivery.batches import Batch
from shard_runtime.measures import Histogram, HistogramCounts

LATENCY_BOUNDS: Final = (
    0.001, 0.002, 0.004, 0.008, 0.016, 0.032, 0.064, 0.128, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 3600.0,
)  # fmt: skip
"""Seconds. What is promised of the latency lies between 2 and 8 ms; an absent receiver makes hours of it."""

REQUEST_BOUNDS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
BATCH_BOUNDS: Final = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024)


class DeliveryMeter:
    __slots__ = ("_latency", "_requests", "_sizes", "outcomes", "stalls")

    def __init__(self) -> None:
        self._latency = Histogram(LATENCY_BOUNDS)
        self._requests = Histogram(REQUEST_BOUNDS)
        self._sizes = Histogram(BATCH_BOUNDS)
        self.outcomes: Counter[str] = Counter({outcome.value: 0 for outcome in Outcome})
        """Requests by what their answer meant."""
        self.stalls = 0
        """How often a lane had to begin to try again."""

    def requested(self, outcome: Outcome, *, events: int, seconds: float) -> None:
        """A request of *events* was answered, or not, within *seconds*."""
        self.outcomes[outcome.value] += 1
        self._requests.observe(seconds)
        self._sizes.observe(events)

    def acknowledged(self, batch: Batch, now: float) -> None:
        """*batch* is acknowledged *now*."""
        observe = self._latency.observe
        if batch.runs:
            for run in batch.runs:
                observe(now - run.accepted_at, run.count)
            return
        moment, count = now, 0
        for event in batch.events:
            if event.accepted_at != moment:
                if count:
                    observe(now - moment, count)
                moment, count = event.accepted_at, 0
            count += 1
        observe(now - moment, count)

    def histograms(self) -> dict[str, HistogramCounts]:
        return {
            "latency": self._latency.counts(),
            "requestSeconds": self._requests.counts(),
            "batchEvents": self._sizes.counts(),
        }
