"""When a lane waits for more events, and when it does not: on virtual time."""

from __future__ import annotations

import asyncio
import random
from typing import Any

import pytest

from shard_runtime.delivery.company import REQUESTS_LOOKED_AT
from tests.delivery.receiver import Bench, forward
from tests.delivery.test_delivery import virtual
from tests.virtual.loop import run_virtual

DELAY = 0.005
ANSWER = 0.001
"""Seconds that the receiver takes."""


def one_lane(**changes: Any) -> Bench:
    return Bench(forward(lanes=1, max_delay_milliseconds=DELAY * 1000, **changes))


async def waits(rate: float, events: int) -> tuple[list[float], float]:
    """How long each event waited for its request, at random moments, and how many a request carried."""
    loop, chance, bench = asyncio.get_running_loop(), random.Random(round(rate)), one_lane()
    bench.start()
    accepted = []
    for _ in range(events):
        await asyncio.sleep(chance.expovariate(rate))
        accepted.append(loop.time())
        bench.accept()
    assert await bench.delivery.drain(1)
    assert bench.receiver.received() == [("session-0", sequence) for sequence in range(1, events + 1)]
    made = [request.at for request in bench.receiver.requests for _ in request.entries]
    return [sent - came for sent, came in zip(made, accepted, strict=True)], events / len(bench.receiver.requests)


@pytest.mark.parametrize("rate", [5, 40])
def test_at_a_low_rate_no_event_waits_for_another(rate: int) -> None:
    waited, _ = run_virtual(waits(rate, 3000))
    assert max(waited) <= ANSWER + 1e-6, "only for the answer to the request before"


@pytest.mark.parametrize(("rate", "least"), [(1250, 6.0), (5000, 20.0)])
def test_at_a_high_rate_a_request_carries_many_and_none_waits_longer_than_the_bound(rate: int, least: float) -> None:
    waited, events_a_request = run_virtual(waits(rate, 5000))
    assert events_a_request >= least
    assert max(waited) <= DELAY + 1e-6


async def busy(bench: Bench) -> None:
    """Let the lane have seen a high rate, and be waiting for company with one event."""
    bench.start()
    for _ in range(20 * REQUESTS_LOOKED_AT):
        bench.accept()
        await asyncio.sleep(0.0005)
    assert await bench.delivery.drain(1)
    before = len(bench.receiver.requests)
    bench.accept()
    await asyncio.sleep(0.0001)
    assert len(bench.receiver.requests) == before, "it waits for company"


@virtual
async def test_when_the_rate_falls_the_next_event_is_sent_at_once() -> None:
    bench = one_lane()
    await busy(bench)
    await asyncio.sleep(1)
    before = len(bench.receiver.requests)
    for event in range(1, 5):
        bench.accept()
        await asyncio.sleep(0.004)
        assert len(bench.receiver.requests) == before + event


@virtual
async def test_a_full_batch_goes_at_once() -> None:
    bench = one_lane(max_batch_events=10)
    await busy(bench)
    before = len(bench.receiver.requests)
    for _ in range(9):
        bench.accept()
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert [len(request.entries) for request in bench.receiver.requests[before:]] == [10]


@virtual
async def test_whoever_waits_for_an_empty_queue_waits_for_no_company() -> None:
    bench = one_lane()
    await busy(bench)
    began = asyncio.get_running_loop().time()
    assert await bench.delivery.drain(1)
    assert asyncio.get_running_loop().time() - began <= ANSWER + 1e-6


@virtual
async def test_lanes_that_are_replaced_wait_for_no_company() -> None:
    bench = one_lane()
    await busy(bench)
    bench.delivery.reconfigure(forward(lanes=3))
    await asyncio.sleep(1.1 * ANSWER)
    assert not bench.delivery.queued


@virtual
async def test_in_a_handover_nobody_waits_for_company() -> None:
    """The other side waits for what was accepted here to be acknowledged."""
    bench = one_lane()
    await busy(bench)
    bench.delivery.track_guilds(True)
    await asyncio.sleep(1.1 * ANSWER)
    assert not bench.delivery.queued
    before = len(bench.receiver.requests)
    for event in range(1, 10):
        bench.accept()
        await asyncio.sleep(0.0015)
        assert len(bench.receiver.requests) == before + event
