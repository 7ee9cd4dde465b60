"""A world for tests: machines with processes, disks and a network, on virtual time, from one seed.

::

    async def story(world: World) -> None:
        world.network.serve("gateway.test", websocket=discord)
        pod = world.process("pod-0")
        shard = Shard(clock=pod.clock, chance=pod.chance, network=pod.network, ...)
        pod.spawn(shard.run(), name="shard 0")
        await world.clock.sleep(3600)          # takes milliseconds
        pod.kill()                             # kill -9: nothing the process tries from here on has an effect
        pod = world.process("pod-0")           # the next process on the same machine finds the same disk

    run_world(story, seed=7)

Code under test must take time, chance, network and disk from its process and may use asyncio freely. Exceptions that
would only be logged (a forgotten task, a server's handler) fail the run.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, TypeVar

from virtual.clock import VirtualClock
from virtual.disk import DiskOfProcess, VirtualDisk
from virtual.loop import run_virtual
from virtual.network import NetworkOfProcess, VirtualNetwork

Result = TypeVar("Result")


class Process:
    """One process on a machine: its view of the world, and its tasks."""

    def __init__(
        self, *, name: str, clock: VirtualClock, chance: random.Random, network: NetworkOfProcess, disk: DiskOfProcess
    ) -> None:
        self.name = name
        self.clock = clock
        self.chance = chance
        self.network = network
        self.disk = disk
        self._tasks: list[asyncio.Task[Any]] = []
        self.alive = True

    def spawn(self, work: Coroutine[Any, Any, Result], *, name: str) -> asyncio.Task[Result]:
        """Run *work* as part of this process."""
        task = asyncio.get_running_loop().create_task(work, name=f"{self.name}: {name}")
        self._tasks.append(task)
        return task

    def kill(self) -> None:
        """End the process as ``kill -9`` does. Its tasks are cancelled, but neither network nor disk notice what their
        ``finally`` blocks do."""
        self.alive = False
        self.network.die()
        self.disk.die()
        for task in self._tasks:
            task.cancel()

    async def finish(self) -> None:
        """Wait for all tasks; raise the first exception among them."""
        await asyncio.gather(*self._tasks)


class World:
    """See the module. To be made inside the virtual loop; :func:`run_world` does."""

    def __init__(self, *, seed: int | str) -> None:
        self.seed = seed
        self.clock = VirtualClock()
        """True time."""
        self.chance = random.Random(f"world/{seed}")
        """For the story itself."""
        self.network = VirtualNetwork(seed=seed)
        self._disks: dict[str, VirtualDisk] = {}
        self._incarnations: dict[str, int] = {}

    def disk(self, machine: str) -> VirtualDisk:
        """The disk of *machine*, made at the first look."""
        return self._disks.setdefault(machine, VirtualDisk())

    def process(
        self, machine: str, *, node: str | None = None, skew_seconds: float = 0.0, rate: float = 1.0
    ) -> Process:
        """Start a process on *machine*, whose disk and name it has; on the network it is *node*, where that differs."""
        incarnation = self._incarnations[machine] = self._incarnations.get(machine, 0) + 1
        return Process(
            name=machine,
            clock=VirtualClock(skew_seconds=skew_seconds, rate=rate),
            chance=random.Random(f"{machine}/{incarnation}/{self.seed}"),
            network=self.network.of(node or machine),
            disk=DiskOfProcess(self.disk(machine)),
        )

    async def until(self, condition: Callable[[], bool], *, within: float, step: float = 0.05) -> None:
        """Let time pass until *condition* holds. Raises ``AssertionError`` after *within* seconds of virtual time."""
        deadline = self.clock.monotonic() + within
        while not condition():
            if self.clock.monotonic() >= deadline:
                raise AssertionError(f"not within {within:g} s of virtual time (seed {self.seed})")
            await asyncio.sleep(step)


def run_world(story: Callable[[World], Awaitable[Result]], *, seed: int | str = 0) -> Result:
    """Run *story* in a fresh world."""

    async def main() -> Result:
        return await story(World(seed=seed))

    return run_virtual(main())
