"""Pods in one process on virtual time: a handover with kills at chosen moments, from one seed."""

from __future__ import annotations

import asyncio
import errno
from pathlib import Path

import pytest
from runtime.stage import record
from runtime.town import GUILDS, all_ready, handed_over, make_town
from virtual.world import World, run_world

from shard_runtime import contract
from shard_runtime.supervisor.workers import UnavailableError


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(
    "kill",
    [
        "nobody",
        "standby",
        "old after the seal",
        "new after the seal",
        "new when complete",
        "new when the old is gone",
    ],
)
def test_a_handover_loses_nothing_whoever_is_killed(kill: str, seed: int) -> None:
    async def story(world: World) -> None:
        town = make_town(world)
        old, new = town.pod(1, 1, 1), town.pod(2, 2, 2)
        await old.start().adopt_record(record(1, active=1))
        await world.until(lambda: all_ready(old), within=30)
        await new.start().adopt_record(record(2, active=1, target=2))
        assert old.pod is not None and new.pod is not None
        await old.pod.adopt_record(record(2, active=1, target=2))
        await world.until(lambda: all_ready(new), within=30)
        await town.talk(13)
        if kill == "standby":
            new.kill()
            new.start()
            await town.talk(5)
            await world.until(lambda: all_ready(new), within=30)
        town.bot.up = not kill.endswith("after the seal")
        await town.talk(2)
        talking = asyncio.create_task(town.talk(10))
        assert new.pod is not None
        await new.pod.adopt_record(record(3, active=2))
        await asyncio.sleep(2)
        victim = {"old after the seal": old, "new after the seal": new, "new when complete": new}.get(kill)
        if victim is not None:
            victim.kill()
            await asyncio.sleep(1)
            victim.start()
        await asyncio.sleep(3)
        town.bot.up = True
        await world.until(lambda: handed_over(new), within=60)
        await talking
        await old.stop()
        if kill == "new when the old is gone":
            town.bot.up = False
            await town.talk(1)
            new.kill()
            new.start()
            town.bot.up = True
        await town.talk(2)
        await asyncio.sleep(5)

        numbers = town.bot.numbers
        assert set(numbers) == set(range(town.sent)), "nothing is lost"
        assert town.bot.names.count("READY") == 1, "the target's READY is not the bot's business"
        assert town.bot.names.count("GUILD_CREATE") == len(GUILDS), "nor are its start-up snapshots"
        for guild in range(len(GUILDS)):
            first_seen = list(dict.fromkeys(number for number in numbers if number % len(GUILDS) == guild))
            assert first_seen == sorted(first_seen), "the order within a guild holds"
        assert len(town.discord.identifies) == 3, "whoever was killed has resumed"
        if kill == "nobody":
            assert len(numbers) == town.sent, "nothing comes twice"
            assert None not in town.discord.client_closes
        if kill == "old after the seal":  # what it owed was on disk: it has no use for its session any more
            assert len(town.discord.resumes) == 0
        else:
            assert 1000 in town.discord.client_closes, "the old generation's session is ended"

    run_world(story, seed=seed)


@pytest.mark.parametrize("seed", range(3))
def test_a_killed_pod_goes_on_from_its_watermark(seed: int) -> None:
    async def story(world: World) -> None:
        town = make_town(world)
        pod = town.pod(1, 2, 2)
        await pod.start().adopt_record(record(1, active=1))
        await world.until(lambda: all_ready(pod), within=30)
        town.bot.up = False
        await town.talk(3)
        for _ in range(3):
            pod.kill()
            pod.start()
            await town.talk(world.chance.uniform(0.5, 3))
        town.bot.up = True
        await world.until(lambda: set(town.bot.numbers) == set(range(town.sent)), within=60)
        await pod.stop()
        assert len(town.discord.identifies) == 2
        assert set(town.discord.client_closes) <= {None, 4000}

    run_world(story, seed=seed)


@pytest.mark.parametrize("error", [errno.ENOSPC, errno.EROFS], ids=["full", "read-only"])
def test_a_pod_whose_disk_takes_nothing_can_be_restarted(error: int) -> None:
    async def story(world: World) -> None:
        town = make_town(world)
        pod = town.pod(1, 2, 1)
        await pod.start().adopt_record(record(1, active=1))
        await world.until(lambda: all_ready(pod), within=30)
        world.disk(pod.machine).fail_writes = OSError(error, "nothing can be written")
        pod.kill()
        pod.start()
        await world.until(lambda: all_ready(pod), within=30)
        assert pod.pod is not None and pod.pod.role is contract.Role.ACTIVE
        pod.kill()
        pod.uid = "another"
        with pytest.raises(OSError):
            pod.start()  # an earlier incarnation would not learn that it is over

    run_world(story)


@pytest.mark.parametrize("trouble", ["unreadable", "not a role"])
def test_a_role_that_cannot_be_read_ends_no_session_and_is_told_once(
    trouble: str, caplog: pytest.LogCaptureFixture
) -> None:
    async def story(world: World) -> None:
        town = make_town(world)
        pod = town.pod(1, 2, 1)
        await pod.start().adopt_record(record(1, active=1))
        await world.until(lambda: all_ready(pod), within=30)
        assert pod.pod is not None
        disk, path = world.disk(pod.machine), Path("/var/lib/discord-gateway/role.json")
        for times in (1, 2):
            written = disk.read(path)
            assert written is not None
            if trouble == "unreadable":
                disk.fail_reads = OSError(errno.EIO, "Input/output error")
            else:
                disk.write(path, b"{")
            assert [pod.pod.superseded() for _ in range(3)] == [False] * 3
            with pytest.raises(OSError):
                await pod.pod.adopt_record(record(1 + times, active=1))
            disk.fail_reads = None
            disk.write(path, written)
            assert not pod.pod.superseded()
            assert caplog.text.count("role.json cannot be read") == times
        disk.write(path, written.replace(b'"podUID":"uid"', b'"podUID":"newer"'))
        assert pod.pod.superseded()

    run_world(story)


def test_a_sealed_pod_that_lost_its_disk_does_not_pass_for_one_that_accepts() -> None:
    """A pod of the target that hears of the commit late keeps what it holds from the seal on: nobody else has it."""

    async def story(world: World) -> None:
        town = make_town(world)
        old, new = town.pod(1, 1, 1), town.pod(2, 1, 1)
        await old.start().adopt_record(record(2, active=1, target=2))
        await world.until(lambda: all_ready(old), within=30)
        await new.start().adopt_record(record(2, active=1, target=2))
        await world.until(lambda: all_ready(new), within=30)
        await town.talk(10)
        assert old.pod is not None and new.pod is not None
        request = contract.HandoverRequest(generation=2, count=1, shards=[0])
        await old.pod.seal(request)  # as another pod of the target has it done
        await town.talk(2)
        old.kill()
        world.disk(old.machine).wipe()
        old.start()
        await old.pod.adopt_record(record(3, active=2))
        await town.talk(15)
        with pytest.raises(UnavailableError):
            await old.pod.window(request)
        await new.pod.adopt_record(record(3, active=2))
        await town.talk(2)
        await world.until(lambda: handed_over(new), within=60)
        await asyncio.sleep(5)
        assert set(range(town.sent)) - set(town.bot.numbers) == set()

    run_world(story)
