"""``ordering: guild``: guilds overtake each other, a guild's own events never do, and nothing overtakes READY."""

from __future__ import annotations

import asyncio
import random
from collections import defaultdict
from collections.abc import Callable, Coroutine
from functools import wraps
from typing import Any

import pytest

from shard_runtime.ports import Response
from tests.delivery.receiver import Bench, Request, acknowledge, forward, payload, status
from tests.virtual.disk import VirtualDisk
from tests.virtual.loop import run_virtual

SHARDS = 16  # of the bench's origin


def guild_of(shard: int, number: int) -> int:
    """A guild that Discord routes to *shard*."""
    return ((number + 1) * SHARDS + shard) << 22


def virtual(test: Callable[[], Coroutine[Any, Any, None]]) -> Callable[[], None]:
    @wraps(test)
    def run() -> None:
        run_virtual(test())

    del run.__wrapped__  # pytest would take the test for a coroutine
    return run


async def fails(_: Request) -> Response:
    await asyncio.sleep(0.01)
    return status(500)


def by_guild(**more: Any) -> Bench:
    return Bench(forward(ordering="guild", **more))


@virtual
async def test_the_guilds_of_one_shard_are_spread_over_the_lanes() -> None:
    bench = by_guild(lanes=4)

    async def slow(_: Request) -> Response:
        await asyncio.sleep(1)
        return status(200)

    bench.receiver.answer = slow
    bench.start()
    for number in range(40):
        bench.accept(3, guild=guild_of(3, number))
    await asyncio.sleep(0.5)
    assert bench.receiver.most_in_flight == 4
    assert await bench.delivery.drain(60)


@virtual
async def test_a_slow_guild_holds_up_its_own_lane_and_each_guild_keeps_its_order() -> None:
    bench = by_guild(lanes=4)
    slow_guild = str(guild_of(0, 0))

    async def slow(request: Request) -> Response:
        mine = any(entry["payload"]["d"].get("guild_id") == slow_guild for entry in request.entries)
        await asyncio.sleep(5 if mine else 0.001)
        return status(200)

    bench.receiver.answer = slow
    bench.start()
    for turn in range(200):
        bench.accept(0, guild=guild_of(0, turn % 8))
        await asyncio.sleep(0.001)
    await asyncio.sleep(0.5)
    assert bench.delivery.queued < 60, "three of four lanes are done"
    assert await bench.delivery.drain(60)
    orders: dict[str, list[int]] = defaultdict(list)
    for request in bench.receiver.requests:
        for entry in request.entries:
            orders[entry["payload"]["d"]["guild_id"]].append(entry["payload"]["s"])
    assert len(orders) == 8
    assert all(order == sorted(order) for order in orders.values())
    assert bench.watermark(0) == 200


@virtual
async def test_what_names_no_guild_keeps_its_order_too() -> None:
    bench = by_guild(lanes=4)
    for _ in range(50):
        bench.accept(0)
    bench.start()
    assert await bench.delivery.drain(10)
    assert bench.receiver.received() == [("session-0", sequence) for sequence in range(1, 51)]


@virtual
async def test_ready_comes_after_what_was_before_and_before_what_comes_after() -> None:
    bench = by_guild(lanes=4)
    bench.receiver.answer = fails
    bench.start()
    for number in range(40):
        bench.accept(2, guild=guild_of(2, number))
        bench.accept(5, guild=guild_of(5, number))
    ready = bench.accept(2, name="READY")
    for number in range(40):
        bench.accept(2, guild=guild_of(2, number))
        bench.accept(5, guild=guild_of(5, number))
    again = bench.accept(2, name="READY")
    for number in range(40):
        bench.accept(2, guild=guild_of(2, number))
    await asyncio.sleep(5)
    bench.receiver.answer = acknowledge
    assert await bench.delivery.drain(60)
    order = [sequence for session, sequence in bench.receiver.received() if session == "session-2"]
    assert sorted(order[: ready - 1]) == list(range(1, ready))
    assert order[ready - 1 : again] == list(range(ready, again + 1)), "behind READY the shard is in order"
    assert len(order) == again + 40
    assert min(order[again:]) > again
    await asyncio.sleep(1)
    requests = len(bench.receiver.requests)

    async def slow(_: Request) -> Response:
        await asyncio.sleep(1)
        return status(200)

    bench.receiver.answer = slow
    bench.receiver.most_in_flight = 0
    for number in range(40):
        bench.accept(2, guild=guild_of(2, number))
    await asyncio.sleep(0.5)
    assert bench.receiver.most_in_flight == 4, "afterwards its guilds are on their lanes again"
    assert await bench.delivery.drain(60)
    assert len(bench.receiver.requests) > requests


