"""``/metrics`` of a pod in Prometheus' text format, from the pod's status."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from shard_runtime import contract

_COUNTERS = {
    "accepted": ("discord_gateway_events_accepted_total", "Dispatches taken over for delivery."),
    "acknowledged": ("discord_gateway_events_acknowledged_total", "Dispatches that the receiver acknowledged."),
    "deadLettered": ("discord_gateway_events_dead_lettered_total", "Dispatches that the receiver refused for good."),
    "maybeDuplicate": ("discord_gateway_events_maybe_duplicate_total", "Dispatches delivered marked maybeDuplicate."),
    "spilled": ("discord_gateway_events_spilled_total", "Dispatches written to disk."),
    "pauses": ("discord_gateway_reading_pauses_total", "Times that reading from Discord paused."),
    "lostSessions": ("discord_gateway_sessions_lost_total", "Sessions that Discord did not resume."),
    "lostEvents": ("discord_gateway_events_lost_total", "Dispatches known to be lost with a session, at least."),
}
_DROPPED = "dropped:"


def render_metrics(status: contract.PodStatus, *, gateway: str) -> str:
    """Gauges and counters of one pod; the labels are few and bounded."""
    labels = {"gateway": gateway, "generation": str(status.generation)}
    lines: list[str] = []
    for state in contract.ShardState:
        count = sum(shard.state is state for shard in status.shards)
        lines.append(_sample("discord_gateway_shards", {**labels, "state": state.value}, count))
    lines = ["# HELP discord_gateway_shards Shards of the pod by state.", "# TYPE discord_gateway_shards gauge", *lines]
    lines += _gauge("discord_gateway_queue_events", "Dispatches not acknowledged yet.", labels, status.queued)
    lines += _gauge(
        "discord_gateway_queue_oldest_seconds", "Age of the oldest queued dispatch.", labels, status.oldest_seconds
    )
    lines += _gauge(
        "discord_gateway_receiver_reachable",
        "Whether the last request to the receiver was acknowledged.",
        labels,
        int(status.receiver.reachable),
    )
    lines += _gauge(
        "discord_gateway_guilds", "Guilds of the pod's sessions.", labels, sum(s.guilds for s in status.shards)
    )
    for name in ("identifies", "resumes"):
        total = sum(getattr(shard, name) for shard in status.shards)
        lines += _family(f"discord_gateway_{name}_total", f"Sessions' {name}.", "counter", labels, total)
    lines += _gauge("discord_gateway_queue_disk_events", "Dispatches of the queue on disk.", labels, status.stored)
    failing = int(status.disk_problem is not None)
    lines += _gauge("discord_gateway_queue_disk_failing", "Whether the queue cannot be written.", labels, failing)
    lines += _dropped(status, labels)
    for key, (name, text) in _COUNTERS.items():
        lines += _family(name, text, "counter", labels, status.counters.get(key, 0))
    return "\n".join(lines) + "\n"


def _dropped(status: contract.PodStatus, labels: Mapping[str, str]) -> Iterator[str]:
    yield "# HELP discord_gateway_events_dropped_total Dispatches dropped under a bound, by name and reason."
    yield "# TYPE discord_gateway_events_dropped_total counter"
    found = {key: count for key, count in status.counters.items() if key.startswith(_DROPPED)}
    for key, count in sorted(found.items()):
        event, _, reason = key.removeprefix(_DROPPED).partition(":")
        yield _sample("discord_gateway_events_dropped_total", {**labels, "event": event, "reason": reason}, count)


def _gauge(name: str, text: str, labels: Mapping[str, str], value: float) -> Iterator[str]:
    return _family(name, text, "gauge", labels, value)


def _family(name: str, text: str, kind: str, labels: Mapping[str, str], value: float) -> Iterator[str]:
    yield f"# HELP {name} {text}"
    yield f"# TYPE {name} {kind}"
    yield _sample(name, labels, value)


def _sample(name: str, labels: Mapping[str, str], value: float) -> str:
    inner = ",".join(f'{label}="{_escaped(text)}"' for label, text in labels.items())
    return f"{name}{{{inner}}} {value:g}" if isinstance(value, float) else f"{name}{{{inner}}} {value}"


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
