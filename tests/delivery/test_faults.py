"""Whatever the receiver does, nothing accepted is lost, order holds, and the watermark never skips. From seeds."""

from __future__ import annotations

import asyncio
import random
from dataclasses import dataclass, field

import pytest

from shard_runtime.ports import NetworkError, Response
from tests.delivery.receiver import Bench, Request, forward, status
from tests.virtual.loop import run_virtual

SHARDS = 6


@dataclass
class Troubled:
    """Answers at random: acknowledges, fails, hangs, processes a request and loses the answer, takes its time."""

    chance: random.Random
    committed: list[tuple[str, int]] = field(default_factory=list)
    """What the receiver processed, in order; repeated where an answer was lost."""
    healthy: bool = False

    async def __call__(self, request: Request) -> Response:
        await asyncio.sleep(self.chance.expovariate(200))
        draw = 1.0 if self.healthy else self.chance.random()
        if draw < 0.1:
            await asyncio.Event().wait()
        if draw < 0.2:
            raise NetworkError("connection reset")
        if draw < 0.35:
            return status(self.chance.choice([301, 401, 404, 429, 500, 503]), retry_after="1")
        if draw < 0.4:
            return status(self.chance.choice([400, 413, 422]))
        self.committed.extend((entry["session"], entry["payload"]["s"]) for entry in request.entries)
        if draw < 0.5:
            raise NetworkError("the answer was lost")
        return status(200)


@pytest.mark.parametrize("seed", range(25))
def test_nothing_is_lost_and_order_holds_whatever_the_receiver_does(seed: int) -> None:
    run_virtual(_scenario(seed, restarts=seed % 3 == 0))


async def _scenario(seed: int, *, restarts: bool) -> None:
    chance = random.Random(seed)
    receiver = Troubled(chance)
    bench = Bench(
        forward(lanes=chance.randint(1, 4), max_batch_events=chance.choice([3, 20, 256]), timeout_seconds=2), seed
    )
    bench.receiver.answer = receiver
    bench.start()
    acknowledged: set[tuple[str, int]] = set()
    skipped: set[tuple[str, int]] = set()

    def check_watermarks() -> None:
        acknowledged.clear()
        acknowledged.update(bench.receiver.received())
        for shard in range(SHARDS):
            session, watermark = f"session-{shard}", bench.watermark(shard)
            if watermark is not None:
                below = {(session, sequence) for sequence in range(1, watermark + 1)}
                assert below <= acknowledged | skipped

    for _ in range(300):
        for _ in range(chance.randint(0, 10)):
            shard = chance.randrange(SHARDS)
            sequence = bench.accept(shard)
            if chance.random() < 0.1:
                bench.sequences[f"session-{shard}"] = sequence + 1
                bench.delivery.skip(f"session-{shard}", sequence + 1)
                skipped.add((f"session-{shard}", sequence + 1))
        await asyncio.sleep(chance.expovariate(50))
        check_watermarks()
        if chance.random() < 0.02:
            bench.delivery.reconfigure(forward(lanes=chance.randint(1, 4), timeout_seconds=2))
        if restarts and chance.random() < 0.02:
            await bench.stop()
            bench.start()
    receiver.healthy = True
    assert await bench.delivery.drain(120)
    check_watermarks()
    assert bench.delivery.counters["acknowledged"] == bench.delivery.counters["accepted"]
    for shard in range(SHARDS):
        session = f"session-{shard}"
        sent = [seq for seq in range(1, bench.sequences[session] + 1) if (session, seq) not in skipped]
        first_seen = list(dict.fromkeys(seq for owner, seq in receiver.committed if owner == session))
        assert first_seen == sent
        assert bench.watermark(shard) == bench.sequences[session]
    await bench.stop()
