"""CPU time that the delivery takes for one event, without a network: accept, batch, join, acknowledge.

Run with ``python benchmarks/delivery_cost.py``. The receiver is a function that acknowledges at once, so what is left
is what every event costs besides HTTP (which is shared by a batch).
"""

from __future__ import annotations

import asyncio
import random
import time

from in_process import Receiver, messages

from shard_runtime import contract
from shard_runtime.connection.clock import SystemClock
from shard_runtime.delivery import Delivery, Origin
from shard_runtime.handover.keys import Place
from shard_runtime.handover.window import Window

EVENTS = 200_000
SHARDS = 16


async def measure(*, window: Window | None) -> tuple[float, float]:
    delivery = Delivery(
        origin=Origin("bench", 1, SHARDS),
        forward=contract.ForwardConfig(url="http://127.0.0.1/"),
        network=Receiver(200),
        clock=SystemClock(),
        chance=random.Random(1),
        log=print,
    )
    running = asyncio.create_task(delivery.run())
    await asyncio.sleep(0.01)
    payloads = messages(1000)
    for shard in range(SHARDS):
        delivery.session_started(f"session{shard:02}" * 3, 1)
    sessions = [f"session{shard:02}" * 3 for shard in range(SHARDS)]
    started = time.process_time()
    accepting = 0.0
    sent = 0
    while sent < EVENTS:
        before = time.process_time()
        for _ in range(512):
            shard = sent % SHARDS
            payload = payloads[sent % 1000]
            delivery.accept(shard, sessions[shard], sent // SHARDS + 1, "MESSAGE_CREATE", payload)
            if window is not None:
                window.record(Place(sent % 1000 << 22), "MESSAGE_CREATE", payload, sent)
            sent += 1
        accepting += time.process_time() - before
        await asyncio.sleep(0)
    assert await delivery.drain(30)
    total = time.process_time() - started
    running.cancel()
    assert delivery.counters["acknowledged"] == sent
    return accepting / sent * 1e6, total / sent * 1e6


if __name__ == "__main__":
    for title, window in (("without a target", None), ("recording a window", Window(since=0, overlap_seconds=10))):
        accept, total = asyncio.run(measure(window=window))
        print(f"{title}: {accept:.2f} µs to accept an event, {total:.2f} µs in all")
