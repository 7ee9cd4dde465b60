"""What the commit waits for, so that there is something to hand over and somebody to take it."""

from __future__ import annotations

from dataclasses import replace

import pytest
from system.acts import check_resharded, come_up, let_a_moment_pass, until_committed, until_resharded
from system.faults import PATIENT
from system.story import System, run_story


@pytest.mark.parametrize("seed", range(1, 3))
def test_old_sessions_that_are_away_are_waited_for(seed: int) -> None:
    """What was sent to them in the meantime comes when they resume; the target is younger than the outage."""

    async def story(system: System) -> None:
        await come_up(system)
        system.patch_count(16)
        await system.until_record(lambda record: record.target == 2, within=30)
        old = system.chance.choice(system.pods(1)).name
        system.cut(old, "discord")
        system.reset(old, "discord")
        await let_a_moment_pass(system, 30, 50)
        assert system.shards_ready(2) == 16
        assert system.record is not None and system.record.active == 1
        system.heal()
        await until_resharded(system)

    outcome = run_story(story, seed=seed, settings=PATIENT)
    check_resharded(outcome)
    assert outcome.counters.resumes_accepted == 4


def test_every_session_of_the_target_is_waited_for() -> None:
    async def story(system: System) -> None:
        await come_up(system)
        system.patch_count(16)
        await until_committed(system)
        assert system.shards_ready(2) == 16, "committed before all sessions were there"
        await until_resharded(system)

    # one session start in 5 s: the last of 16 comes long after the first have overlapped
    check_resharded(run_story(story, seed=1, settings=replace(PATIENT, max_concurrency=1)))
