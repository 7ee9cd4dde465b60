"""What the passes cost and found, for metrics. One gateway is a handful of series, whatever its size."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Final

from gateway_operator.api.conditions import ConditionStatus
from gateway_operator.api.status import Outcome, ReshardOutcome, Status
from gateway_operator.reconcile.last_reshard import last_reshards
from gateway_operator.web.metrics import Histogram, Metric, Sample
from shard_runtime.contract import HeldBack

PREFIX: Final = "discord_gateway_operator_"
PASS_BOUNDS: Final = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
RESHARD_BOUNDS: Final = (10.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1200.0, 3600.0, 7200.0)

GATEWAY_LABELS: Final = ("namespace", "gateway")

GatewayKey = tuple[str, str]


@dataclass(slots=True)
class _Seen:
    at: float
    status: Status
    held: Collection[HeldBack]


class Measures:
    """Filled by the passes, read by whoever scrapes. Times are monotonic seconds."""

    def __init__(self) -> None:
        self._seen: dict[GatewayKey, _Seen] = {}
        self._passes = Histogram(PASS_BOUNDS)
        self._errors = 0
        self._reshards: defaultdict[Outcome, Histogram] = defaultdict(lambda: Histogram(RESHARD_BOUNDS))
        for outcome in Outcome:
            self._reshards[outcome]  # a series that is there from the start can be alerted on

    def passed(
        self, key: GatewayKey, *, now: float, seconds: float, status: Status, held: Collection[HeldBack] = ()
    ) -> None:
        """A pass that took *seconds* ended *now* and left *status*; *held* is why permits are held back."""
        self._passes.observe(seconds)
        before = self._seen.get(key)
        if before is not None:
            for past in _new(before.status.history, status.history):
                self._reshards[past.outcome].observe(past.duration_seconds)
        self._seen[key] = _Seen(now, status, held)

    def failed(self) -> None:
        self._errors += 1

    def forget(self, key: GatewayKey) -> None:
        self._seen.pop(key, None)

    def metrics(self, now: float) -> Iterator[Metric]:
        """All metrics as of *now*."""
        yield Metric(PREFIX + "reconcile_seconds", "histogram", "How long passes took.", tuple(self._passes.samples()))
        yield Metric.single(PREFIX + "reconcile_errors_total", "counter", "Passes that failed.", self._errors)
        samples = [s for outcome, seen in self._reshards.items() for s in seen.samples({"outcome": outcome.value})]
        yield Metric(
            PREFIX + "reshard_seconds", "histogram", "How long reshards took, by outcome.", samples, ("outcome",)
        )
        yield from last_reshards(
            prefix=PREFIX,
            labels=GATEWAY_LABELS,
            statuses=[(_labels(key), seen.status) for key, seen in sorted(self._seen.items())],
        )
        yield self._gauge("last_reconcile_age_seconds", "Age of the last pass that succeeded.", lambda s: now - s.at)
        yield self._gauge("shards", "Shards of the active generation.", lambda s: s.status.shards)
        yield self._gauge("ready_shards", "READY shards of the active generation.", lambda s: s.status.ready_shards)
        yield self._gauge("guilds", "Guilds of the active generation.", lambda s: s.status.guilds)
        yield self._gauge("utilisation_percent", "Guilds in percent of capacity.", lambda s: s.status.utilisation)
        yield self._gauge("generations", "Generations that exist.", lambda s: len(s.status.generations))
        yield self._gauge("resharding", "1 while a reshard is in progress.", lambda s: s.status.reshard is not None)
        yield self._gauge("rolling_out", "1 while pods get a changed template.", lambda s: s.status.rollout is not None)
        yield self._gauge("capacity_guilds", "Guilds that the shards are meant to hold.", lambda s: s.status.capacity)
        yield self._gauge(
            "recommended_shards", "Shards that Discord recommends.", lambda s: s.status.recommended_shards
        )
        yield self._gauge("queued_events", "Events that wait for the receiver.", lambda s: s.status.delivery.queued)
        yield self._gauge(
            "queued_oldest_seconds", "Age of the oldest of them.", lambda s: s.status.delivery.oldest_seconds
        )
        for name, field, text in (
            ("identify_budget_remaining", "remaining", "Session starts left."),
            ("identify_budget_limit", "total", "Session starts in a day."),
            ("identify_max_concurrency", "max_concurrency", "Session starts at a time, every 5 s."),
        ):
            yield self._gauge(name, text, partial(_budget, field))
        yield Metric(
            PREFIX + "condition",
            "gauge",
            "1 while the condition is True, 0 while it is False; absent while it is unknown.",
            [
                Sample(condition.status is ConditionStatus.TRUE, {**_labels(key), "condition": condition.type.value})
                for key, seen in sorted(self._seen.items())
                for condition in seen.status.conditions
                if condition.status is not ConditionStatus.UNKNOWN
            ],
            (*GATEWAY_LABELS, "condition"),
        )
        yield Metric(
            PREFIX + "identifies_held",
            "gauge",
            "1 while the identify gate holds permits back for that reason.",
            [
                Sample(why in seen.held, {**_labels(key), "reason": why.value})
                for key, seen in sorted(self._seen.items())
                for why in HeldBack
            ],
            (*GATEWAY_LABELS, "reason"),
        )

    def _gauge(self, name: str, text: str, value: Callable[[_Seen], float | None]) -> Metric:
        """One sample for each gateway that has a value."""
        found = [(key, value(seen)) for key, seen in sorted(self._seen.items())]
        samples = [Sample(number, _labels(key)) for key, number in found if number is not None]
        return Metric(PREFIX + name, "gauge", text, samples, GATEWAY_LABELS)


def _budget(field: str, seen: _Seen) -> float | None:
    budget = seen.status.identify_budget
    return None if budget is None else float(getattr(budget, field))


def _labels(key: GatewayKey) -> dict[str, str]:
    return dict(zip(GATEWAY_LABELS, key, strict=True))


def _new(before: list[ReshardOutcome], after: list[ReshardOutcome]) -> list[ReshardOutcome]:
    """Entries of a history, the latest first, that were not there before."""
    return [past for past in after if past not in before]
