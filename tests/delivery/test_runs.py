"""Events that come together: delivered as if they came one by one, and reading rests while too many wait."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from shard_runtime.delivery import turns
from tests.delivery.receiver import Bench, forward, payload
from tests.delivery.test_delivery import hangs, virtual
from tests.virtual.loop import run_virtual


def accept_run(bench: Bench, shard: int, count: int, *, name: str = "MESSAGE_CREATE") -> None:
    session = f"session-{shard}"
    first = bench.sequences.get(session, 0) + 1
    if first == 1:
        bench.delivery.session_started(session, 1)
    sequences = range(first, first + count)
    bench.delivery.accept_run(shard, session, first, [name] * count, [payload(number, name) for number in sequences])
    bench.sequences[session] = sequences[-1]


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"ordering": "guild"},
        {"events": {"exclude": ["TYPING_START"]}},
        {"queue": {"max_age_seconds": 60.0}},
        {"queue": {"max_events": 40, "overflow": "DropNewest"}},
        {"queue": {"max_bytes": 15_000}},
        {"max_batch_bytes": 500},
        {"format": "single"},
    ],
    ids=str,
)
def test_a_run_is_delivered_as_its_events_would_be(changes: dict[str, Any]) -> None:
    async def story(*, runs: bool) -> tuple[list[bytes], list[int | None], dict[str, int]]:
        bench = Bench(forward(lanes=2, **changes))
        for count, name in ((1, "MESSAGE_CREATE"), (30, "MESSAGE_CREATE"), (2, "TYPING_START"), (20, "MESSAGE_UPDATE")):
            for shard in range(3):
                if runs:
                    accept_run(bench, shard, count, name=name)
                else:
                    for _ in range(count):
                        bench.accept(shard, name=name)
        bench.start()
        assert await bench.delivery.drain(60)
        await bench.stop()
        watermarks = [bench.watermark(shard) for shard in range(3)]
        return [request.body for request in bench.receiver.requests], watermarks, bench.delivery.counters

    async def both() -> None:
        assert await story(runs=True) == await story(runs=False)

    run_virtual(both())


@virtual
async def test_reading_rests_while_more_waits_than_the_lanes_can_take() -> None:
    bench = Bench(forward(), pauses=True)
    bench.start()
    for shard in range(4):
        accept_run(bench, shard, bench.delivery._deep // 4)
    assert not bench.paused
    accept_run(bench, 0, 1)
    assert bench.paused
    await asyncio.sleep(turns.REST_SECONDS * 0.9)
    assert not bench.paused, "the receiver has acknowledged half of it"
    assert await bench.delivery.drain(5)
    await bench.stop()


@virtual
async def test_a_receiver_that_is_slow_or_away_does_not_slow_reading_down() -> None:
    bench = Bench(forward(), pauses=True)
    bench.receiver.answer = hangs
    bench.start()
    accept_run(bench, 0, bench.delivery._deep + 1)
    assert bench.paused
    await asyncio.sleep(turns.REST_SECONDS + 0.0001)
    assert not bench.paused, "a rest has an end"
    accept_run(bench, 0, 100)
    assert not bench.paused, "and reading its turn"
    await asyncio.sleep(turns.READ_SECONDS)
    accept_run(bench, 0, 100)
    assert bench.paused
    await bench.stop()
