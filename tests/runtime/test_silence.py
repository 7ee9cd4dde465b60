"""Health is the age of the last sign of life, of a shard as of a worker, and never what was once true."""

from __future__ import annotations

import asyncio
import itertools
import logging
import os
import random
import signal
from pathlib import Path

import pytest
from runtime.configuration import configuration
from runtime.in_process import PodInOneProcess
from runtime.stage import eventually, record
from runtime.test_metrics import scrape
from runtime.town import all_ready, make_town
from virtual.sockets import ServerSocket
from virtual.world import World, run_world

from shard_runtime import contract
from shard_runtime.channel import DirectLink
from shard_runtime.connection.clock import SystemClock
from shard_runtime.disk import SystemDisk
from shard_runtime.mounts import Secrets
from shard_runtime.orders import FromWorker, ToWorker
from shard_runtime.supervisor.pod import Pod
from shard_runtime.supervisor.processes import WorkerProcess


def command_of(pid: str) -> bytes:
    """The command line of a process; empty for one that has ended."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""


def silence(pod: PodInOneProcess) -> list[float]:
    assert pod.pod is not None
    return [shard.silent_seconds or 0.0 for shard in pod.pod.last_status().shards]


def test_a_shard_that_hears_nothing_grows_older_until_it_is_cut_off_and_is_young_again_when_it_does() -> None:
    async def story(world: World) -> None:
        town = make_town(world)
        pod = town.pod(1, 1, 1)
        await pod.start().adopt_record(record(1, active=1))
        await world.until(lambda: all_ready(pod), within=30)
        await world.clock.sleep(100)
        assert silence(pod)[0] < 42, "beats are answered"
        town.discord.acknowledges = False
        ages = []
        while not town.discord.resumes:
            ages.append(silence(pod)[0])
            await world.clock.sleep(1)
        assert 41 < max(ages) < 84, "two beats without an answer"
        assert all(after < before + 2.1 for before, after in itertools.pairwise(ages))
        town.discord.acknowledges = True
        await world.until(lambda: all_ready(pod), within=30)
        await world.clock.sleep(2)
        assert silence(pod)[0] < 42
        assert (await scrape(pod)).value("last_frame_age_seconds") < 42

    run_world(story)


@pytest.mark.parametrize("had_a_session", [True, False])
def test_a_discord_that_takes_connections_and_says_nothing_makes_no_shard_young(had_a_session: bool) -> None:
    async def story(world: World) -> None:
        async def nothing(socket: ServerSocket) -> None:
            return

        town = make_town(world)
        pod = town.pod(1, 1, 1)
        if not had_a_session:
            town.discord.scripts.extend([nothing] * 100)
        await pod.start().adopt_record(record(1, active=1))
        if had_a_session:
            await world.until(lambda: all_ready(pod), within=30)
            town.discord.scripts.extend([nothing] * 100)
            (session,) = town.discord.sessions.values()
            assert session.socket is not None
            session.socket.close(4000)
        await world.clock.sleep(150)
        assert len(town.discord.connections) > 2, "it tries"
        assert (await scrape(pod)).value("last_frame_age_seconds") > 120
        town.discord.scripts.clear()
        await world.until(lambda: all_ready(pod), within=60)
        await world.clock.sleep(2)
        assert (await scrape(pod)).value("last_frame_age_seconds") < 42

    run_world(story)


def test_shards_of_a_worker_that_never_began_grow_older() -> None:
    async def story(world: World) -> None:
        town = make_town(world)
        pod = town.pod(1, 2, 2)
        pod.start().detach(1)
        assert pod.pod is not None
        await pod.pod.adopt_record(record(1, active=1))
        await world.clock.sleep(130)
        assert silence(pod)[0] < 42
        assert (await scrape(pod)).value("last_frame_age_seconds") > 120

    run_world(story)


def test_a_worker_that_does_not_answer_is_not_healthy_because_it_once_was() -> None:
    async def story(world: World) -> None:
        town = make_town(world)
        pod = town.pod(1, 2, 2)
        await pod.start().adopt_record(record(1, active=1))
        await world.until(lambda: all_ready(pod), within=30)
        worker, hangs = pod.workers[1], True

        async def handle(message: ToWorker) -> FromWorker:
            if hangs:
                await asyncio.sleep(3600)
            return await worker.handle(message)

        assert pod.pod is not None
        pod.pod._workers._slots[1].link = DirectLink(handle)
        before = silence(pod)
        await world.clock.sleep(8)
        assert silence(pod)[1] > before[1] + 6, "what it said grows old"
        await world.clock.sleep(10)
        states = [(shard.state, shard.problem) for shard in pod.pod.last_status().shards]
        assert states == [
            (contract.ShardState.READY, None),
            (contract.ShardState.CONNECTING, "Its worker does not answer."),
        ]
        assert (await scrape(pod)).value("shards", state="ready") == 1
        assert pod.pod.silent_seconds(0) == 0 and pod.pod.silent_seconds(1) > 10
        assert silence(pod)[1] > before[1] + 16, "and older, also where nothing is known of it now"
        hangs = False
        await world.clock.sleep(5)
        assert all_ready(pod) and pod.pod.silent_seconds(1) == 0

    run_world(story)


async def test_a_worker_that_hangs_is_killed_and_started_again(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    log = logging.getLogger("test.hung")
    pod = Pod(
        config=configuration(api_url="http://127.0.0.1:9/api", operator_url="http://127.0.0.1:9"),
        forward=contract.ForwardConfig(url="http://127.0.0.1:9/events"),
        secrets=Secrets(token="token-of-the-test", operator="operator-of-the-test", bot=None),
        pod=0,
        pod_uid="uid",
        state=tmp_path,
        clock=SystemClock(),
        disk=SystemDisk(),
        log=log,
    )
    process = WorkerProcess(pod=pod, worker=0, clock=SystemClock(), chance=random.Random(1), log=log, hung_seconds=3.0)

    async def tick() -> None:
        while True:
            await pod.tick()
            await asyncio.sleep(0.2)

    def children() -> list[int]:
        found = Path(f"/proc/{os.getpid()}/task/{os.getpid()}/children").read_text().split()
        return [int(pid) for pid in found if b"shard_runtime.worker" in command_of(pid)]

    async def answers() -> bool:
        return pod.last_status().shards[0].problem is None and process.restarts == wanted

    running, ticking, wanted = asyncio.create_task(process.run()), asyncio.create_task(tick()), 0
    try:
        await eventually(answers, what="a worker that answers")
        (first,) = children()
        os.kill(first, signal.SIGSTOP)
        wanted = 1
        await eventually(answers, what="another worker", seconds=40)
        (second,) = children()
        assert second != first
        assert "Worker 0 hangs; it is killed" in caplog.text
    finally:
        process.stop()
        process.finish()
        ticking.cancel()
        await asyncio.wait((running, ticking), timeout=20)
