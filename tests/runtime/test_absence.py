"""The receiver is away for ten minutes, and more comes than memory is meant to hold: a whole pod, on virtual time."""

from __future__ import annotations

import asyncio

import pytest
from runtime.in_process import PodInOneProcess
from runtime.stage import record
from runtime.town import GUILDS, all_ready, make_town
from virtual.world import World, run_world

from shard_runtime import contract
from shard_runtime.delivery.spill_writes import KEPT_IN_MEMORY

MINUTES = 10
RATE = 20
"""Events per second; of a size that makes ten minutes of them more than twice what four lanes keep in memory."""
FILLER = "x" * 1500


def in_memory(pod: PodInOneProcess) -> int:
    return sum(worker._delivery.memory for worker in pod.workers[-1:])


@pytest.mark.parametrize("killed", [False, True], ids=["alive", "killed in the middle"])
def test_ten_minutes_without_the_receiver_lose_nothing_and_keep_the_order(killed: bool) -> None:
    async def story(world: World) -> None:
        town = make_town(world)
        pod = town.pod(1, 2, 1)
        await pod.start().adopt_record(record(1, active=1))
        await world.until(lambda: all_ready(pod), within=30)
        town.bot.up = False
        most = 0
        for second in range(60 * MINUTES):
            if killed and second == 30 * MINUTES:
                pod.kill()
                pod.start()
            for _ in range(RATE):
                guild = GUILDS[town.sent % len(GUILDS)]
                body = {"id": str(10**18 + town.sent), "guild_id": str(guild), "number": town.sent, "content": FILLER}
                for session in town.discord.sessions.values():
                    if contract.shard_of_guild(guild, session.shard[1]) == session.shard[0]:
                        session.dispatch("MESSAGE_CREATE", body)
                town.sent += 1
                await asyncio.sleep(1 / RATE)
            most = max(most, in_memory(pod))
        assert pod.pod is not None
        status = pod.pod.last_status()
        assert status.queued >= town.sent - RATE
        assert status.stored >= town.sent - 3 * RATE, "all but the last moments is on disk"
        bound = 4 * KEPT_IN_MEMORY
        assert town.sent * len(FILLER) > 2 * bound
        assert most < 1.25 * bound, "four lanes keep their beginnings, and what is just being written"
        assert not status.receiver.reachable
        town.bot.up = True
        await world.until(lambda: len(set(town.bot.numbers)) == town.sent, within=120)
        await asyncio.sleep(5)
        assert len(town.bot.numbers) == town.sent, "nothing comes twice"
        for guild in range(len(GUILDS)):
            own = [number for number in town.bot.numbers if number % len(GUILDS) == guild]
            assert own == sorted(own), "the order holds"
        assert pod.pod.last_status().counters["dropped"] == 0
        assert len(town.discord.identifies) == 2
        await pod.stop()

    run_world(story, seed=7)
