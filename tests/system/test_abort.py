"""A target that is not wanted any more ends its sessions at Discord, where nobody would ever resume them."""

from __future__ import annotations

import pytest
from system.acts import LARGER, check, come_up, let_a_moment_pass
from system.faults import PATIENT
from system.story import COUNT, System, run_story


@pytest.mark.parametrize("seed", range(1, 3))
def test_the_sessions_of_an_aborted_target_end(seed: int) -> None:
    async def story(system: System) -> None:
        await come_up(system)
        system.patch_count(LARGER)
        await system.until("the target is READY", lambda: system.shards_ready(2) == LARGER, within=90)
        system.patch_count(COUNT)
        await system.until("the target is gone", lambda: not system.pods(2), within=90)
        await system.until("the first is alone", lambda: system.at_rest(generation=1, shards=COUNT), within=30)
        await let_a_moment_pass(system, 2, 5)
        await system.settle()

    outcome = run_story(story, seed=seed, settings=PATIENT)
    check(outcome)
    assert outcome.counters.closed_by_client == {"1000": LARGER}
    assert [(record.active, record.target) for record in outcome.records] == [(1, None), (1, 2), (1, None)]
