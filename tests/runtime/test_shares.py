"""The queue's bounds are the pod's: its workers share them."""

from __future__ import annotations

import logging
from pathlib import Path

from runtime.configuration import configuration
from runtime.stage import record
from runtime.town import GUILDS, all_ready, make_town
from virtual.disk import VirtualDisk
from virtual.world import World, run_world

from shard_runtime import contract
from shard_runtime.channel import DirectLink
from shard_runtime.mounts import Secrets
from shard_runtime.orders import Done, FromWorker, NewForward, ToWorker
from shard_runtime.supervisor.pod import Pod


def test_each_worker_has_its_share_of_the_bounds_also_of_changed_ones() -> None:
    async def story(world: World) -> None:
        told: list[ToWorker] = []

        async def worker(message: ToWorker) -> FromWorker:
            told.append(message)
            return Done()

        layout = contract.ShardLayout(count=8, first=0, last=7, per_worker=2, workers_per_pod=4)
        config = configuration(layout=layout)
        queue = contract.QueueBounds(max_events=1000, max_bytes=4 << 20, max_age_seconds=60.0)
        pod = Pod(
            config=config,
            forward=contract.ForwardConfig(url="http://bot", queue=queue),
            secrets=Secrets(token="token", operator="operator", bot=None),
            pod=0,
            pod_uid="uid",
            state=Path("/state"),
            clock=world.clock,
            disk=VirtualDisk(),
            log=logging.getLogger("test"),
        )
        begin = pod.begin(0)
        share = begin.forward.queue
        assert (share.max_events, share.max_bytes, share.max_age_seconds) == (250, 1 << 20, 60.0)
        pod.attach(0, DirectLink(worker), begin)
        changed = contract.ForwardConfig(url="http://bot", queue=contract.QueueBounds(max_events=2, max_bytes=8 << 20))
        await pod.adopt_forward(changed)
        (forward,) = [message.forward for message in told if isinstance(message, NewForward)]
        assert (forward.queue.max_events, forward.queue.max_bytes) == (1, 2 << 20)

    run_world(story)


def test_the_queues_of_all_workers_together_leave_a_fifth_of_the_volume_free() -> None:
    volume, size = 4 << 20, 50_000

    async def story(world: World) -> None:
        town = make_town(world)
        pod = town.pod(1, 8, 4)
        pod.forward = contract.ForwardConfig(url="http://bot", queue=contract.QueueBounds(overflow="DropOldest"))
        world.disk(pod.machine).volume = volume
        await pod.start().adopt_record(record(1, active=1))
        await world.until(lambda: all_ready(pod), within=60)
        town.bot.up = False
        for number in range(160):
            guild = GUILDS[number % len(GUILDS)]
            for session in town.discord.sessions.values():
                if contract.shard_of_guild(guild, session.shard[1]) == session.shard[0]:
                    session.dispatch("MESSAGE_CREATE", {"guild_id": str(guild), "content": "x" * size})
            await world.clock.sleep(0.1)
        await world.clock.sleep(5)
        queued = [worker.status().queued for worker in pod.workers]
        assert len(queued) == 4 and min(queued) * size > 0.15 * volume
        assert sum(queued) * size <= 0.8 * volume

    run_world(story)
