"""Pods as processes: what arrives, what survives a kill and a restart, and a handover between two generations."""

from __future__ import annotations

import os
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from runtime.stage import OPERATOR, TOKEN, Pod, Stage, eventually, record, running_stage

from shard_runtime import contract
from shard_runtime.contract import Role


@pytest_asyncio.fixture
async def stage(tmp_path: Path) -> AsyncIterator[Stage]:
    async with running_stage(tmp_path) as running:
        yield running


@pytest_asyncio.fixture
async def pod(stage: Stage) -> Pod:
    """The only pod of an active first generation, with two workers of two shards each."""
    (only,) = stage.generation(1, count=4, pods=1, workers=2)
    stage.write(1, "record/record.json", contract.encode(record(1, active=1)))
    await only.start()
    await only.until_ready()
    return only


async def test_events_arrive_once_and_in_order(stage: Stage, pod: Pod) -> None:
    await stage.control(stage.simulator, "load", {"rate": 2000, "events": 2000})

    async def all_made() -> bool:
        return bool((await stage.counters())["sent"] >= 2000)

    await eventually(all_made, what="the load")
    verdict = await stage.settled_verdict()
    assert (verdict.lost, verdict.duplicated, verdict.lane_violations, verdict.stream_violations) == (0, 0, 0, 0)
    assert verdict.uncounted >= 4 + 40, "READY and the guilds' first state are forwarded by an active generation"
    status = await pod.status()
    assert (status.role, status.queued, status.receiver.reachable) == (Role.ACTIVE, 0, True)
    assert [shard.id for shard in status.shards] == [0, 1, 2, 3]
    assert sum(shard.guilds for shard in status.shards) == 40
    assert status.counters["acknowledged"] == status.counters["accepted"] >= 2000
    assert len(stage.permits) == len(stage.results) == 4
    assert {result.outcome for result in stage.results} == {contract.PermitOutcome.READY}


async def test_a_killed_worker_resumes_without_identify_and_leaves_the_other_alone(stage: Stage, pod: Pod) -> None:
    await stage.load(1000)
    first, second = pod.worker_pids()
    os.kill(first, signal.SIGKILL)

    async def restarted() -> bool:
        return len(pod.worker_pids()) == 2 and first not in pod.worker_pids()

    await eventually(restarted, what="a new worker")
    assert second in pod.worker_pids()
    await pod.until_all_ready()
    await stage.load(0)
    verdict = await stage.settled_verdict()
    counters = await stage.counters()
    assert verdict.lost == 0
    assert verdict.duplicated == verdict.redelivered, "what comes twice comes with the same session and sequence"
    assert (counters["identifiesAccepted"], counters["resumesAccepted"]) == (4, 2)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
async def test_a_restarted_pod_resumes_its_sessions(stage: Stage, pod: Pod, number: signal.Signals) -> None:
    await stage.load(500)
    workers = pod.worker_pids()
    code = await pod.end(number)
    assert code == (0 if number is signal.SIGTERM else -signal.SIGKILL)

    async def gone() -> bool:
        return not any(runs(pid) for pid in workers)

    await eventually(gone, what="workers die with their supervisor")
    closed = (await stage.counters())["closedByClient"]
    assert set(closed) <= {"4000"}, "a session that goes on is never closed with 1000 or 1001"
    again = Pod(stage, 1, 0, uid="uid-2")
    stage.pods.append(again)
    await again.start()
    await again.until_all_ready()
    await stage.load(0)
    verdict = await stage.settled_verdict()
    counters = await stage.counters()
    assert verdict.lost == 0
    assert verdict.duplicated == verdict.redelivered
    assert (counters["identifiesAccepted"], counters["resumesAccepted"]) == (4, 4)
    if number is signal.SIGTERM:
        assert verdict.duplicated == 0, "a graceful stop delivers what it accepted"


