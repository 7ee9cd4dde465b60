"""What the peers cost: events per CPU-second of a burst, latency and CPU at a steady rate, memory at rest.

Each against the same generator and the same receiver, one after another in the same run. The runtime's own pod goes
through the same as ``Ours``; it has no mode ``receive``, since it never only receives.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, Final

from parts import say
from peer_programs import PEERS, Peer, Program
from pod import Pod, until
from processes import Helper

from shard_runtime import contract

SHARDS: Final = 16
COMPRESSIONS: Final = ("none", "zlib-stream", "zstd-stream")
LARGEST_BURST: Final = 20_000
OURS: Final = "this runtime"
OUR_BURSTS: Final = {"single": 2500, "batch": LARGEST_BURST}
STEADY_RATE: Final = 1000
STEADY_SECONDS: Final = 6.0
SETTLE_SECONDS: Final = 3.0
"""After all shards are READY, until a program that has been told of 16,000 guilds has nothing more to do with them."""
IDLE_SECONDS: Final = 4.0
COMMON: Final = "zlib-stream"
"""The compression that all of them know."""
BURST_SECONDS: Final = 120.0


def generator_for(compression: str, *, shards: int, events: int) -> Helper:
    return Helper("generator.py", "--shards", str(shards), "--compression", compression, "--events", str(events))


def program(peer: Peer, generator: Helper, sink: Helper, **wanted: Any) -> Program:
    url = generator.hello["url"]
    api = url.replace("ws://", "http://") + "/api/v10"
    return Program(peer, api=api, gateway=url, receiver=sink.hello["url"], **wanted)


def settled(generator: Helper, shards: int) -> None:
    until(lambda: generator.ask("ready")["ready"] == shards, what="all shards READY", every=0.1)
    time.sleep(SETTLE_SECONDS)


# --- A burst ----------------------------------------------------------------------------------------------------------


def _received(running: Program, generator: Helper, events: int) -> float:
    cpu = running.cpu_seconds
    generator.ask(f"burst {events}")
    running.hear()
    return running.cpu_seconds - cpu


def _forwarded(running: Program | Pod, generator: Helper, sink: Helper, events: int) -> float:
    wanted = sink.ask("count")["events"] + events * SHARDS
    cpu = running.cpu_seconds
    generator.ask(f"burst {events}")
    until(lambda: sink.ask("count")["events"] >= wanted, what="all forwarded", seconds=BURST_SECONDS, every=0.05)
    return running.cpu_seconds - cpu


def _peer_burst(peer: Peer, generator: Helper, *, compression: str, mode: str) -> float:
    events = peer.bursts[mode]
    wanted = {"compression": compression, "shards": SHARDS, "mode": mode, "events": events * SHARDS}
    with Helper("sink.py") as sink, program(peer, generator, sink, **wanted) as running:
        settled(generator, SHARDS)
        if mode == "receive":
            return events * SHARDS / _received(running, generator, events)
        return events * SHARDS / _forwarded(running, generator, sink, events)


def _our_burst(generator: Helper, *, compression: str, mode: str) -> float:
    events = OUR_BURSTS[mode]
    with Helper("sink.py") as sink, _pod(generator, sink, compression=compression, mode=mode) as running:
        return events * SHARDS / _forwarded(running, generator, sink, events)


def _pod(generator: Helper, sink: Helper, *, compression: str, mode: str = "batch", shards: int = SHARDS) -> Pod:
    forward = contract.ForwardConfig(url=sink.hello["url"], format=mode)
    return Pod(generator=generator, receiver=sink, compression=compression, forward=forward, shards=shards)


def speed(*, repeats: int) -> dict[str, Any]:
    """Best of *repeats*, by name, compression and mode."""
    found: dict[str, dict[str, dict[str, float]]] = {}

    def measure(name: str, compression: str, mode: str, once: Callable[[], float]) -> None:
        best = max(once() for _ in range(repeats))
        say(f"  {name}, {compression}, {mode}: {best:,.0f} events/CPU-s")
        found.setdefault(name, {}).setdefault(compression, {})[mode] = best

    for compression in COMPRESSIONS:
        with generator_for(compression, shards=SHARDS, events=LARGEST_BURST) as generator:
            for peer in PEERS:
                for mode in peer.bursts if compression in peer.compressions else ():
                    options: dict[str, Any] = {"compression": compression, "mode": mode}
                    measure(peer.name, compression, mode, lambda: _peer_burst(peer, generator, **options))  # noqa: B023
            for mode in OUR_BURSTS:
                options = {"compression": compression, "mode": mode}
                measure(OURS, compression, mode, lambda: _our_burst(generator, **options))  # noqa: B023
    return found


# --- A steady rate ----------------------------------------------------------------------------------------------------


def _steady(running: Program | Pod, generator: Helper, sink: Helper) -> dict[str, float]:
    generator.ask(f"steady {STEADY_RATE} 2")
    time.sleep(0.5)
    sink.ask("latencies")
    cpu, began = running.cpu_seconds, time.monotonic()
    sent = generator.ask(f"steady {STEADY_RATE} {STEADY_SECONDS}")["sent"]
    share = (running.cpu_seconds - cpu) / (time.monotonic() - began)
    time.sleep(1.0)
    latencies = sorted(sink.ask("latencies")["milliseconds"])
    return {
        "core": share,
        "p50": latencies[len(latencies) // 2],
        "p99": latencies[len(latencies) * 99 // 100],
        "arrived": len(latencies) / sent,
    }


def steady() -> dict[str, Any]:
    """By name and mode."""
    found: dict[str, dict[str, dict[str, float]]] = {}

    def keep(name: str, mode: str, result: dict[str, float]) -> None:
        say(f"  {name}, {mode}: " + ", ".join(f"{key} {value:.3f}" for key, value in result.items()))
        found.setdefault(name, {})[mode] = result

    for mode in ("single", "batch"):
        for peer in PEERS:
            with (
                generator_for(COMMON, shards=SHARDS, events=0) as generator,
                Helper("sink.py", "--timed") as sink,
                program(peer, generator, sink, compression=COMMON, shards=SHARDS, mode=mode) as running,
            ):
                settled(generator, SHARDS)
                keep(peer.name, mode, _steady(running, generator, sink))
        with (
            generator_for(COMMON, shards=SHARDS, events=0) as generator,
            Helper("sink.py", "--timed") as sink,
            _pod(generator, sink, compression=COMMON, mode=mode) as pod,
        ):
            keep(OURS, mode, _steady(pod, generator, sink))
    return found


# --- Memory -----------------------------------------------------------------------------------------------------------


def memory() -> dict[str, Any]:
    """RSS and PSS in MB, by name and number of shards; every shard's READY lists a thousand guilds."""
    found: dict[str, dict[str, dict[str, float]]] = {}

    def keep(name: str, shards: int, running: Program | Pod) -> None:
        time.sleep(IDLE_SECONDS)
        result = {"rss": running.rss_megabytes, "pss": running.pss_megabytes}
        say(f"  {name}, {shards} shards: {result['rss']:.0f} MB RSS, {result['pss']:.0f} MB PSS")
        found.setdefault(name, {})[str(shards)] = result

    for shards in (16, 256):
        with generator_for(COMMON, shards=shards, events=0) as generator, Helper("sink.py") as sink:
            for peer in PEERS:
                with program(peer, generator, sink, compression=COMMON, shards=shards, mode="receive") as running:
                    settled(generator, shards)
                    keep(peer.name, shards, running)
            with _pod(generator, sink, compression=COMMON, shards=shards) as pod:
                keep(OURS, shards, pod)
    return found
