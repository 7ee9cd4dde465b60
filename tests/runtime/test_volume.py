"""A pod that is replaced by another one on the same volume, as with ``spec.storage``: also its node may be gone."""

from __future__ import annotations

import signal
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from runtime.stage import Pod, Stage, eventually, record, running_stage

from shard_runtime import contract

BACKLOG = 4000
"""Events; Discord keeps 1,500 for a session of twenty guilds."""


@pytest_asyncio.fixture(loop_scope="function")
async def stage(tmp_path: Path) -> AsyncIterator[Stage]:
    async with running_stage(tmp_path, guilds=40, replay_events=None) as running:
        yield running


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL], ids=["deleted", "node lost"])
async def test_the_queue_and_the_sessions_are_on_the_volume(stage: Stage, number: signal.Signals) -> None:
    (pod,) = stage.generation(1, count=2, pods=1)
    stage.write(1, "record/record.json", contract.encode(record(1, active=1)))
    await pod.start()
    await pod.until_ready()
    await stage.control(stage.receiver, "behaviour", {"status": 503})
    await stage.control(stage.simulator, "load", {"rate": 2000, "events": BACKLOG})

    async def stored() -> bool:
        status = await pod.status()
        return status.stored >= BACKLOG and status.stored == status.queued

    await eventually(stored, what="the backlog is on disk", seconds=60)
    await pod.end(number)
    other = Pod(stage, 1, 0, uid="uid-2")
    stage.pods.append(other)
    await other.start()
    await other.until_all_ready()
    assert (await other.status()).queued >= BACKLOG
    await stage.control(stage.receiver, "behaviour", {})

    async def nothing_waits() -> bool:
        return (await other.status()).queued == 0

    await eventually(nothing_waits, what="the backlog is delivered", seconds=60)
    verdict = await stage.settled_verdict()
    assert (verdict.lost, verdict.duplicated, verdict.stream_violations) == (0, 0, 0), verdict.lost_examples
    counters = await stage.counters()
    assert counters["identifiesAccepted"] == 2, "the sessions have resumed"
    assert (await other.status()).counters["lostSessions"] == 0
