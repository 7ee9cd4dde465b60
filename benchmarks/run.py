"""``make bench``: what an event costs a pod, how long it takes, and what a pod weighs.

Everything in one run against a generator and a receiver that do next to nothing, so that the numbers of one table
belong together: a table on stderr, one JSON object in ``--out`` (stdout without it). CPU time is that of the whole pod
(supervisor and workers), so it is robust where the machine is shared; each throughput is the best of several, and those
that are compared take turns. Latencies and memory are what they were. ``--only speed`` (or ``steady``, ``memory``) runs
a part and, with ``--out``, replaces that part of an earlier run.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, Final

from parts import Measure, measure_parts, say
from pod import Pod, until
from processes import HERE, Helper
from tables import bench_tables

from shard_runtime import contract
from shard_runtime.protocol.guilds import SETTLE_SECONDS

SHARDS: Final = 16
COMPRESSIONS: Final = ("none", "zlib-stream", "zstd-stream")
REPEATS: Final = 5
STEADY_SECONDS: Final = 6.0
MORE_SHARDS: Final = 128
WARM_EVENTS: Final = 400


# --- Speed ------------------------------------------------------------------------------------------------------------


def generator_for(compression: str, *, shards: int = SHARDS, events: int) -> Helper:
    return Helper("generator.py", "--shards", str(shards), "--compression", compression, "--events", str(events))


def burst(generator: Helper, *, compression: str, events: int, workers: int) -> tuple[float, float]:
    """Events per CPU-second of a fresh pod, every event acknowledged, and events in a request."""
    with (
        Helper("sink.py") as sink,
        Pod(generator=generator, receiver=sink, compression=compression, workers=workers) as pod,
    ):
        before = sink.ask("count")
        cpu = pod.cpu_seconds
        generator.ask("burst")
        wanted = before["events"] + events * SHARDS
        until(lambda: sink.ask("count")["events"] >= wanted, what="all events acknowledged", every=0.1)
        cpu = pod.cpu_seconds - cpu
        until(lambda: pod.delivered(events), what="watermarks at the end", seconds=5)
        after = sink.ask("count")
    requests, count = after["requests"] - before["requests"], after["events"] - before["events"]
    assert count == events * SHARDS, f"{count} events instead of {events * SHARDS}"
    # an entry for each event, one byte for each request: see delivery/batches.py
    heads = sum(len(f'}},{{"shard":{shard},"session":"","payload":') + 32 for shard in range(SHARDS)) * events
    assert after["bytes"] - before["bytes"] == generator.hello["body_bytes"] + heads + requests
    say(f"  {compression}, {workers} worker(s): {count / cpu:,.0f} events/CPU-s, {count / requests:.0f} a request")
    return count / cpu, count / requests


def discard(generator: Helper, *, events: int, inflate: str | None) -> float:
    """Events per CPU-second of a program that only reads."""
    command = [sys.executable, str(HERE / "discard.py"), generator.hello["url"], str(SHARDS), str(events * SHARDS)]
    with subprocess.Popen([*command, *([inflate] if inflate else [])], stdout=subprocess.PIPE, text=True) as program:
        assert program.stdout is not None
        program.stdout.readline()
        generator.ask("burst")
        return events * SHARDS / float(program.stdout.readline())


def speed(*, events: int, repeats: int, compressions: tuple[str, ...]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for compression in compressions:
        with generator_for(compression, events=events) as generator:
            say(
                f"  {compression}: {generator.hello['payload_bytes']:.0f} bytes, "
                f"{generator.hello['wire_bytes']:.0f} on the wire"
            )
            one, two, discarded, inflated = [], [], [], []
            for _ in range(repeats):
                one.append(burst(generator, compression=compression, events=events, workers=1))
                two.append(burst(generator, compression=compression, events=events, workers=2))
                discarded.append(discard(generator, events=events, inflate=None))
                if compression != "none":
                    inflated.append(discard(generator, events=events, inflate=compression))
            result: dict[str, Any] = {
                "payload_bytes": round(generator.hello["payload_bytes"]),
                "wire_bytes": round(generator.hello["wire_bytes"]),
                "pod": [rate for rate, _ in one],
                "two_workers": [rate for rate, _ in two],
                "events_a_request": [size for _, size in one],
                "discard": discarded,
                **({"inflate_and_discard": inflated} if inflated else {}),
            }
        best = {name: max(result[name]) for name in result if isinstance(result[name], list)}
        result |= {
            "best": best,
            "ratio": best["pod"] / best["discard"],
            "per_worker": best["two_workers"] / best["pod"],
        }
        found[compression] = result
    return found


# --- A steady rate ----------------------------------------------------------------------------------------------------


def quantile(values: list[float], share: float) -> float:
    return sorted(values)[min(len(values) - 1, int(len(values) * share))]


def steady(rate: float, *, compression: str) -> dict[str, Any]:
    """Share of a core and latency, from the generator's write to the receiver's answer."""
    with (
        generator_for(compression, events=0) as generator,
        Helper("sink.py", "--timed") as sink,
        Pod(generator=generator, receiver=sink, compression=compression) as pod,
    ):
        generator.ask(f"steady {rate} 1")
        time.sleep(0.2)
        sink.ask("latencies")
        requests = sink.ask("count")["requests"]
        cpu, began = pod.cpu_seconds, time.monotonic()
        sent = generator.ask(f"steady {rate} {STEADY_SECONDS}")["sent"]
        share = (pod.cpu_seconds - cpu) / (time.monotonic() - began)
        time.sleep(0.3)
        latencies = sink.ask("latencies")["milliseconds"]
        requests = sink.ask("count")["requests"] - requests
        assert len(latencies) == sent, f"{len(latencies)} of {sent} arrived"
    result = {
        "core": share,
        "p50": quantile(latencies, 0.5),
        "p99": quantile(latencies, 0.99),
        "max": max(latencies),
        "events_a_request": sent / requests,
    }
    say(f"  {compression}, {rate:g} events/s: " + ", ".join(f"{name} {value:.3f}" for name, value in result.items()))
    return result


# --- Memory -----------------------------------------------------------------------------------------------------------


def idle(*, shards: int, compression: str) -> tuple[float, float]:
    """PSS of a pod whose shards have settled after READY, and after each has seen some hundred events."""
    with (
        generator_for(compression, shards=shards, events=WARM_EVENTS) as generator,
        Helper("sink.py") as sink,
        Pod(generator=generator, receiver=sink, compression=compression, shards=shards) as pod,
    ):
        time.sleep(SETTLE_SECONDS + 1.0)
        fresh = pod.pss_megabytes
        generator.ask("burst")
        until(lambda: pod.delivered(WARM_EVENTS), what="warm", seconds=120, every=0.2)
        time.sleep(1.0)
        return fresh, pod.pss_megabytes


def after_burst(*, compression: str, events: int) -> dict[str, float]:
    with (
        generator_for(compression, events=events) as generator,
        Helper("sink.py") as sink,
        Pod(generator=generator, receiver=sink, compression=compression) as pod,
    ):
        generator.ask("burst")
        peak = 0.0

        def done() -> bool:
            nonlocal peak
            peak = max(peak, pod.pss_megabytes)
            return pod.delivered(events)

        until(done, what="the burst is delivered", every=0.05)
        time.sleep(10.0)
        return {"peak": peak, "after_10_s": pod.pss_megabytes}


def stalled(*, compression: str, events: int, bound: int) -> dict[str, float]:
    """A receiver that stops answering, and more events than the queue may hold."""
    with (
        generator_for(compression, events=events) as generator,
        Helper("sink.py") as sink,
    ):
        forward = contract.ForwardConfig(
            url=sink.hello["url"], queue=contract.QueueBounds(max_bytes=bound), timeout_seconds=60.0
        )
        with Pod(generator=generator, receiver=sink, compression=compression, forward=forward) as pod:
            sink.ask("stall")
            generator.ask("burst")
            peak = 0.0

            def received_all() -> bool:
                nonlocal peak
                peak = max(peak, pod.pss_megabytes)
                return all(shard.sequence == events + 1 for shard in pod.status().shards)

            until(received_all, what="the burst is received", every=0.05)
            return {"bound": bound / 1e6, "peak": peak, "after": pod.pss_megabytes, "queued": pod.status().queued}


def memory(*, events: int) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for compression in COMPRESSIONS:
        few, few_warm = idle(shards=SHARDS, compression=compression)
        many, many_warm = idle(shards=SHARDS + MORE_SHARDS, compression=compression)
        found[compression] = {
            "idle_16": few,
            "idle_16_warm": few_warm,
            "further_shard": (many - few) / MORE_SHARDS,
            "further_shard_warm": (many_warm - few_warm) / MORE_SHARDS,
            "burst": after_burst(compression=compression, events=events),
        }
        say(f"  {compression}: {json.dumps(found[compression])}")
    found["stalled_receiver"] = stalled(compression="zstd-stream", events=events, bound=64 << 20)
    say(f"  stalled receiver: {json.dumps(found['stalled_receiver'])}")
    return found


# --- The run ----------------------------------------------------------------------------------------------------------


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", choices=("speed", "steady", "memory"))
    parser.add_argument("--events", type=int, default=20_000, help="of each shard in a burst")
    parser.add_argument("--repeats", type=int, default=REPEATS)
    parser.add_argument("--compression", choices=COMPRESSIONS, help="of the speed measurements; all without it")
    parser.add_argument("--out", type=Path, help="file for the JSON")
    arguments = parser.parse_args()
    compressions = (arguments.compression,) if arguments.compression else COMPRESSIONS
    parts: dict[str, Measure] = {
        "speed": lambda: speed(events=arguments.events, repeats=arguments.repeats, compressions=compressions),
        "steady": lambda: {
            f"{rate}/s {compression}": steady(rate, compression=compression)
            for rate in (5000, 200)
            for compression in compressions
        },
        "memory": lambda: memory(events=arguments.events),
    }
    measure_parts(parts, only=arguments.only, out=arguments.out, tables=bench_tables)


if __name__ == "__main__":
    main()
