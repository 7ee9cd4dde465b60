"""Pods and workers that die without a word: their sessions are resumed, and nothing is lost."""

from __future__ import annotations

import base64
import errno

import pytest
from gateway_operator.cluster.port import POD, SECRET
from system.acts import check, check_resharded, come_up, let_a_moment_pass, until_committed, until_resharded
from system.faults import PATIENT, kill_pod, kill_worker
from system.story import System, run_story

SEEDS = range(1, 3)


async def kill_somebody(system: System) -> None:
    """A whole pod or one of its workers; both come back on the same disk."""
    await system.chance.choice([kill_pod, kill_worker])(system)


@pytest.mark.parametrize("seed", SEEDS)
def test_killed_pods_and_workers_resume_before_a_reshard(seed: int) -> None:
    async def story(system: System) -> None:
        await come_up(system)
        pod = system.chance.choice(system.pods(1))
        pod.kill()
        await system.until("the pod is back", lambda: system.shards_ready(1) == 8, within=30)
        await let_a_moment_pass(system, 1, 5)
        system.chance.choice(system.pods(1)).kill_worker(system.chance.choice([0, 1]))
        await system.until("the worker is back", lambda: system.shards_ready(1) == 8, within=30)
        system.patch_count(16)
        await until_resharded(system)

    outcome = run_story(story, seed=seed)
    check_resharded(outcome)
    assert outcome.counters.resumes_accepted == 4 + 2


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("moment", ["preparing", "committed"])
def test_killed_pods_and_workers_resume_in_a_reshard(moment: str, seed: int) -> None:
    async def story(system: System) -> None:
        await come_up(system)
        system.patch_count(16)
        if moment == "committed":
            await until_committed(system)
        for _ in range(3):
            await let_a_moment_pass(system, 0, 1 if moment == "committed" else 6)
            await kill_somebody(system)
        await until_resharded(system)

    check_resharded(run_story(story, seed=seed))


@pytest.mark.parametrize("seed", SEEDS)
def test_killed_pods_and_workers_resume_after_a_reshard(seed: int) -> None:
    async def story(system: System) -> None:
        await come_up(system)
        system.patch_count(16)
        await until_resharded(system)
        system.discord.load(60)
        for _ in range(2):
            await let_a_moment_pass(system, 1, 10)
            await kill_somebody(system)
            await system.until("all shards are back", lambda: system.shards_ready(2) == 16, within=60)
        await system.settle()

    outcome = run_story(story, seed=seed)
    check(outcome)
    assert outcome.counters.resumes_accepted >= 4


@pytest.mark.parametrize("seed", SEEDS)
def test_a_disk_that_was_full_at_the_seal_costs_nothing_when_a_worker_dies_later(seed: int) -> None:
    """What was found of the streams' places must be on disk before a session is saved that had gone on behind them."""

    async def story(system: System) -> None:
        await come_up(system)
        system.patch_count(16)
        await until_committed(system)
        await let_a_moment_pass(system, 0.3, 0.5)
        disks = [system.world.disk(pod.name) for pod in system.pods(2)]
        for disk in disks:
            disk.fail_writes = OSError(errno.ENOSPC, "No space left on device")
        await system.sleep(1.5)
        for disk in disks:
            disk.fail_writes = None
        await until_resharded(system)
        system.discord.load(60)
        await let_a_moment_pass(system, 5, 10)
        for pod in system.pods(2):
            for worker in sorted(pod.life.workers if pod.life is not None else ()):
                pod.kill_worker(worker)
        await system.settle()

    check(run_story(story, seed=seed))


@pytest.mark.parametrize("seed", SEEDS)
def test_a_template_that_changes_right_after_a_reshard_costs_no_identify(seed: int) -> None:
    async def story(system: System) -> None:
        await come_up(system)
        system.patch_count(16)
        await until_resharded(system)
        system.discord.load(60)
        before = set(system.pods(2))
        system.patch_template(env=[{"name": "ROLLED", "value": "yes"}])

        def rolled() -> bool:
            after = set(system.pods(2))
            return len(after) == len(before) and not after & before and system.shards_ready(2) == 16

        await system.until("every pod is replaced", rolled, within=120)
        await system.settle()

    outcome = run_story(story, seed=seed)
    check(outcome)
    assert outcome.counters.resumes_accepted == 16


