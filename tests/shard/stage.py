"""A shard against a scripted Discord, on virtual time."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from virtual.discord import API, ScriptedDiscord
from virtual.sinks import RecordingLog, RecordingSink, ScriptedPermits
from virtual.world import Process, World, run_world

from shard_runtime.contract import IdentifyOptions, ShardState
from shard_runtime.shard import SavedSession, Shard, ShardOptions

OPTIONS = ShardOptions(
    shard_count=4, intents=1, compression="none", identify=IdentifyOptions(), api_url=API, gateway_url=None
)
GUILDS = (1 << 22, 5 << 22, 9 << 22)


@dataclass
class Stage:
    """A shard in a world, with all that it talks to."""

    world: World
    discord: ScriptedDiscord
    process: Process
    sink: RecordingSink = field(default_factory=RecordingSink)
    permits: ScriptedPermits = field(default_factory=ScriptedPermits)
    log: RecordingLog = field(default_factory=RecordingLog)
    token: str = "right"
    shard: Shard = None  # type: ignore[assignment]
    running: asyncio.Task[None] = None  # type: ignore[assignment]

    def start(self, *, saved: SavedSession | None = None, options: ShardOptions = OPTIONS) -> Shard:
        self.shard = Shard(
            shard_id=1,
            options=options,
            token=lambda: self.token,
            sink=self.sink,
            permits=self.permits,
            clock=self.process.clock,
            chance=self.process.chance,
            network=self.process.network,
            log=self.log,
            saved=saved,
        )
        self.run()
        return self.shard

    def run(self) -> None:
        self.running = self.process.spawn(self.shard.run(), name="shard")

    async def live(self, *, within: float = 30.0) -> None:
        await self.world.until(lambda: self.shard.status().state is ShardState.READY, within=within)

    async def quiet(self, seconds: float = 2.0) -> None:
        await asyncio.sleep(seconds)

    @property
    def sequences(self) -> list[int]:
        return [sequence for _, sequence, _ in self.sink.events]


def play(story: Callable[[Stage], Awaitable[None]], *, seed: int | str = 0, guilds: tuple[int, ...] = GUILDS) -> None:
    async def on(world: World) -> None:
        discord = ScriptedDiscord(world.network, guilds=guilds)
        stage = Stage(world=world, discord=discord, process=world.process("pod"))
        await story(stage)
        assert "right" not in json.dumps(stage.log.lines), "the token is in the log"

    run_world(on, seed=seed)
