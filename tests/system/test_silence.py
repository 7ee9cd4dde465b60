"""A link between an old pod and Discord goes silent, without a close, while a reshard is under way.

Nothing shows it but that nothing comes. What Discord sends into the dead connection before the target's sessions are
there comes only when the old ones resume.
"""

from __future__ import annotations

import pytest
from system.acts import check_resharded, come_up, let_a_moment_pass, until_committed, until_resharded
from system.faults import PATIENT
from system.story import System, run_story

SEEDS = [1, 2, *(pytest.param(seed, marks=pytest.mark.verify) for seed in range(3, 13))]


@pytest.mark.parametrize("seed", SEEDS)
def test_a_silent_link_from_before_the_target_costs_nothing(seed: int) -> None:
    async def story(system: System) -> None:
        await come_up(system)
        system.cut("bot-g1-1", "discord")
        await system.sleep(4)
        system.patch_count(16)
        await let_a_moment_pass(system, 15, 60)
        system.heal()
        await until_resharded(system)

    check_resharded(run_story(story, seed=seed, settings=PATIENT))


@pytest.mark.parametrize("seed", SEEDS)
def test_a_link_that_goes_silent_while_both_sides_record_costs_nothing(seed: int) -> None:
    async def story(system: System) -> None:
        await come_up(system)
        system.patch_count(16)
        await system.until("it overlaps", lambda: step(system) == "Overlapping", within=60)
        await let_a_moment_pass(system, 0, 7)
        system.cut("bot-g1-1", "discord")
        await let_a_moment_pass(system, 5, 60)
        system.heal()
        await until_resharded(system)

    check_resharded(run_story(story, seed=seed, settings=PATIENT))


@pytest.mark.parametrize("seed", SEEDS)
def test_what_a_sealed_session_had_not_got_comes_from_the_new_one(seed: int) -> None:
    """One of the old sessions is cut off from the commit on, the others of its worker are not, and the pod is sealed
    after the time for which it remembers what it accepts. It has nothing to say of what Discord sent in between."""

    async def story(system: System) -> None:
        await come_up(system)
        system.patch_count(16)
        await until_committed(system)
        shard = system.chance.randrange(4, 8)
        system.discord.fault("stall", count=8, shard=shard, seconds=60.0)
        system.discord.fault("dropHeartbeatAcks", count=8, shard=shard, seconds=60.0)
        for number in range(4):
            system.cut("bot-g1-1", f"bot-g2-{number}")
        await let_a_moment_pass(system, 8, 14)
        system.heal()
        await system.until("all pods have taken over", lambda: system.handed_over(2), within=60)
        await until_resharded(system)

    outcome = run_story(story, seed=seed, settings=PATIENT)
    check_resharded(outcome)


def step(system: System) -> str | None:
    reshard = system.status.get("reshard")
    return None if reshard is None else reshard["step"]
