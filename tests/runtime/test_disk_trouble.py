"""A real pod whose disk fails it: people are told, delivery goes on from memory, and nothing is lost uncounted."""

from __future__ import annotations

import resource
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import pytest_asyncio
from runtime.stage import Pod, Stage, eventually, record, running_stage

from shard_runtime import contract


@pytest_asyncio.fixture(loop_scope="function")
async def stage(tmp_path: Path) -> AsyncIterator[Stage]:
    async with running_stage(tmp_path, guilds=40) as running:
        yield running


def prepared(stage: Stage) -> Pod:
    (pod,) = stage.generation(1, count=2, pods=1)
    stage.write(1, "record/record.json", contract.encode(record(1, active=1)))
    return pod


def store(pod: Pod) -> Path:
    return pod.state / "worker-0" / "spill.sqlite"


async def backlog(stage: Stage, pod: Pod, events: int) -> None:
    """The receiver is away, and *events* more come."""
    await stage.control(stage.receiver, "behaviour", {"status": 503})
    before = (await pod.status()).queued
    await stage.control(stage.simulator, "load", {"rate": 2000, "events": events})

    async def waits() -> bool:
        return (await pod.status()).queued >= before + events

    await eventually(waits, what="a backlog", seconds=60)


async def all_arrives(stage: Stage, pod: Pod) -> None:
    await stage.control(stage.receiver, "behaviour", {})

    async def nothing_waits() -> bool:
        return (await pod.status()).queued == 0

    await eventually(nothing_waits, what="the backlog is delivered", seconds=60)
    verdict = await stage.settled_verdict()
    assert (verdict.lost, verdict.stream_violations) == (0, 0), verdict.lost_examples
    assert verdict.duplicated == verdict.redelivered
    counters = (await pod.status()).counters
    assert (counters["dropped"], counters["lostSessions"]) == (0, 0)


def errors(pod: Pod) -> str:
    return "\n".join(line["message"] for line in pod.lines if line["level"] == "error")


async def disk_problem(pod: Pod) -> str | None:
    return (await pod.status()).disk_problem


async def test_a_disk_that_takes_no_more_is_told_and_used_again_once_it_does(stage: Stage) -> None:
    pod = prepared(stage)
    await pod.start()
    await pod.until_ready()
    (worker,) = pod.worker_pids()
    unlimited = resource.prlimit(worker, resource.RLIMIT_FSIZE, (1 << 20, resource.RLIM_INFINITY))
    await backlog(stage, pod, 6000)
    problem = await eventually(lambda: disk_problem(pod), what="that the queue is not on disk")
    assert problem.startswith("The store for queued events ")
    assert "Delivery goes on from memory" in errors(pod)
    status = await pod.status()
    assert status.queued > status.stored
    resource.prlimit(worker, resource.RLIMIT_FSIZE, unlimited)

    async def works() -> bool:
        status = await pod.status()
        return status.disk_problem is None and status.stored == status.queued

    await eventually(works, what="the queue is on disk again", seconds=60)
    await all_arrives(stage, pod)


async def test_a_store_that_cannot_be_opened_is_told_and_delivery_works_from_memory(stage: Stage) -> None:
    pod = prepared(stage)
    store(pod).mkdir(parents=True)  # also root cannot open it for writing
    await pod.start()
    await pod.until_ready()
    await backlog(stage, pod, 500)
    assert await disk_problem(pod) is not None
    assert "Delivery works from memory until it does." in errors(pod)
    assert (await pod.status()).stored == 0
    await all_arrives(stage, pod)


async def test_a_damaged_store_is_kept_and_discord_sends_again_what_it_held(stage: Stage) -> None:
    pod = prepared(stage)
    await pod.start()
    await pod.until_ready()
    await backlog(stage, pod, 3000)

    async def stored() -> bool:
        return (await pod.status()).stored >= 3000

    await eventually(stored, what="all on disk")
    await pod.end(signal.SIGKILL)
    for suffix in ("-wal", "-shm"):
        Path(f"{store(pod)}{suffix}").unlink(missing_ok=True)
    store(pod).write_bytes(b"This was a database. " * 1000)
    again = Pod(stage, 1, 0)
    stage.pods.append(again)
    await again.start()
    await again.until_all_ready()
    assert "is damaged" in errors(again) and "It is kept as" in errors(again)
    (kept,) = store(pod).parent.glob("spill.sqlite.damaged-*")
    assert kept.read_bytes().startswith(b"This was a database.")
    await all_arrives(stage, again)
    assert (await stage.counters())["identifiesAccepted"] == 2
