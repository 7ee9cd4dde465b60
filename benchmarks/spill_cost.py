"""What the disk costs: a worker's queue while the receiver is away, and while it drains.

Run with ``python benchmarks/spill_cost.py [events per second] [seconds]``. Events of about 0.9 KB in 16 shards are
accepted at a pace, with a receiver that answers 503; then it acknowledges at once. Reported are CPU per event, the
longest time for which the event loop was held up, what the process takes in memory, and how fast the disk is read.
"""

from __future__ import annotations

import asyncio
import random
import resource
import sys
import tempfile
import time
from pathlib import Path

from in_process import Receiver, messages

from shard_runtime import contract
from shard_runtime.connection.clock import SystemClock
from shard_runtime.delivery import Delivery, Origin
from shard_runtime.memory import give_back_memory
from shard_runtime.spill_store import SqliteSpill

SHARDS = 16


def resident() -> float:
    """Megabytes of this process that are resident now."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize() / 1e6


class Lag:
    """How long the event loop was held up at most."""

    def __init__(self) -> None:
        self.longest = 0.0

    async def run(self) -> None:
        while True:
            before = time.monotonic()
            await asyncio.sleep(0.001)
            self.longest = max(self.longest, time.monotonic() - before - 0.001)


async def main(rate: int, seconds: int, folder: Path) -> None:
    receiver, lag, paused = Receiver(503), Lag(), [False]

    def pause(wanted: bool) -> None:
        paused[0] = wanted

    delivery = Delivery(
        origin=Origin("bench", 1, SHARDS),
        forward=contract.ForwardConfig(url="http://127.0.0.1/", queue=contract.QueueBounds(max_bytes=20 << 30)),
        network=receiver,
        clock=SystemClock(),
        chance=random.Random(1),
        log=lambda level, sentence: print(f"  ({sentence})"),
        spill=SqliteSpill(folder / "spill.sqlite"),
        replay_events=lambda shard: 3500,
        replay_seconds=lambda: 3500 / (rate / SHARDS),
        pause=pause,
    )
    running = [asyncio.create_task(delivery.run()), asyncio.create_task(lag.run())]
    payloads = messages(1000)
    sessions = [f"session{shard:02}" * 3 for shard in range(SHARDS)]
    for session in sessions:
        delivery.session_started(session, 1)
    before, cpu, started, sent, largest = resident(), time.process_time(), time.monotonic(), 0, 0.0
    while time.monotonic() - started < seconds:
        while not paused[0] and sent < (time.monotonic() - started) * rate:
            shard = sent % SHARDS
            # a payload of its own, as from a socket
            payload = bytes(bytearray(payloads[sent % 1000]))
            delivery.accept(shard, sessions[shard], sent // SHARDS + 1, "MESSAGE_CREATE", payload)
            sent += 1
            if sent % 200 == 0:
                await asyncio.sleep(0)
        largest = max(largest, resident())
        await asyncio.sleep(0.002)
    elapsed = time.monotonic() - started
    used = time.process_time() - cpu
    print(
        f"away: {sent / elapsed:,.0f} events/s for {elapsed:.0f} s, {used / sent * 1e6:.1f} µs of CPU each; "
        f"{delivery.stored:,} of {sent:,} on disk; {before:.0f} MB before, {largest:.0f} MB at most; "
        f"loop held up for {lag.longest * 1000:.0f} ms at most; {delivery.counters['pauses']} pauses"
    )
    lag.longest, receiver.status = 0.0, 200
    cpu, started = time.process_time(), time.monotonic()
    assert await delivery.drain(600)
    elapsed = time.monotonic() - started
    used = time.process_time() - cpu
    give_back_memory()
    print(
        f"drain: {sent / elapsed:,.0f} events/s, {used / sent * 1e6:.1f} µs of CPU each; "
        f"{resident():.0f} MB; loop held up for {lag.longest * 1000:.0f} ms at most"
    )
    for task in running:
        task.cancel()


if __name__ == "__main__":
    arguments = [int(argument) for argument in sys.argv[1:]]
    with tempfile.TemporaryDirectory(dir="/var/tmp") as place:
        asyncio.run(main(*(arguments or [10_000, 20]), Path(place)))
