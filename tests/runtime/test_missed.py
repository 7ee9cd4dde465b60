"""A session of the new side that Discord ends around the seal: what only the old sessions get is delivered, too."""

from __future__ import annotations

import asyncio
from collections import Counter

import pytest
from runtime.in_process import PodInOneProcess
from runtime.stage import record
from runtime.town import GUILDS, Town, all_ready, handed_over, make_town
from virtual.world import World, run_world


async def hand_over(world: World, town: Town, *, workers: int) -> tuple[PodInOneProcess, PodInOneProcess]:
    """A pod of one shard, and one of two, which is READY and has rehearsed."""
    old, new = town.pod(1, 1, 1), town.pod(2, 2, workers)
    await old.start().adopt_record(record(1, active=1))
    await world.until(lambda: all_ready(old), within=30)
    await new.start().adopt_record(record(2, active=1, target=2))
    assert old.pod is not None
    await old.pod.adopt_record(record(2, active=1, target=2))
    await world.until(lambda: all_ready(new), within=30)
    await town.talk(13)
    return old, new


async def until_alone(
    world: World, town: Town, new: PodInOneProcess, old: PodInOneProcess, talking: asyncio.Task[None]
) -> None:
    """The load is over, the old generation is gone, and nothing was lost."""
    await talking
    await world.until(lambda: handed_over(new), within=60)
    await old.stop()
    await asyncio.sleep(5)
    assert set(town.bot.numbers) == set(range(town.sent)), "nothing is lost"


def end_a_session(town: Town) -> None:
    """One of the new side's."""
    town.discord.end(next(session for session in town.discord.sessions.values() if session.shard == (0, 2)))


def in_order(town: Town) -> bool:
    """Whether each guild's events came in order, redeliveries aside."""
    for guild in range(len(GUILDS)):
        first = list(dict.fromkeys(number for number in town.bot.numbers if number % len(GUILDS) == guild))
        if first != sorted(first):
            return False
    return True


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize("after", [-0.1, 0.05, 0.5, 1.5, 3.0])
def test_a_session_that_is_ended_around_the_seal_costs_nothing(after: float, workers: int) -> None:
    async def story(world: World) -> None:
        town = make_town(world)
        old, new = await hand_over(world, town, workers=workers)
        assert new.pod is not None
        talking = asyncio.create_task(town.talk(30))
        if after < 0:
            end_a_session(town)
            await asyncio.sleep(-after)
        await new.pod.adopt_record(record(3, active=2))
        if after > 0:
            await asyncio.sleep(after)
            end_a_session(town)
            await asyncio.sleep(0.5)
            assert not handed_over(new) or after > 1, "the old generation is needed"
        await talking
        await world.until(lambda: handed_over(new), within=60)
        await old.stop()
        await town.talk(2)
        await asyncio.sleep(5)

        assert set(town.bot.numbers) == set(range(town.sent)), "nothing is lost"
        assert len(town.bot.numbers) == town.sent, "nothing comes twice"
        assert not town.bot.marked
        assert in_order(town)
        assert new.pod.last_status().counters["lostSessions"] == 0

    run_world(story, seed=1)


def test_a_pod_that_lost_its_disk_after_the_seal_marks_what_it_may_have_delivered() -> None:
    async def story(world: World) -> None:
        town = make_town(world)
        old, new = await hand_over(world, town, workers=1)
        assert new.pod is not None
        talking = asyncio.create_task(town.talk(30))
        await new.pod.adopt_record(record(3, active=2))
        await asyncio.sleep(2)
        new.kill()
        world.disk(new.machine).wipe()
        new.uid = "another"
        await new.start().adopt_record(record(3, active=2))
        await until_alone(world, town, new, old, talking)
        copies = [number for number, count in Counter(town.bot.numbers).items() if count > 1]
        assert set(copies) <= town.bot.marked, "nothing comes twice unmarked"

    run_world(story, seed=1)


@pytest.mark.parametrize("after", [0.1, 0.5, 1.5, 2.5])
def test_a_pod_that_is_killed_while_it_waits_for_what_it_missed_asks_again(after: float) -> None:
    async def story(world: World) -> None:
        town = make_town(world)
        old, new = await hand_over(world, town, workers=1)
        assert new.pod is not None
        talking = asyncio.create_task(town.talk(40))
        await new.pod.adopt_record(record(3, active=2))
        await asyncio.sleep(1)
        end_a_session(town)
        await world.until(lambda: not all_ready(new), within=5)
        await world.until(lambda: all_ready(new), within=20)
        await asyncio.sleep(after)
        new.kill()
        new.start()
        await until_alone(world, town, new, old, talking)
        copies = [number for number, count in Counter(town.bot.numbers).items() if count > 1]
        assert set(copies) <= town.bot.marked | set(town.bot.again), "nothing comes twice unmarked"

    run_world(story, seed=1)


def test_what_was_missed_comes_after_what_the_old_side_still_owes() -> None:
    async def story(world: World) -> None:
        town = make_town(world)
        old, new = await hand_over(world, town, workers=1)
        assert new.pod is not None
        talking = asyncio.create_task(town.talk(30))
        await asyncio.sleep(0.5)
        town.bot.up = False
        await asyncio.sleep(1)
        await new.pod.adopt_record(record(3, active=2))
        await asyncio.sleep(1)
        end_a_session(town)
        await asyncio.sleep(9)
        town.bot.up = True
        await until_alone(world, town, new, old, talking)
        assert in_order(town)
        assert len(town.bot.numbers) == town.sent, "nothing comes twice"

    run_world(story, seed=1)


def test_what_nobody_can_say_is_a_gap() -> None:
    async def story(world: World) -> None:
        town = make_town(world)
        old, new = await hand_over(world, town, workers=1)
        assert new.pod is not None
        talking = asyncio.create_task(town.talk(30))
        await new.pod.adopt_record(record(3, active=2))
        await asyncio.sleep(1)
        end_a_session(town)
        await asyncio.sleep(0.3)
        old.kill()
        old.start()
        await talking
        await world.until(lambda: handed_over(new), within=60)
        assert new.pod.last_status().counters["lostSessions"] == 1

    run_world(story, seed=1)