@pytest.mark.parametrize("seed", SEEDS)
def test_a_pod_replaced_before_it_had_all_copies_of_what_the_old_generation_delivered(seed: int) -> None:
    """Its sessions are away at the cutover, so that what places its streams comes only to the pod after it."""

    async def story(system: System) -> None:
        await come_up(system)
        system.patch_count(16)
        await until_committed(system)
        system.discord.fault("invalidate", resumable=True)
        await system.until_record(lambda record: record.retired == 1, within=60)
        before = set(system.pods(2))
        for pod in before:
            system.store.delete(POD, "default", pod.name)
        await system.until(
            "every pod is replaced",
            lambda: len(after := set(system.pods(2))) == 4 and not after & before and system.shards_ready(2) == 16,
            within=120,
        )
        await until_resharded(system)

    outcome = run_story(story, seed=seed, settings=PATIENT)
    check_resharded(outcome)
    assert outcome.marked > 0


@pytest.mark.parametrize("seconds", [-20.0, 20.0])
@pytest.mark.parametrize("generation", [1, 2])
def test_a_clock_that_is_set_while_streams_move(generation: int, seconds: float) -> None:
    """What a restarted process tells in times fits what the one before it told."""

    async def story(system: System) -> None:
        await come_up(system)
        system.patch_count(16)
        await until_committed(system)
        for pod in system.pods(generation):
            pod.set_clock(seconds)
            pod.kill()
        await until_resharded(system)

    for seed in SEEDS:
        check_resharded(run_story(story, seed=seed))


@pytest.mark.parametrize("seed", SEEDS)
def test_pods_that_lose_all_they_have_at_the_commit_take_over_when_they_have_sessions_again(seed: int) -> None:
    """Until then the old generation goes on."""

    async def story(system: System) -> None:
        await come_up(system)
        system.patch_count(16)
        await until_committed(system)
        for pod in system.pods(2):
            pod.kill()
            system.world.disk(pod.name).wipe()
        await until_resharded(system)

    outcome = run_story(story, seed=seed)
    check(outcome, identifies=8 + 16 + 16)
    assert outcome.shards == 16


@pytest.mark.parametrize("seed", SEEDS)
def test_what_a_killed_pod_had_not_delivered_comes_again(seed: int) -> None:
    async def story(system: System) -> None:
        await come_up(system)
        system.bot.stop()
        await let_a_moment_pass(system, 2, 8)
        for pod in system.pods(1):
            pod.kill()
        await system.until("the pods are back", lambda: system.shards_ready(1) == 8, within=30)
        system.bot.start()
        await let_a_moment_pass(system, 5, 10)
        await system.settle()

    check(run_story(story, seed=seed, settings=PATIENT), identifies=8)


def test_a_rotated_token_leaves_live_connections_alone_and_is_used_from_then_on() -> None:
    seen: list[tuple[int, int]] = []

    async def story(system: System) -> None:
        def note() -> None:
            counters = system.discord.counters
            seen.append((counters.identifies_accepted, counters.resumes_accepted))

        await come_up(system)
        note()
        new = "MTEwMDAwMDAwMDAwMDAwMDAwMA.rotated.token"
        system.discord.gateway.application.token = new
        encoded = base64.b64encode(new.encode()).decode()
        system.store.change(SECRET, "default", "bot", lambda secret: secret["data"].update(token=encoded))
        await system.sleep(60)
        note()
        system.discord.fault("drop")
        await system.until("all are resumed", lambda: system.discord.counters.resumes_accepted == 8, within=30)
        note()
        system.discord.load(0)
        await system.sleep(5)
        system.discord.fault("invalidate", resumable=False)
        await system.until("all are started anew", lambda: system.discord.counters.identifies_accepted == 16, within=90)
        await system.until("and READY", lambda: system.at_rest(generation=1, shards=8), within=60)

    outcome = run_story(story, seed=1)
    assert seen == [(8, 0), (8, 0), (8, 8)], "identifies and resumes: nothing at the change, then with the new token"
    assert outcome.counters.identify_attempts == 16, "none with the old token"
    assert outcome.counters.resumes_refused == {}
    assert outcome.verdict.lost == 0
