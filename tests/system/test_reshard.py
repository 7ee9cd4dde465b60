"""A reshard under load, and what may happen to the parts meanwhile: gate, sessions, delivery and handover together."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from system.acts import check, check_resharded, come_up, let_a_moment_pass, until_committed, until_resharded
from system.story import OVERLAP_SECONDS, SIMULATED, System, run_story

from discord_simulator.inbox import Behaviour

SEEDS = range(1, 6)


async def the_bot_is_away_and_then_a_reshard(system: System) -> None:
    await come_up(system)
    system.bot.stop()
    await system.sleep(30)
    system.bot.start()
    await system.sleep(5)
    system.patch_count(16)
    await until_resharded(system)


@pytest.mark.parametrize("seed", SEEDS)
def test_neither_an_absent_bot_nor_a_reshard_loses_an_event(seed: int) -> None:
    outcome = run_story(the_bot_is_away_and_then_a_reshard, seed=seed)
    check_resharded(outcome)
    assert outcome.verdict.redelivered == 0
    assert outcome.counters.resumes_accepted == 0
    assert outcome.counters.closed_by_client == {"1000": 8}, "the old sessions end, and only those"


@pytest.mark.parametrize(("concurrency", "limit"), [(16, 5), pytest.param(4, 20, marks=pytest.mark.verify)])
def test_a_reshard_takes_hardly_longer_than_its_identifies_and_the_overlap(concurrency: int, limit: int) -> None:
    histories: list[list[dict[str, Any]]] = []

    async def story(system: System) -> None:
        await come_up(system)
        system.patch_count(16)
        await until_resharded(system)
        histories.append(system.status["history"])

    check_resharded(run_story(story, seed=1, settings=replace(SIMULATED, max_concurrency=concurrency)))
    ((past,),) = histories
    assert past["identifyLimitSeconds"] == limit
    assert past["durationSeconds"] <= 1.1 * (limit + OVERLAP_SECONDS + 5)
    assert past["pauseP99Milliseconds"] <= 1_000
    assert past["longestPauseMilliseconds"] < 2_000


def test_the_same_seed_is_the_same_run_and_another_seed_another() -> None:
    first, second, other = (run_story(the_bot_is_away_and_then_a_reshard, seed=seed) for seed in (1, 1, 2))
    assert first.trace == second.trace
    assert first.digest == second.digest
    assert first.digest != other.digest


@pytest.mark.parametrize("seed", SEEDS[:3])
def test_an_operator_killed_in_a_reshard_changes_nothing_of_its_outcome(seed: int) -> None:
    async def story(system: System) -> None:
        await come_up(system)
        system.patch_count(16)
        await let_a_moment_pass(system, 0, 14)  # a reshard takes about as long
        system.operator.kill()
        await let_a_moment_pass(system, 1, 20)
        system.operator.start()
        await until_resharded(system)

    check_resharded(run_story(story, seed=seed))


@pytest.mark.parametrize("seed", SEEDS[:2])
def test_after_the_commit_the_handover_needs_no_operator(seed: int) -> None:
    async def story(system: System) -> None:
        await come_up(system)
        system.patch_count(16)
        await until_committed(system)
        system.operator.kill()  # before it could tell a single pod
        await system.until("all pods have taken over", lambda: system.handed_over(2), within=120)
        assert system.shards_ready(1) == 8, "the old sessions wait for an operator to be retired"
        await system.settle()

    outcome = run_story(story, seed=seed)
    check(outcome)
    assert outcome.shards == 16
    assert [(record.active, record.target) for record in outcome.records] == [(1, None), (1, 2), (2, None)]


@pytest.mark.parametrize("failing", [Behaviour(status=500), Behaviour(hang=True)], ids=["answers 500", "hangs"])
@pytest.mark.parametrize("seed", SEEDS[:2])
def test_a_bot_that_fails_in_the_cutover_gets_everything_later(seed: int, failing: Behaviour) -> None:
    async def story(system: System) -> None:
        await come_up(system)
        system.patch_count(16)
        await until_committed(system)
        await let_a_moment_pass(system, 0, 0.5)
        system.bot.behave(failing)
        await let_a_moment_pass(system, 5, 20)
        system.bot.behave(Behaviour())
        await until_resharded(system)

    check_resharded(run_story(story, seed=seed))


@pytest.mark.parametrize("seed", SEEDS[:2])
def test_an_old_pod_that_cannot_be_reached_goes_on_until_it_is_sealed(seed: int) -> None:
    async def story(system: System) -> None:
        await come_up(system)
        system.patch_count(16)
        await until_committed(system)
        index = system.chance.randrange(4)
        system.cut(f"bot-g2-{index}", f"bot-g1-{index % 2}")  # its predecessor: shard 13 of 16 was 5 of 8
        await system.sleep(30)
        assert not system.handed_over(2)
        assert system.record is not None and system.record.retired == 0
        system.heal()
        await until_resharded(system)

    check_resharded(run_story(story, seed=seed))
