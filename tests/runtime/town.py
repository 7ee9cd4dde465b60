"""A bot, a gate and a small Discord around whole pods, on virtual time."""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass, field

from runtime.configuration import configuration
from runtime.in_process import SECRETS, PodInOneProcess
from virtual.discord import API, ScriptedDiscord
from virtual.network import Request
from virtual.world import World

from shard_runtime import contract
from shard_runtime.ports import Response

GUILDS = tuple(number << 22 for number in range(1, 9))


@dataclass
class Bot:
    """The receiver: what it acknowledged, by the number that each event carries."""

    up: bool = True
    numbers: list[int] = field(default_factory=list)
    marked: set[int] = field(default_factory=set)
    again: list[int] = field(default_factory=list)
    """Numbers that came with the key of an earlier delivery."""
    keys: set[tuple[str, int]] = field(default_factory=set)
    names: list[str] = field(default_factory=list)

    async def http(self, request: Request) -> Response:
        if not self.up:
            return Response(503, {}, b"")
        for item in json.loads(request.body):
            self.names.append(item["payload"]["t"])
            number = item["payload"]["d"].get("number")
            if number is not None:
                self.numbers.append(number)
                key = item["session"], item["payload"]["s"]
                if key in self.keys:
                    self.again.append(number)
                self.keys.add(key)
                if item.get("maybeDuplicate"):
                    self.marked.add(number)
        return Response(204, {}, b"")


@dataclass
class Town:
    world: World
    discord: ScriptedDiscord
    bot: Bot
    sent: int = 0

    def config(self, generation: int, count: int, workers: int) -> contract.RuntimeConfig:
        predecessor = None
        if generation > 1:
            layout = contract.ShardLayout(count=1, first=0, last=0)
            predecessor = contract.Predecessor(generation=generation - 1, layout=layout)
        return configuration(
            generation=generation,
            layout=contract.ShardLayout(
                count=count, first=0, last=count - 1, per_worker=count // workers, workers_per_pod=workers
            ),
            predecessor=predecessor,
            api_url=API,
            compression="none",
        )

    def pod(self, generation: int, count: int, workers: int) -> PodInOneProcess:
        forward = contract.ForwardConfig(url="http://bot/events")
        return PodInOneProcess(self.world, self.config(generation, count, workers), forward, 0)

    async def talk(self, seconds: float, rate: float = 50) -> None:
        """Messages in all guilds by turns, each to every session that should see it."""
        for _ in range(int(seconds * rate)):
            guild = GUILDS[self.sent % len(GUILDS)]
            body = {"id": str(10**18 + self.sent), "guild_id": str(guild), "number": self.sent}
            for session in self.discord.sessions.values():
                if contract.shard_of_guild(guild, session.shard[1]) == session.shard[0]:
                    session.dispatch("MESSAGE_CREATE", body)
            self.sent += 1
            await asyncio.sleep(1 / rate)


async def gate(request: Request) -> Response:
    if request.headers.get("authorization") != f"Bearer {SECRETS.operator}":
        return Response(401, {}, b"{}")
    if request.path == "/v1/permits":
        return Response(200, {}, contract.encode(contract.Permit(id="p")))
    return Response(204, {}, b"")


def make_town(world: World) -> Town:
    bot = Bot()
    world.network.serve("bot", http=bot.http)
    world.network.serve("operator", http=gate)
    return Town(world, ScriptedDiscord(world.network, guilds=GUILDS), bot)


def all_ready(pod: PodInOneProcess) -> bool:
    assert pod.pod is not None
    states = [shard.state for shard in pod.pod.last_status().shards]
    return all(state is contract.ShardState.READY for state in states)


def handed_over(pod: PodInOneProcess) -> bool:
    """Whether the pod has nothing to take over any more."""
    assert pod.pod is not None
    handover = pod.pod.last_status().handover
    return handover is not None and handover.complete
