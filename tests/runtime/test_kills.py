"""Kills at random moments under load, the receiver coming and going, Discord's replay buffer at Discord's size.

``DGW_SEED`` repeats a run; the seed is printed when one fails.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import signal
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import pytest_asyncio
from runtime.stage import Pod, Stage, eventually, record, running_stage

from shard_runtime import contract

RATE = 200.0
"""Events per second over four shards of fifty guilds, almost half on one: its replay buffer of 3,500 events lasts
40 s."""
LONGEST_OUTAGE = 5.0
"""Seconds after which the pod may get up before it is killed again: what no buffer holds is lost, by Discord."""


@pytest_asyncio.fixture(loop_scope="function")
async def stage(tmp_path: Path) -> AsyncIterator[Stage]:
    async with running_stage(tmp_path, guilds=200, replay_events=None) as running:
        yield running


async def active_pod(stage: Stage) -> Pod:
    (pod,) = stage.generation(1, count=4, pods=1, workers=2)
    stage.write(1, "record/record.json", contract.encode(record(1, active=1)))
    await pod.start()
    await pod.until_ready()
    return pod


async def begin_again(stage: Stage, pod: Pod) -> Pod:
    """The container is started again, as the kubelet does: the same pod, the same folder."""
    again = Pod(stage, 1, 0, uid=pod.uid)
    stage.pods.append(again)
    await again.start()
    return again


async def until_whole(pod: Pod) -> float:
    """Wait until all shards are READY; when that was."""

    async def whole() -> bool:
        shards = (await pod.status()).shards
        return all(shard.state is contract.ShardState.READY for shard in shards)

    await eventually(whole, what="all shards READY", seconds=60)
    return asyncio.get_running_loop().time()


async def until_delivered(pod: Pod, *, seconds: float) -> None:
    async def nothing_waits() -> bool:
        return (await pod.status()).queued == 0

    await eventually(nothing_waits, what="the backlog is delivered", seconds=seconds)


@dataclass
class Records:
    """What the pod had on disk about acknowledgements, at moments of the run."""

    stage: Stage
    known: list[tuple[int, dict[str, int]]] = field(default_factory=list)
    """How many payloads the receiver had acknowledged, and what the pod knew of it: by session, up to where."""

    async def look(self, pod: Pod) -> None:
        found: dict[str, int] = {}
        for path in pod.state.glob("worker-*/sessions.json"):
            for session in json.loads(path.read_bytes())["sessions"]:
                found[session["sessionId"]] = session["sequence"]
        async with self.stage.http.get(f"{self.stage.receiver}/control/received") as answer:
            acknowledged = (await answer.json())["totals"]["events"]
        self.known.append((acknowledged, found))

    async def needless(self) -> list[tuple[str, int]]:
        """(session, sequence) that was delivered although the pod knew already that it was acknowledged."""
        async with self.stage.http.get(f"{self.stage.receiver}/control/received?all=1") as answer:
            received = await answer.json()
        pairs = [
            (received["sessions"][session], sequence)
            for session, sequence in zip(received["session"], received["sequence"], strict=True)
        ]
        assert any(any(found.values()) for _, found in self.known), "there was something to know"
        again = []
        for (begin, found), (end, _) in zip(self.known, [*self.known[1:], (len(pairs), {})], strict=True):
            again += [pair for pair in pairs[begin:end] if pair[1] <= found.get(pair[0], 0)]
        return again


async def kill_again_and_again(stage: Stage, *, kills: int) -> None:
    seed = int(os.environ.get("DGW_SEED", 0)) or int.from_bytes(os.urandom(4), "big")
    chance = random.Random(seed)
    records = Records(stage)
    pod = await active_pod(stage)
    await stage.load(RATE)
    whole_at = await until_whole(pod)
    for number in range(kills):
        away = chance.random() < 0.7
        await stage.control(stage.receiver, "behaviour", {"status": 503} if away else {})
        await asyncio.sleep(chance.uniform(0.0, 2.5))
        victim = chance.choice(["worker", "supervisor", "pod"])
        workers = pod.worker_pids()
        assert pod.process is not None
        await records.look(pod)
        if victim == "worker" and workers:
            os.kill(chance.choice(workers), signal.SIGKILL)
        else:
            if victim == "pod":
                for worker in workers:
                    os.kill(worker, signal.SIGKILL)
            await pod.end(signal.SIGKILL)
            await records.look(pod)
            pod = await begin_again(stage, pod)
        if chance.random() < 0.5 or asyncio.get_running_loop().time() - whole_at > LONGEST_OUTAGE:
            whole_at = await until_whole(pod)
        elif number % 5 == 4:
            await stage.control(stage.receiver, "behaviour", {})
    await stage.control(stage.receiver, "behaviour", {})
    await stage.load(0)
    await until_whole(pod)
    await until_delivered(pod, seconds=60 + kills)
    verdict = await stage.settled_verdict()
    counters = await stage.counters()
    assert counters["identifiesAccepted"] == 4, f"seed {seed}: every session survived"
    assert verdict.lost == 0, (seed, verdict.lost_examples)
    assert verdict.duplicated == verdict.redelivered, f"seed {seed}: a redelivery has the same session and sequence"
    assert not await records.needless(), f"seed {seed}: only what the pod had no record of is delivered again"
    assert verdict.stream_violations == 0, (seed, verdict.order_examples)


@pytest.mark.timeout(300)
async def test_kills_under_load_lose_nothing(stage: Stage) -> None:
    await kill_again_and_again(stage, kills=20)


@pytest.mark.verify
@pytest.mark.timeout(2400)
async def test_two_hundred_kills_under_load_lose_nothing(stage: Stage) -> None:
    await kill_again_and_again(stage, kills=200)


async def test_a_pod_without_a_receiver_survives_kills_past_the_replay_buffer(stage: Stage) -> None:
    """What was accepted long ago is nowhere but on disk: Discord has forgotten it."""
    pod = await active_pod(stage)
    await stage.control(stage.receiver, "behaviour", {"status": 503})
    await stage.load(3000)

    async def backlog(events: int) -> bool:
        return (await pod.status()).queued >= events

    more = 18_000
    await eventually(lambda: backlog(more), what="more than the four replay buffers hold", seconds=60)
    await stage.load(0)
    await pod.end(signal.SIGKILL)
    pod = await begin_again(stage, pod)
    await until_whole(pod)
    status = await pod.status()
    assert status.queued >= more, "it is all there before Discord has sent anything"
    await stage.control(stage.receiver, "behaviour", {})
    await until_delivered(pod, seconds=60)
    verdict = await stage.settled_verdict()
    assert (verdict.lost, verdict.stream_violations) == (0, 0), verdict.lost_examples
    assert verdict.duplicated == 0, "nothing had been acknowledged"
    assert (await stage.counters())["identifiesAccepted"] == 4
