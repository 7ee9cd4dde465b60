"""What the last completed reshard of each gateway came to, as metrics: the counts of ``status.history``."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Final

from gateway_operator.api.status import Outcome, ReshardOutcome, Status
from gateway_operator.web.metrics import Metric, Sample

Labels = Mapping[str, str]
Parts = Callable[[ReshardOutcome], Mapping[str, float | None]]


def _guilds(past: ReshardOutcome) -> Mapping[str, float | None]:
    return {
        "aligned": past.aligned,
        "by_occurrence": past.by_occurrence,
        "ambiguous": past.ambiguous,
        "repaired": past.repaired,
    }


def _events(past: ReshardOutcome) -> Mapping[str, float | None]:
    return {"marked": past.delivered_marked, "skipped": past.skipped, "missed": past.missed_by_old}


def _lag(past: ReshardOutcome) -> Mapping[str, float | None]:
    return {"least": _seconds(past.lag_least_milliseconds), "most": _seconds(past.lag_most_milliseconds)}


def _pause(past: ReshardOutcome) -> Mapping[str, float | None]:
    return {
        "0.5": _seconds(past.pause_median_milliseconds),
        "0.99": _seconds(past.pause_p99_milliseconds),
        "1": _seconds(past.longest_pause_milliseconds),
    }


def _took(past: ReshardOutcome) -> Mapping[str, float | None]:
    return {
        "all": past.duration_seconds,
        "cutover": past.cutover_seconds,
        "identify_limit": past.identify_limit_seconds,
    }


def _seconds(milliseconds: float | None) -> float | None:
    return None if milliseconds is None else milliseconds / 1000


FAMILIES: Final[tuple[tuple[str, str, str, Parts], ...]] = (
    (
        "last_reshard_guilds",
        "result",
        "Last completed reshard: guilds by how the new stream was aligned with the old; by_occurrence are of aligned.",
        _guilds,
    ),
    (
        "last_reshard_events",
        "result",
        "Events marked maybeDuplicate, skipped as delivered, too old to deliver.",
        _events,
    ),
    ("last_reshard_lag_seconds", "bound", "How much later the new sessions got an event than the old.", _lag),
    ("last_reshard_pause_seconds", "quantile", "Pause in the delivery of a guild; an upper bound.", _pause),
    ("last_reshard_duration_seconds", "part", "How long it took, and what Discord's pace of identifies takes.", _took),
)


def last_reshards(
    *, prefix: str, labels: tuple[str, ...], statuses: Iterable[tuple[Labels, Status]]
) -> Iterator[Metric]:
    """Metrics of the gateways that have resharded; *labels* are the names of a gateway's own ones."""
    found = [
        (own, past)
        for own, status in statuses
        if (past := next((past for past in status.history if past.outcome is Outcome.COMPLETED), None)) is not None
    ]
    for name, label, text, parts in FAMILIES:
        samples = [
            Sample(value, {**own, label: part})
            for own, past in found
            for part, value in parts(past).items()
            if value is not None
        ]
        yield Metric(prefix + name, "gauge", text, samples, (*labels, label))
