"""The tables of ``docs/benchmarks.md``, from the JSON of the runs: no number there is written by hand."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

_TARGETS: Final = {"none": 350_000, "zlib-stream": 150_000, "zstd-stream": 175_000}
_FURTHER_SHARD: Final = {"none": 0.1, "zlib-stream": 0.15, "zstd-stream": 0.35}


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table, the first column left, the others right."""
    lines = ["| " + " | ".join(head) + " |", "|---" + "|--:" * (len(head) - 1) + "|"]
    return "\n".join([*lines, *("| " + " | ".join(row) + " |" for row in rows)])


def measured(part: Mapping[str, Any]) -> str:
    """One sentence on the circumstances of a part of a run."""
    now = part["circumstances"]
    packages = ", ".join(f"{name} {version}" for name, version in now["packages"].items())
    return (
        f"Measured {now['at']}, commit `{now['commit']}`, {now['cpu']} at {now['megahertz']} MHz, {now['cores']} "
        f"cores, Linux {now['kernel']}, Python {now['python']} ({packages}). "
        f"Load average when it began: {now['load_before']:g}."
    )


def thousands(value: float) -> str:
    return f"{value / 1000:,.0f}k" if value >= 10_000 else f"{value / 1000:,.1f}k"


def bench_tables(result: Mapping[str, Any]) -> str:
    """All parts of a run of ``run.py`` that *result* has."""
    makers = {"speed": _speed, "steady": _steady, "memory": _memory}
    return "\n\n".join(
        f"{make(result[name]['results'])}\n\n{measured(result[name])}"
        for name, make in makers.items()
        if name in result
    )


def operator_tables(result: Mapping[str, Any]) -> str:
    """What one operator costs."""
    large, many = result["results"]["large"], result["results"]["many"]
    rows = [
        (
            f"one gateway of {large['shards']:,} shards: a pass, median (most)",
            "2 s",
            f"{large['passSecondsMedian']:.3f} s ({large['passSecondsMost']:.3f} s)",
        ),
        ("the same until it is READY: no pass took longer than", "2 s", f"{large['passSecondsUntilReadyMost']:g} s"),
        (f"{many['gateways']} gateways at rest: memory", "300 MB", f"{many['megabytes']:.0f} MB"),
        ("the same: of a core", "0.5", f"{many['cores']:.3f}"),
        ("the same: calls a second to the API server", "", f"{many['apiCallsPerSecond']:.0f}"),
        ("the same: of these, writes", "", f"{many['apiWritesPerSecond']:.2f}"),
    ]
    return f"{table(('what', 'at most', 'measured'), rows)}\n\n{measured(result)}"


def _speed(results: Mapping[str, Any]) -> str:
    head = (
        "compression",
        "target",
        "one worker",
        "all runs",
        "two workers, each",
        "events a request",
        "read and discard",
        "the same with inflating",
        "pod / discard",
        "bytes of a payload, on the wire",
    )
    rows = []
    for name, found in results.items():
        best = found["best"]
        inflated = best.get("inflate_and_discard")
        rows.append(
            (
                name,
                thousands(_TARGETS[name]),
                f"**{thousands(best['pod'])}**",
                ", ".join(thousands(value) for value in found["pod"]),
                f"{thousands(best['two_workers'])} ({found['per_worker']:.2f})",
                f"{sum(found['events_a_request']) / len(found['events_a_request']):.0f}",
                thousands(best["discard"]),
                "" if inflated is None else thousands(inflated),
                f"{found['ratio']:.2f}" + ("" if inflated is None else f" ({best['pod'] / inflated:.2f})"),
                f"{found['payload_bytes']}, {found['wire_bytes']}",
            )
        )
    return table(head, rows)


def _steady(results: Mapping[str, Any]) -> str:
    head = ("events/s, compression", "of a core", "p50 ms", "p99 ms", "longest ms", "events a request")
    return table(
        head,
        (
            (
                name,
                f"{found['core']:.1%}",
                f"{found['p50']:.2f}",
                f"{found['p99']:.2f}",
                f"{found['max']:.1f}",
                f"{found['events_a_request']:.1f}",
            )
            for name, found in results.items()
        ),
    )


def _memory(results: Mapping[str, Any]) -> str:
    head = (
        "compression",
        "16 idle shards",
        "after some hundred events each",
        "each further shard (target)",
        "the same after events",
        "largest during a burst",
        "10 s after it",
    )
    rows = [
        (
            name,
            f"{found['idle_16']:.1f}",
            f"{found['idle_16_warm']:.1f}",
            f"{found['further_shard']:.3f} ({_FURTHER_SHARD[name]:g})",
            f"{found['further_shard_warm']:.3f}",
            f"{found['burst']['peak']:.0f}",
            f"{found['burst']['after_10_s']:.0f}",
        )
        for name, found in results.items()
        if name != "stalled_receiver"
    ]
    stalled = results["stalled_receiver"]
    return table(head, rows) + (
        f"\n\nA receiver that stops answering, with a queue bound of {stalled['bound']:.0f} MB: at most "
        f"{stalled['peak']:.0f} MB during the burst, {stalled['after']:.0f} MB after it, "
        f"{stalled['queued']:,.0f} events queued."
    )