@virtual
async def test_a_shard_that_waits_for_its_ready_holds_up_no_other() -> None:
    bench = by_guild(lanes=2)

    async def shard_1_fails(request: Request) -> Response:
        await asyncio.sleep(0.001)
        return status(500 if any(entry["shard"] == 1 for entry in request.entries) else 200)

    bench.receiver.answer = shard_1_fails
    bench.start()
    stuck = guild_of(1, 0)
    bench.accept(1, guild=stuck)
    await asyncio.sleep(0.1)
    bench.accept(1, name="READY")
    other = next(number for number in range(10) if _lane(guild_of(0, number)) != _lane(stuck))
    for _ in range(10):
        bench.accept(1, guild=stuck)
        bench.accept(0, guild=guild_of(0, other))
    await asyncio.sleep(5)
    assert (bench.delivery.queued_of(0), bench.delivery.queued_of(1)) == (0, 12)
    bench.receiver.answer = acknowledge
    assert await bench.delivery.drain(60)
    assert [sequence for session, sequence in bench.receiver.received() if session == "session-1"] == list(range(1, 13))


def _lane(guild: int) -> int:
    return (guild >> 22) // SHARDS % 2


@pytest.mark.parametrize("seed", range(20))
def test_ready_is_a_barrier_through_faults_restarts_and_changes_of_the_lanes(seed: int) -> None:
    run_virtual(_scenario(seed))


async def _scenario(seed: int) -> None:
    chance = random.Random(seed)
    disk = VirtualDisk()
    sent: dict[int, list[tuple[str, int]]] = {shard: [] for shard in range(3)}
    committed: list[tuple[int, int]] = []
    healthy = False

    async def answer(request: Request) -> Response:
        await asyncio.sleep(chance.expovariate(200))
        if not healthy and chance.random() < 0.5:
            return status(503)
        committed.extend((entry["shard"], entry["payload"]["s"]) for entry in request.entries)
        return status(200)

    def born() -> Bench:
        bench = Bench(forward(ordering="guild", lanes=chance.choice([2, 3])), seed, disk=disk)
        bench.receiver.answer = answer
        for shard, events in sent.items():
            bench.delivery.resume_session(f"session-{shard}", 0)
            watermark = bench.delivery.watermark(f"session-{shard}")
            assert watermark is not None
            for sequence in range(watermark + 1, len(events) + 1):
                accept(bench, shard, sequence)
        bench.start()
        return bench

    def accept(bench: Bench, shard: int, sequence: int) -> None:
        name, guild = sent[shard][sequence - 1]
        body = payload(sequence, name, guild)
        bench.delivery.accept(shard, f"session-{shard}", sequence, name, body, guild=guild)

    bench = born()
    for _ in range(600):
        shard = chance.randrange(3)
        is_ready = chance.random() < 0.03
        guild = 0 if is_ready else guild_of(shard, chance.randrange(6))
        sent[shard].append(("READY" if is_ready else "X", guild))
        accept(bench, shard, len(sent[shard]))
        await asyncio.sleep(chance.expovariate(chance.choice([30, 300])))
        if chance.random() < 0.01:
            bench.delivery.reconfigure(forward(ordering="guild", lanes=chance.randint(1, 4)))
        if chance.random() < 0.01:
            await bench.kill()
            bench = born()
    healthy = True
    assert await bench.delivery.drain(120)
    for shard, events in sent.items():
        order = list(dict.fromkeys(sequence for owner, sequence in committed if owner == shard))
        assert sorted(order) == list(range(1, len(events) + 1))
        for sequence, (name, _) in enumerate(events, 1):
            if name == "READY":
                at = order.index(sequence)
                assert max(order[:at], default=0) < sequence < min(order[at + 1 :], default=1 << 40)
    await bench.stop()
