"""Bugs planted on purpose are caught by the simulated runs, and a run that fails shrinks to a short one."""

from __future__ import annotations

from pathlib import Path

import pytest
from system.planted import PLANTED
from system.schedule import Schedule, Step, draw_schedule
from system.seeds import run_seed, shrunk
from system.setting import Setting
from system.shrink import Shrinker

PAGE = Path(__file__).resolve().parents[2] / "docs" / "evidence.md"


def catching(name: str) -> int:
    """The first seed that catches the bug of that name."""
    planted = PLANTED[name]
    broken = {}
    for seed in planted.seeds:
        broken[seed] = run_seed(seed, name).broken
        if any(sentence.startswith(f"{planted.breaks}:") for sentence in broken[seed]):
            return seed
    pytest.fail(f"none of {planted.seeds} breaks {planted.breaks!r}: {broken}")


@pytest.mark.parametrize("name", PLANTED)
def test_a_planted_bug_is_caught(name: str) -> None:
    assert catching(name) in range(1, 2001)


def test_a_failing_run_shrinks() -> None:
    name = "no checkpoint"
    schedule = draw_schedule(catching(name))
    shortest, report = shrunk(schedule, planted=name, tries=8)
    assert PLANTED[name].breaks in report.promises
    assert 0 < len(shortest.steps) < len(schedule.steps)


def test_the_page_lists_every_planted_bug() -> None:
    page = PAGE.read_text()
    for name, planted in PLANTED.items():
        seeds = ", ".join(map(str, planted.seeds))
        assert f"| {name} | {planted.what} | {seeds} | {planted.breaks} |" in page


def test_shrinking_finds_the_steps_that_matter() -> None:
    steps = tuple(Step(act="kill_pod", at=float(number), seconds=float(number)) for number in range(20))
    schedule = Schedule(seed=1, setting=Setting(rate=25.0, skew_seconds=1.0), steps=steps)
    tried = 0

    def fails(candidate: Schedule) -> bool:
        nonlocal tried
        tried += 1
        return {3.0, 17.0} <= {step.at for step in candidate.steps} and candidate.setting.skew_seconds == 1.0

    shortest = Shrinker(fails, tries=200).shrink(schedule)
    assert [step.at for step in shortest.steps] == [3.0, 17.0]
    assert [step.seconds for step in shortest.steps] == [0.75, 2.125]
    assert shortest.setting == Setting(skew_seconds=1.0), "all else is as usual"
    assert tried < 120
