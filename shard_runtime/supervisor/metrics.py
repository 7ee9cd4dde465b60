"""``/metrics`` of a pod in Prometheus' text format, from the pod's status and what its workers have measured.

:data:`FAMILIES` is all that there is; docs/metrics.md is checked against it. Names and units follow Prometheus'
conventions, and no label has more values than the table says. Format:
https://prometheus.io/docs/instrumenting/exposition_formats/#text-based-format
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from shard_runtime import contract
from shard_runtime.measures import ALONE, HistogramCounts, Measures

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"
PREFIX: Final = "discord_gateway_"
DROPPED: Final = "dropped:"
"""How counters of drops begin; the event's name and the reason follow, with a colon between."""


@dataclass(frozen=True, slots=True)
class Picture:
    """All that metrics are made of."""

    status: contract.PodStatus
    measures: Measures


Values = Iterable[tuple[tuple[str, ...], float]]
"""Values of the labels, and the sample's."""


@dataclass(frozen=True, slots=True)
class Family:
    """One metric; *read* gives its samples, or *histogram* names one of the measures."""

    name: str
    kind: str
    help: str
    labels: tuple[str, ...] = ()
    read: Callable[[Picture], Values] = lambda picture: ()
    histogram: str | None = None


def _status(name: str, help: str, value: Callable[[contract.PodStatus], float | None]) -> Family:
    """A gauge; absent where there is no value."""

    def read(picture: Picture) -> Values:
        found = value(picture.status)
        return [] if found is None else [((), found)]

    return Family(name, "gauge", help, (), read)


def _total(name: str, help: str, counter: str) -> Family:
    """One of the counters of the pod's status."""
    return Family(name, "counter", help, (), lambda picture: [((), picture.status.counters.get(counter, 0))])


def _measured(name: str, help: str, measure: str, label: str | None = None) -> Family:
    """A counter that is measured; without a label there from the start."""
    if label is None:
        return Family(name, "counter", help, (), lambda picture: [((), picture.measures.total(measure))])
    return Family(name, "counter", help, (label,), lambda picture: _labelled(picture.measures.counter(measure)))


def _gauge(name: str, help: str, measure: str) -> Family:
    return Family(
        name, "gauge", help, (), lambda picture: [((), picture.measures.gauges.get(measure, {}).get(ALONE, 0))]
    )


def _labelled(values: Mapping[str, float]) -> Values:
    return [((label,), value) for label, value in sorted(values.items())]


def _shards(picture: Picture) -> Values:
    states = [shard.state for shard in picture.status.shards]
    return [((state.value,), states.count(state)) for state in contract.ShardState]


def _roles(picture: Picture) -> Values:
    return [((role.value,), picture.status.role is role) for role in contract.Role]


def _dropped(picture: Picture) -> Values:
    found = {key: count for key, count in picture.status.counters.items() if key.startswith(DROPPED)}
    for key, count in sorted(found.items()):
        name, _, reason = key.removeprefix(DROPPED).partition(":")
        yield (name, reason), count


def _quietest(status: contract.PodStatus) -> float | None:
    return max((shard.silent_seconds for shard in status.shards if shard.silent_seconds is not None), default=None)


