"""How much later (or earlier) the new side gets an event than the old one, measured on events that both have.

An event with an id of its own that is in both records gives one sample: its arrival at the new side minus its arrival
at the old one, so the skew of the two pods' clocks is included and needs no treatment. The extremes of all samples
between an old pod and a worker, with a margin, bound the lag of every other event between them.

The stall rule. Accepted events cannot show that the old session is stalled at the seal: while it is, it accepts
nothing. It shows in an event that follows, in its stream, one that the old side accepted, came to the new side so early
that by the bounds it was accepted, and was not. Then the lower bound is lowered to when the stall can have begun: the
arrival of the last event of that stream that was accepted.

Bounds that are too narrow lose or double events where a stream has no event with an id; bounds that are too wide only
leave more places possible, which costs marked duplicates. So everything here errs to the wide side.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Final, NamedTuple, Protocol, TypeVar

import msgspec

from shard_runtime.contract import WindowEvent

MARGIN_MILLISECONDS: Final = 250
UNMEASURED_MILLISECONDS: Final = 2000
"""Bound that is taken for granted where too little was measured."""
FEW_SAMPLES: Final = 20
PROFILE_SAMPLES: Final = 30
"""Fewest samples between two sessions from which anything is concluded about their mean."""
_BIN_MILLISECONDS: Final = 1000
_TOGETHER_MILLISECONDS: Final = 300
"""Events so close to each other count as one: what delays one delays the others behind it."""
_SMALLEST_SIGMA: Final = 10.0


class Bounds(msgspec.Struct, frozen=True, kw_only=True):
    """On (arrival at the new side - arrival at the old side), in milliseconds."""

    least: int
    most: int
    stalled: int
    """*least*, lowered by the stall rule: how far the old side may be behind at its seal."""
    samples: int = 0
    mean: float = 0.0

    @property
    def span(self) -> int:
        return self.most - self.least


UNMEASURED: Final = Bounds(
    least=-UNMEASURED_MILLISECONDS, most=UNMEASURED_MILLISECONDS, stalled=-UNMEASURED_MILLISECONDS
)


class Sample(NamedTuple):
    at: int
    """Arrival at the old side."""
    lag: int


class HeldEvent(Protocol):
    """What is measured of an event at the new side."""

    @property
    def key(self) -> int: ...
    @property
    def unique(self) -> bool: ...
    @property
    def arrival(self) -> int: ...
    @property
    def replayed(self) -> bool: ...
    @property
    def shard(self) -> int: ...


_Stream = TypeVar("_Stream")


class Measured(NamedTuple):
    bounds: Bounds
    samples: dict[tuple[int, int], list[Sample]]
    """By (old shard, new shard)."""
    least: int | None
    """Extremes as they were seen, without margins; None without a sample."""
    most: int | None


class Overlap:
    """The samples of one old pod's windows, taken from what the new side holds, in one pass."""

    def __init__(self, accepted: Mapping[_Stream, Sequence[WindowEvent]]) -> None:
        self._arrivals: dict[int, int] = {}
        for events in accepted.values():
            for event in events:
                if event.unique:
                    self._arrivals.setdefault(event.key, event.arrival)
        self._samples: dict[tuple[int, int], list[Sample]] = {}
        self._accepted: dict[object, int] = {}
        """By stream, the arrival of the last event with an id that the old side accepted."""
        self._waiting: dict[object, int] = {}
        """By stream, the arrival of the oldest event with an id after that one."""
        self._seen: set[int] = set()
        self._replayed: set[object] = set()

    def add(self, stream: object, old_shard: int, event: HeldEvent) -> None:
        """The next held event, in order of arrival."""
        if not event.unique:
            return
        accepted_at = self._arrivals.get(event.key)
        if accepted_at is None:
            if not event.replayed:
                self._waiting.setdefault(stream, event.arrival)
            return
        self._accepted[stream] = event.arrival
        self._waiting.pop(stream, None)
        if event.replayed or event.key in self._seen:
            return
        self._seen.add(event.key)
        sample = Sample(accepted_at, event.arrival - accepted_at)
        self._samples.setdefault((old_shard, event.shard), []).append(sample)

    def measured(
        self, *, sealed_at: int, complete_since: int, remembered: tuple[int, int] | None = None, stall_rule: bool = True
    ) -> Measured:
        """*complete_since*: from when on both records are complete (the old pod's clock). *remembered*: extremes that
        were measured earlier."""
        lags = [sample.lag for samples in self._samples.values() for sample in samples]
        least, most = (min(lags), max(lags)) if lags else (None, None)
        low = [value for value in (least, remembered and remembered[0]) if value is not None]
        high = [value for value in (most, remembered and remembered[1]) if value is not None]
        if len(lags) < FEW_SAMPLES and remembered is None:
            low.append(-UNMEASURED_MILLISECONDS + MARGIN_MILLISECONDS)
            high.append(UNMEASURED_MILLISECONDS - MARGIN_MILLISECONDS)
        lower, upper = min(low) - MARGIN_MILLISECONDS, max(high) + MARGIN_MILLISECONDS
        stalled = lower
        if stall_rule:
            for stream, arrival in self._waiting.items():
                accepted = self._accepted.get(stream, complete_since + upper)
                if accepted < arrival < sealed_at + lower:
                    stalled = min(stalled, accepted - sealed_at)
        mean = sum(lags) / len(lags) if lags else 0.0
        bounds = Bounds(least=lower, most=upper, stalled=stalled, samples=len(lags), mean=mean)
        return Measured(bounds, self._samples, least, most)


class LagProfile:
    """The mean lag between two sessions, second by second, and how much single events stray from it."""

    @classmethod
    def of(cls, samples: Sequence[Sample]) -> LagProfile | None:
        """None where there are too few samples to conclude anything."""
        return cls(samples) if len(samples) >= PROFILE_SAMPLES else None

    def __init__(self, samples: Sequence[Sample]) -> None:
        bins: dict[int, list[int]] = {}
        for at, lag in samples:
            bins.setdefault(at // _BIN_MILLISECONDS, []).append(lag)
        count = len(samples)
        self._means = {number: (len(lags), sum(lags) / len(lags)) for number, lags in bins.items()}
        squares = sum((lag - self._means[number][1]) ** 2 for number, lags in bins.items() for lag in lags)
        self._sigma = max(_SMALLEST_SIGMA, math.sqrt(squares / max(1, count - len(bins))))

    def strangeness(self, pairs: Iterable[Sample]) -> float | None:
        """How far the mean lag of *pairs* is from what it was to be, in standard errors; None if nothing can be said.

        Evidence, not proof: shifting a run of equal events by one shifts its mean lag by their mean distance.
        """
        residuals: list[float] = []
        together: set[int] = set()
        compared: dict[int, int] = {}
        for at, lag in pairs:
            number = at // _BIN_MILLISECONDS
            found = self._means.get(number)
            if found is None:
                continue
            compared[number] = found[0]
            residuals.append(lag - found[1])
            together.add(at // _TOGETHER_MILLISECONDS)
        if not residuals:
            return None
        variance = self._sigma**2 * (1 / len(together) + 1 / sum(compared.values()))
        return abs(sum(residuals) / len(residuals)) / math.sqrt(variance)
