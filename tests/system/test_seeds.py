"""A hundred simulated runs of the whole system, each from a seed; ``make verify`` makes 2,000, ``make soak`` more."""

from __future__ import annotations

import os
from collections import Counter

import pytest
from system.kinds import ALL_ACTS
from system.schedule import decode_schedule, draw_schedule
from system.seeds import Result, describe, pool, run_seed, run_seeds, shrunk
from system.strikes import ACTS

SHOWN = 3
TRIES = 40
JOBS = 1 if "PYTEST_XDIST_WORKER" in os.environ else None
"""Where the tests run on all cores already, these runs take one of them."""


def check(results: list[Result]) -> None:
    """Fail with what is needed to go on: the seed, the promise, and the shortest way there that is found quickly."""
    broken = sorted((result for result in results if result.broken), key=lambda result: result.seed)
    if not broken:
        return
    shortest, report = shrunk(draw_schedule(broken[0].seed), tries=TRIES)
    told = [f"make replay SEED={result.seed}: {result.broken[0]}" for result in broken[:SHOWN]]
    more = f"{len(broken)} of {len(results)} seeds break a promise; seed {shortest.seed} shrunk:"
    pytest.fail("\n".join([*told, more, describe(report, lines=60)]), pytrace=False)


@pytest.mark.timeout(900)
def test_a_hundred_seeds() -> None:
    results = list(run_seeds(range(1, 101), jobs=JOBS))
    check(results)
    assert sum(result.sent for result in results) > 100_000, "the bots had something to lose"
    assert sum(result.generations > 1 for result in results) > 50, "most runs reshard"


def test_a_seed_is_the_same_run_in_every_process() -> None:
    with pool(1) as workers:  # whose hashes are others than this process's
        elsewhere = workers.submit(run_seed, 7).result()
    assert elsewhere.digest == run_seed(7).digest != run_seed(8).digest


def test_a_schedule_is_drawn_anew_alike_and_can_be_written_down() -> None:
    for seed in range(1, 200):
        schedule = draw_schedule(seed)
        assert decode_schedule(schedule.encode()) == schedule == draw_schedule(seed)


def test_every_act_is_drawn_and_known() -> None:
    drawn = Counter(step.act for seed in range(1, 1001) for step in draw_schedule(seed).steps)
    assert drawn.keys() == ALL_ACTS == ACTS.keys()
    assert min(drawn.values()) > 10, drawn


def test_few_worlds_have_another_clock_or_a_short_memory() -> None:
    drawn = [draw_schedule(seed) for seed in range(1, 1001)]
    errors = Counter(step.options["error"] for one in drawn for step in one.steps if step.act == "failing_disk")
    assert errors.keys() == {"write", "sync", "read-only"}
    assert 50 < sum(one.setting.operator_skew_seconds != 0 for one in drawn) < 110
    assert 50 < sum(one.setting.expires for one in drawn) < 110
