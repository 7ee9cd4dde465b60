"""The same over sockets, with trouble at each step of the handover: lost 0, doubled only what is said.

Pods of either generation are killed or stand still, an old pod cannot be reached, the receiver is down. The operator's
part is played by the test; that it may be killed as well is shown on virtual time (tests/system) and on a cluster.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from reshard.run import OVERLAP_SECONDS, STEPS, Conditions, Resharding, Trouble
from runtime.stage import Pod, Stage, running_stage

CALM = Conditions(rate=300, steady_guilds=0)
TROUBLE_SECONDS = 4.0
NOWHERE = "http://127.0.0.1:9"


async def an_old_pod_is_killed(resharding: Resharding, new: list[Pod], old: list[Pod]) -> None:
    await resharding.kill(old, resharding.chance.randrange(len(old)))


async def a_new_pod_is_killed(resharding: Resharding, new: list[Pod], old: list[Pod]) -> None:
    await resharding.kill(new, resharding.chance.randrange(len(new)))


async def a_pod_stands_still(resharding: Resharding, new: list[Pod], old: list[Pod]) -> None:
    pod = resharding.chance.choice([*new, *old])
    assert pod.process is not None
    processes = [pod.process.pid, *pod.worker_pids()]
    for process in processes:
        os.kill(process, signal.SIGSTOP)
    await asyncio.sleep(TROUBLE_SECONDS)
    for process in processes:
        os.kill(process, signal.SIGCONT)


async def an_old_pod_is_cut_off(resharding: Resharding, new: list[Pod], old: list[Pod]) -> None:
    pod = resharding.chance.choice(old)
    addresses = resharding.stage.folder / "pods.json"
    known = json.loads(addresses.read_text())
    addresses.write_text(json.dumps({**known, f"{pod.generation}/{pod.index}": NOWHERE}))
    await asyncio.sleep(TROUBLE_SECONDS)
    resharding.stage.name_pod(pod)


async def the_receiver_is_down(resharding: Resharding, new: list[Pod], old: list[Pod]) -> None:
    stage = resharding.stage
    await stage.control(stage.receiver, "behaviour", {"status": 503})
    await asyncio.sleep(TROUBLE_SECONDS)
    await stage.control(stage.receiver, "behaviour", {})


TROUBLES = (
    an_old_pod_is_killed,
    a_new_pod_is_killed,
    a_pod_stands_still,
    an_old_pod_is_cut_off,
    the_receiver_is_down,
)


@pytest.fixture
async def stage(tmp_path: Path) -> AsyncIterator[Stage]:
    async with running_stage(tmp_path, guilds=200, identify_total=100_000, replay_events=100_000) as stage:
        stage.overlap_seconds = OVERLAP_SECONDS
        yield stage


@pytest.mark.verify
@pytest.mark.timeout(300)
@pytest.mark.parametrize("trouble", TROUBLES, ids=lambda trouble: trouble.__name__)
async def test_trouble_at_a_step_loses_nothing(stage: Stage, trouble: Trouble) -> None:
    resharding = Resharding(stage, 1, CALM)
    await resharding.begin(4)
    for step, count in zip(STEPS, (6, 3, 8, 4), strict=True):
        result = await resharding.reshard(count, troubles={step: trouble})
        verdict = result.verdict
        assert verdict.sent > 0
        assert verdict.lost_by_key == 0, (step, result.line(), verdict.lost_examples)
        # what a killed pod had delivered without having learned of it comes again, under the same (session, sequence)
        assert verdict.duplicated_unmarked <= verdict.redelivered, (step, result.line(), verdict.duplicated_examples)
        assert verdict.stream_violations == 0, (step, result.line(), verdict.order_examples)
