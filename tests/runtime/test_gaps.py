"""A session that Discord does not resume: the gap is counted, shown with its cause, and the bot gets the new READY."""

from __future__ import annotations

import json
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import pytest_asyncio
from runtime.stage import Pod, Stage, eventually, record, running_stage

from shard_runtime import contract


@pytest_asyncio.fixture(loop_scope="function")
async def stage(tmp_path: Path) -> AsyncIterator[Stage]:
    async with running_stage(tmp_path, guilds=8, replay_events=200) as running:
        yield running


async def readies(stage: Stage) -> int:
    async with stage.http.get(f"{stage.receiver}/control/received?all=1") as answer:
        received = await answer.json()
    return sum(received["names"][name] == "READY" for name in received["name"])


async def test_an_outage_past_the_replay_buffer_is_counted_and_told(stage: Stage) -> None:
    (pod,) = stage.generation(1, count=1, pods=1)
    stage.write(1, "record/record.json", contract.encode(record(1, active=1)))
    await pod.start()
    await pod.until_ready()
    await stage.control(stage.simulator, "load", {"rate": 100, "events": 100})

    async def delivered() -> bool:
        status = await pod.status()
        return status.counters["acknowledged"] >= 100 and status.queued == 0

    await eventually(delivered, what="delivery")
    assert (await pod.status()).shards[0].gap is None
    await pod.end(signal.SIGKILL)
    before = (await stage.counters())["sent"]
    await stage.control(stage.simulator, "load", {"rate": 4000, "events": 1000})

    async def outrun() -> bool:
        return bool((await stage.counters())["sent"] >= before + 1000)

    await eventually(outrun, what="more events than the replay buffer keeps")
    again = Pod(stage, 1, 0)
    stage.pods.append(again)
    await again.start()
    status = await again.until_all_ready()
    gap = status.shards[0].gap
    assert gap is not None
    assert (gap.sessions, gap.events, gap.cause) == (1, 0, "Discord answered that it is invalid")
    assert (status.counters["lostSessions"], status.counters["lostEvents"]) == (1, 0)
    await eventually(lambda: _at_least(stage, 2), what="the new READY at the bot")

    await again.end()
    third = Pod(stage, 1, 0)
    stage.pods.append(third)
    await third.start()
    status = await third.until_all_ready()
    assert status.shards[0].gap == gap, "a restart does not hide it"
    assert status.counters["lostSessions"] == 0
    metrics = (await third.call("GET", "/metrics"))[1]
    assert b"discord_gateway_sessions_lost_total" in metrics


async def _at_least(stage: Stage, count: int) -> bool:
    return await readies(stage) >= count


async def test_what_had_been_received_and_was_lost_with_the_session_is_counted(stage: Stage) -> None:
    (pod,) = stage.generation(1, count=1, pods=1)
    stage.write(1, "record/record.json", contract.encode(record(1, active=1)))
    await pod.start()
    await pod.until_ready()
    await stage.control(stage.receiver, "behaviour", {"status": 503})
    await stage.control(stage.simulator, "load", {"rate": 2000, "events": 20})

    async def received() -> bool:
        status = await pod.status()
        (saved,) = json.loads((pod.state / "worker-0" / "sessions.json").read_bytes())["sessions"]
        return status.queued >= 20 and bool(saved["received"] == status.shards[0].sequence)

    await eventually(received, what="events in memory")
    await pod.end(signal.SIGKILL)
    for suffix in ("", "-wal", "-shm"):
        (pod.state / "worker-0" / f"spill.sqlite{suffix}").unlink(missing_ok=True)
    before = (await stage.counters())["sent"]
    await stage.control(stage.simulator, "load", {"rate": 4000, "events": 500})

    async def outrun() -> bool:
        return bool((await stage.counters())["sent"] >= before + 500)

    await eventually(outrun, what="more events than the replay buffer keeps")
    again = Pod(stage, 1, 0)
    stage.pods.append(again)
    await again.start()
    status = await again.until_all_ready()
    gap = status.shards[0].gap
    assert gap is not None and gap.events >= 20, "they were nowhere but in the killed process"
    assert status.counters["lostEvents"] == gap.events