FAMILIES: Final = (
    # --- Sessions
    Family("shards", "gauge", "Shards of the pod by state.", ("state",), _shards),
    Family("role", "gauge", "1 for the role that the pod has, 0 for the others.", ("role",), _roles),
    _status("guilds", "Guilds of the pod's sessions.", lambda status: sum(shard.guilds for shard in status.shards)),
    _status(
        "last_frame_age_seconds", "Age of the last frame from Discord, of the shard that is silent longest.", _quietest
    ),
    Family(
        "heartbeat_latency_seconds",
        "histogram",
        "From a heartbeat to its acknowledgement, over all shards.",
        histogram="heartbeat",
    ),
    _measured("identifies_total", "IDENTIFYs sent.", "identifies"),
    _measured("resumes_total", "Sessions resumed: RESUMED came.", "resumes"),
    _total("sessions_lost_total", "Sessions that Discord did not resume.", "lostSessions"),
    _measured("closes_total", "Connections that Discord closed, by close code; none: dropped.", "closes", "code"),
    _measured("reconnects_total", "Connections that ended and were followed by another try.", "reconnects", "cause"),
    _measured("commands_total", "Commands sent on sessions.", "commands"),
    # --- What comes
    _measured("events_received_total", "Dispatches from Discord by name, replayed ones included.", "received", "event"),
    _measured("received_bytes_total", "Bytes from Discord as they came, without TLS.", "wireBytes"),
    _measured("payload_bytes_total", "The same after decompression.", "payloadBytes"),
    # --- The queue
    _total("events_accepted_total", "Dispatches taken over for delivery.", "accepted"),
    _total("events_excluded_total", "Dispatches that forward.events leaves out.", "excluded"),
    _total("events_maybe_duplicate_total", "Dispatches delivered marked maybeDuplicate.", "maybeDuplicate"),
    _total("events_lost_total", "Dispatches known to be lost: with a session, or left out of one.", "lostEvents"),
    Family(
        "events_dropped_total",
        "counter",
        "Dispatches dropped under a bound or unreadable, by name and reason.",
        ("event", "reason"),
        _dropped,
    ),
    _status("queue_events", "Dispatches not acknowledged yet.", lambda status: status.queued),
    _gauge("queue_bytes", "What they take.", "queueBytes"),
    _status("queue_disk_events", "Those of them that are on disk.", lambda status: status.stored),
    _status("queue_oldest_seconds", "Age of the oldest queued dispatch.", lambda status: status.oldest_seconds),
    _status(
        "queue_disk_failing",
        "Whether the queue cannot be written to disk at the moment.",
        lambda status: status.disk_problem is not None,
    ),
    _total("events_spilled_total", "Dispatches written to disk.", "spilled"),
    _gauge("reading_paused", "Workers that have stopped reading because of their queue.", "paused"),
    _total("reading_pauses_total", "Times that a worker stopped reading because of its queue.", "pauses"),
    # --- What goes
    _total("events_acknowledged_total", "Dispatches that the receiver acknowledged.", "acknowledged"),
    _total("events_dead_lettered_total", "Dispatches that the receiver refused for good.", "deadLettered"),
    Family(
        "delivery_latency_seconds",
        "histogram",
        "From the arrival of a dispatch to the receiver's acknowledgement.",
        histogram="latency",
    ),
    _measured("requests_total", "Requests to the receiver by outcome.", "requests", "outcome"),
    Family("request_duration_seconds", "histogram", "How long those requests took.", histogram="requestSeconds"),
    Family("batch_events", "histogram", "Dispatches in a request.", histogram="batchEvents"),
    _total("retries_total", "Requests that were to be sent again.", "retried"),
    _measured("lane_stalls_total", "Times that a lane began to try again.", "stalls"),
    _gauge("lanes_stalled", "Lanes that are trying again.", "stalledLanes"),
    _status(
        "receiver_reachable",
        "Whether the last request to the receiver was acknowledged.",
        lambda status: status.receiver.reachable,
    ),
    # --- The handover
    _status(
        "handover_held_guilds",
        "Guilds whose events are held back for a handover; absent without one.",
        lambda status: None if status.handover is None else status.handover.held_guilds,
    ),
    # --- The pod itself
    Family("event_loop_lag_seconds", "histogram", "How late a worker's event loop was.", histogram="lag"),
    _measured("hook_errors_total", "Handlers that failed, so that the default ran.", "hookErrors", "hook"),
    _measured("worker_restarts_total", "Worker processes started again.", "workerRestarts"),
)


def render_metrics(status: contract.PodStatus, measures: Measures, *, gateway: str) -> str:
    """All metrics of one pod as text."""
    picture = Picture(status, measures)
    common = {"gateway": gateway, "generation": str(status.generation)}
    lines: list[str] = []
    for family in FAMILIES:
        name = PREFIX + family.name
        lines += (f"# HELP {name} {family.help}", f"# TYPE {name} {family.kind}")
        if family.histogram is not None:
            found = measures.histograms.get(family.histogram)
            lines += () if found is None else _histogram(name, common, found)
        for values, value in family.read(picture):
            lines.append(_sample(name, {**common, **dict(zip(family.labels, values, strict=True))}, value))
    return "\n".join(lines) + "\n"


def _histogram(name: str, labels: Mapping[str, str], histogram: HistogramCounts) -> Iterator[str]:
    total = 0
    for bound, count in zip([*histogram.bounds, float("inf")], histogram.counts, strict=True):
        total += count
        yield _sample(f"{name}_bucket", {**labels, "le": _number(bound)}, total)
    yield _sample(f"{name}_sum", labels, histogram.sum)
    yield _sample(f"{name}_count", labels, total)


def _sample(name: str, labels: Mapping[str, str], value: float) -> str:
    inner = ",".join(f'{label}="{_escaped(text)}"' for label, text in labels.items())
    return f"{name}{{{inner}}} {_number(value)}"


def _number(value: float) -> str:
    if value == float("inf"):
        return "+Inf"
    return str(int(value)) if value == int(value) else repr(float(value))


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
