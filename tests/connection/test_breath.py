"""When the loop rests between two looks at the sockets."""

from __future__ import annotations

import asyncio

import pytest

from shard_runtime.connection.breath import MANY, REST_SECONDS, TURNS_LOOKED_AT, Breath


async def rests(gaps: list[float], *, frames: int = 1) -> int:
    """How often the loop rests while *frames* come at once after each of *gaps* seconds."""
    now, rested = 0.0, 0

    def sleep(seconds: float) -> None:
        nonlocal now, rested
        now += seconds
        rested += 1

    breath = Breath(sleep=sleep, monotonic=lambda: now)
    for gap in gaps:
        now += gap
        before = rested
        breath.came(frames)
        await asyncio.sleep(0)
        assert rested == before, "what the frames have set going comes first"
        for _ in range(3):
            await asyncio.sleep(0)
    return rested


@pytest.mark.parametrize("rate", [1, 200, 1900])
def test_it_never_rests_at_a_low_rate(rate: int) -> None:
    assert asyncio.run(rests([1 / rate] * 200)) == 0


def test_it_rests_at_a_high_rate_once_that_is_known() -> None:
    assert asyncio.run(rests([0.0002] * TURNS_LOOKED_AT)) == 0
    # a turn takes a rest and a gap now, and brings what came meanwhile
    assert asyncio.run(rests([0.0002] * 200, frames=6)) == 200 - TURNS_LOOKED_AT


def test_it_does_not_rest_in_a_burst() -> None:
    assert asyncio.run(rests([0.0001] * 200, frames=MANY)) == 0


def test_it_stops_when_the_rate_falls() -> None:
    busy = [0.0002] * 100
    calm = [0.1] * 50
    assert asyncio.run(rests(busy + calm, frames=6)) <= 100 - TURNS_LOOKED_AT + 1


def test_frames_of_several_connections_are_one_turn() -> None:
    async def main() -> None:
        rested: list[float] = []
        now = 0.0
        breath = Breath(sleep=rested.append, monotonic=lambda: now)
        for _ in range(TURNS_LOOKED_AT + 1):
            now += 0.001
            for _ in range(16):
                breath.came(1)
            for _ in range(4):
                await asyncio.sleep(0)
        assert rested == [REST_SECONDS]

    asyncio.run(main())
