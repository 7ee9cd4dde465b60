"""The same over sockets, and pods are killed or the receiver is down in the cutover: lost 0, doubled only what is said.

Each trouble at each step is in tests/system, on virtual time; here the processes, sockets and disks are real.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from reshard.run import OVERLAP_SECONDS, Conditions, Resharding, Trouble
from runtime.stage import Pod, Stage, running_stage

CALM = Conditions(rate=300, steady_guilds=0)
DOWN_SECONDS = 4.0


async def an_old_pod_is_killed(resharding: Resharding, new: list[Pod], old: list[Pod]) -> None:
    await resharding.kill(old, resharding.chance.randrange(len(old)))


async def a_new_pod_is_killed(resharding: Resharding, new: list[Pod], old: list[Pod]) -> None:
    await resharding.kill(new, resharding.chance.randrange(len(new)))


async def the_receiver_is_down(resharding: Resharding, new: list[Pod], old: list[Pod]) -> None:
    stage = resharding.stage
    await stage.control(stage.receiver, "behaviour", {"status": 503})
    await asyncio.sleep(DOWN_SECONDS)
    await stage.control(stage.receiver, "behaviour", {})


@pytest.fixture
async def stage(tmp_path: Path) -> AsyncIterator[Stage]:
    async with running_stage(tmp_path, guilds=200, identify_total=100_000, replay_events=100_000) as stage:
        stage.overlap_seconds = OVERLAP_SECONDS
        yield stage


@pytest.mark.verify
@pytest.mark.timeout(180)
@pytest.mark.parametrize(
    "trouble", [an_old_pod_is_killed, a_new_pod_is_killed, the_receiver_is_down], ids=lambda trouble: trouble.__name__
)
async def test_trouble_in_the_cutover_loses_nothing(stage: Stage, trouble: Trouble) -> None:
    resharding = Resharding(stage, 1, CALM)
    await resharding.begin(4)
    for count in (6, 3):
        result = await resharding.reshard(count, trouble=trouble)
        verdict = result.verdict
        assert verdict.sent > 0
        assert verdict.lost_by_key == 0, (result.line(), verdict.lost_examples)
        # what a killed pod had delivered without having learned of it comes again, under the same (session, sequence)
        assert verdict.duplicated_unmarked <= verdict.redelivered, (result.line(), verdict.duplicated_examples)
        assert verdict.stream_violations == 0, (result.line(), verdict.order_examples)
