"""What stories are made of."""

from __future__ import annotations

from typing import Final

from system.story import COUNT, RATE, Outcome, System

LARGER: Final = 16


async def come_up(system: System) -> None:
    """Eight shards, under load."""
    system.apply()
    await system.until(f"{COUNT} shards are READY", lambda: system.at_rest(generation=1, shards=COUNT), within=60)
    system.discord.load(RATE)
    await system.sleep(system.chance.uniform(3, 8))


async def until_resharded(system: System) -> None:
    """The second generation is alone, and READY; everything sent has gone its way."""
    await system.until(f"{LARGER} shards are alone", lambda: system.at_rest(generation=2, shards=LARGER), within=240)
    await system.sleep(5)
    await system.settle()


async def until_committed(system: System) -> None:
    """Go on in the moment in which the record names the second generation active."""
    await system.until_record(lambda record: record.active == 2, within=120)


async def let_a_moment_pass(system: System, least: float, most: float) -> None:
    await system.sleep(system.chance.uniform(least, most))


def check(outcome: Outcome, *, identifies: int = COUNT + LARGER) -> None:
    """The promises that hold in every story of this folder."""
    verdict, counters = outcome.verdict, outcome.counters
    assert verdict.lost == 0, verdict.lost_examples
    assert verdict.sent > 500, "there was something to lose"
    assert outcome.unexplained == ()
    assert verdict.stream_violations == 0, verdict.order_examples
    assert outcome.first_generation_lane_violations == 0, verdict.order_examples
    assert counters.bucket_violations == 0
    assert counters.budget_overruns == 0
    assert counters.identifies_accepted == counters.identify_attempts == identifies


def check_resharded(outcome: Outcome, *, lost_sessions: int = 0) -> None:
    """*lost_sessions*: how many of the target's Discord has ended."""
    check(outcome, identifies=COUNT + LARGER + lost_sessions)
    assert outcome.shards == LARGER
    assert [(record.active, record.target) for record in outcome.records] == [(1, None), (1, 2), (2, None), (2, None)]
    assert outcome.records[-1].retired == 1
    assert outcome.pods == ("bot-g2-0", "bot-g2-1", "bot-g2-2", "bot-g2-3"), "nothing is left of the old generation"