def runs(pid: int) -> bool:
    """Whether the process exists and is not merely waiting to be reaped."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


async def test_an_older_incarnation_does_not_start(stage: Stage, pod: Pod) -> None:
    await pod.end()
    newer = Pod(stage, 1, 0, uid="uid-2")
    stage.pods.append(newer)
    await newer.start()
    await newer.end()
    older = Pod(stage, 1, 0, uid="uid-1")
    stage.pods.append(older)
    with pytest.raises(AssertionError, match="has taken over the state"):
        await older.start()
    assert await older.end() == 1


async def test_the_receivers_absence_loses_nothing(stage: Stage, pod: Pod) -> None:
    await stage.control(stage.receiver, "behaviour", {"status": 503})
    await stage.control(stage.simulator, "load", {"rate": 1000, "events": 500})

    async def seen() -> bool:
        status = await pod.status()
        return not status.receiver.reachable and status.queued >= 500

    await eventually(seen, what="the status says so")
    await stage.control(stage.receiver, "behaviour", {})
    verdict = await stage.settled_verdict()
    assert (verdict.lost, verdict.duplicated) == (0, 0)


async def test_changed_mounts_are_followed(stage: Stage, pod: Pod) -> None:
    other = f"{stage.receiver}/other"
    stage.write(1, "forward/forward.json", contract.encode(contract.ForwardConfig(url=other)))
    stage.write(1, "auth/operator", (OPERATOR + "-new").encode())

    async def followed() -> bool:
        return (await pod.call("GET", "/v1/status"))[0] == 401

    await eventually(followed, what="the new bearer token")
    stage.write(1, "auth/operator", OPERATOR.encode())

    async def back() -> bool:
        return (await pod.call("GET", "/v1/status"))[0] == 200

    await eventually(back, what="the old bearer token again")
    assert any("changed forward configuration" in line["message"] for line in pod.lines)


async def test_a_refused_token_is_tried_once_until_it_changes(stage: Stage) -> None:
    (pod,) = stage.generation(1, count=2, pods=1)
    stage.write(1, "record/record.json", contract.encode(record(1, active=1)))
    stage.write(1, "token/token", b"a-wrong-token-of-a-test")
    await pod.start()

    async def stopped() -> bool:
        status = await pod.status()
        return all(shard.state is contract.ShardState.STOPPED for shard in status.shards)

    await eventually(stopped, what="all shards stop")
    status = await pod.status()
    assert {shard.close_code for shard in status.shards} == {4004}
    assert "token" in (status.shards[0].problem or "")
    attempts = (await stage.counters())["identifyAttempts"]
    assert attempts == 2
    assert len(pod.worker_pids()) == 1
    stage.write(1, "token/token", TOKEN.encode())
    await pod.until_all_ready()
    assert (await stage.counters())["identifiesAccepted"] == 2


@pytest.mark.parametrize("victim", ["nobody", "old pod", "old and new"])
@pytest.mark.timeout(300)
async def test_handover_of_two_pods_to_two_others(stage: Stage, victim: str) -> None:
    """Also while the receiver is away and pods of either generation are killed after the seal."""
    old = stage.generation(1, count=4, pods=2)
    stage.write(1, "record/record.json", contract.encode(record(1, active=1)))
    for pod in old:
        await pod.start()
    for pod in old:
        await pod.until_ready()
    await stage.load(1000)

    begun = record(2, active=1, target=2)
    layout = contract.ShardLayout(count=4, first=0, last=3, per_worker=2, workers_per_pod=1)
    new = stage.generation(2, count=6, pods=2, predecessor=contract.Predecessor(generation=1, layout=layout))
    stage.write(2, "record/record.json", contract.encode(begun))
    for pod in new:
        await pod.start()
    for pod in new:
        await pod.until_ready()
        assert (await pod.status()).role is Role.STANDBY
    for pod in old:
        assert (await pod.call("PUT", "/v1/record", begun))[0] == 200

    async def standby_saw_traffic() -> bool:
        # 2 s of overlap, the margin that the plain alignment asks for, and then some
        windows = [await pod.call("POST", "/v1/handover/window", _asker()) for pod in old]
        replies = [contract.decode(body, contract.HandoverReply) for _, body in windows]
        return all(_recorded_milliseconds(reply) > 3000 for reply in replies)

    await eventually(standby_saw_traffic, what="an overlap")
    committed = record(3, active=2)
    if victim != "nobody":
        await stage.control(stage.receiver, "behaviour", {"status": 503})
        await eventually(lambda: _backlog(old), what="a backlog at the old generation")
    for pod in [*new, *old]:
        assert (await pod.call("PUT", "/v1/record", committed))[0] == 200
    if victim != "nobody":
        await eventually(lambda: _all_sealed(new), what="seals")
        assert not any([(await pod.status()).handover.complete for pod in new])
        await stage.load(0)
        killed = {"old pod": old[:1], "old and new": [*old, *new]}[victim]
        for pod in killed:
            await pod.end(signal.SIGKILL)
        for pod in killed:
            await pod.start()
        await stage.control(stage.receiver, "behaviour", {})

    async def complete() -> bool:
        statuses = [await pod.status() for pod in new]
        return all(status.handover is not None and status.handover.complete for status in statuses)

    await eventually(complete, what="the handover")
    assert {(await pod.status()).role for pod in old} == {Role.SEALED}
    for pod in old:
        assert await pod.end() == 0
    await stage.load(0)
    verdict = await stage.settled_verdict()
    counters = await stage.counters()
    assert verdict.lost == 0, verdict.lost_examples
    assert verdict.stream_violations == 0, verdict.order_examples
    assert counters["identifiesAccepted"] == 4 + 6
    if victim == "nobody":
        assert verdict.duplicated_unmarked == 0, verdict.duplicated_examples
        assert counters["closedByClient"] == {"1000": 4}, "sessions of a generation that is over are ended"
    if victim == "old pod":
        # it delivers again what it had no record of, with the same session and sequence
        assert verdict.duplicated_unmarked <= verdict.redelivered, verdict.duplicated_examples


async def _backlog(pods: list[Pod]) -> bool:
    return all([(await pod.status()).queued > 200 for pod in pods])


async def _all_sealed(pods: list[Pod]) -> bool:
    statuses = [(await pod.status()).handover for pod in pods]
    return all(status is not None and status.waiting_pods == 0 for status in statuses)


def _asker() -> contract.HandoverRequest:
    return contract.HandoverRequest(generation=2, count=1, shards=[0])


def _recorded_milliseconds(reply: contract.HandoverReply) -> int:
    newest = max((event.arrival for window in reply.windows for event in window.events), default=0)
    return newest - (reply.recorded_since or newest)


async def test_an_aborted_target_ends_its_sessions(stage: Stage, pod: Pod) -> None:
    layout = contract.ShardLayout(count=4, first=0, last=3, per_worker=2, workers_per_pod=2)
    (target,) = stage.generation(2, count=2, pods=1, predecessor=contract.Predecessor(generation=1, layout=layout))
    stage.write(2, "record/record.json", contract.encode(record(2, active=1, target=2)))
    await target.start()
    await target.until_ready()
    stage.write(2, "record/record.json", contract.encode(record(3, active=1)))

    async def ended() -> bool:
        return (await stage.counters())["closedByClient"] == {"1000": 2}

    await eventually(ended, what="the target's sessions end")
    assert (await target.status()).role is Role.RETIRED
    assert await target.end() == 0
