"""What befalls the network and Discord, which for a pod are often the same."""

from __future__ import annotations

import random
from collections.abc import Mapping
from typing import Any, Final

from system.schedule import Step
from system.story import System
from system.striking import Act, newest

SERVICES: Final = ("operator", "bot")


async def cut(system: System, step: Step, chance: random.Random) -> None:
    """No message between two machines; one that is cut off from Discord knows it, as connections are reset too."""
    pods = [pod.node for pod in system.nodes.running]
    first, second = chance.sample([*pods, *SERVICES, "discord"], 2)
    system.cut(first, second)
    if "discord" in (first, second):
        system.reset(first, second)
    await system.sleep(step.seconds)
    system.mend(first, second)


async def cut_from_discord(system: System, step: Step, chance: random.Random) -> None:
    """A pod's way to Discord is cut; it knows at once if its connections are reset too, else by their silence."""
    if pods := newest(system) if step.options.get("newest") else [pod.node for pod in system.nodes.running]:
        pod = chance.choice(pods)
        system.cut(pod, "discord")
        if not step.options["silent"]:
            system.reset(pod, "discord")
        await system.sleep(step.seconds)
        system.mend(pod, "discord")


async def isolate(system: System, step: Step, chance: random.Random) -> None:
    node = chance.choice([*(pod.node for pod in system.nodes.running), "operator"])
    system.isolate(node)
    await system.sleep(step.seconds)
    system.rejoin(node)


async def slow_link(system: System, step: Step, chance: random.Random) -> None:
    pods = [pod.node for pod in system.nodes.running]
    if step.options.get("newest") and newest(system):
        first, second = "operator", chance.choice(newest(system))
    else:
        first, second = chance.sample([*pods, *SERVICES], 2)
    delay = step.options["delay"]
    system.trace.note("network", f"takes {delay} s between {first} and {second}")
    system.world.network.links.set_delay(first, second, (delay / 2, delay))
    await system.sleep(step.seconds)
    system.world.network.links.reset_delay(first, second)


async def lossy_network(system: System, step: Step, chance: random.Random) -> None:
    faults = system.world.network.faults
    faults.refuse, faults.lose_answer = step.options["refuse"], step.options["lose"]
    await system.sleep(step.seconds)
    faults.refuse = faults.lose_answer = 0.0


async def reset_connections(system: System, step: Step, chance: random.Random) -> None:
    system.world.network.reset()


# --- Discord ----------------------------------------------------------------------------------------------------------


def _at_discord(action: str, *, copied: tuple[str, ...] = ()) -> Act:
    """A fault of the simulator, of all sessions or of one."""

    async def act(system: System, step: Step, chance: random.Random) -> None:
        more: dict[str, Any] = {name: step.options[name] for name in copied}
        sessions = system.discord.session_ids()
        if sessions and chance.random() < 0.6:
            more["session"] = chance.choice(sessions)
        system.discord.fault(action, **more)

    return act


async def discord_stalls(system: System, step: Step, chance: random.Random) -> None:
    """Nothing reaches some sessions for a while; all of it comes after."""
    if sessions := system.discord.session_ids():
        for session in chance.sample(sessions, chance.randint(1, len(sessions))):
            system.discord.fault("stall", session=session, seconds=step.seconds)


async def discord_window(system: System, step: Step, chance: random.Random) -> None:
    milliseconds = {"delayReady": [0, 3000], "delayHeartbeatAcks": [0, 20_000]}.get(step.options["window"], [0, 0])
    system.discord.fault(step.options["window"], seconds=step.seconds, milliseconds=milliseconds)
    await system.sleep(step.seconds)


async def discord_outage(system: System, step: Step, chance: random.Random) -> None:
    """All of Discord at once: connections drop, none is to be had, and its REST API is away; sessions outlive it."""
    for window in ("refuseConnections", "api"):
        system.discord.fault(window, seconds=step.seconds, milliseconds=[0, 0])
    system.discord.fault("drop")
    await system.sleep(step.seconds)


async def slow_discord(system: System, step: Step, chance: random.Random) -> None:
    """A pod's way to Discord takes its time, both ways."""
    if pods := [pod.node for pod in system.nodes.running]:
        pod, delay = chance.choice(pods), step.options["delay"]
        system.trace.note("network", f"takes {delay} s between {pod} and discord")
        system.world.network.links.set_delay(pod, "discord", (delay / 2, delay))
        await system.sleep(step.seconds)
        system.world.network.links.reset_delay(pod, "discord")


async def burst(system: System, step: Step, chance: random.Random) -> None:
    system.discord.load(system.rate * step.options["times"])
    await system.sleep(step.seconds)
    system.discord.load(system.rate)


async def guilds_come_and_go(system: System, step: Step, chance: random.Random) -> None:
    system.discord.change_guilds(add=chance.randint(0, 3), remove=chance.randint(0, 2))


async def guild_outage(system: System, step: Step, chance: random.Random) -> None:
    system.discord.change_guilds(unavailable=chance.randint(1, 5))
    await system.sleep(step.seconds)
    system.discord.change_guilds(unavailable=0)


ACTS: Final[Mapping[str, Act]] = {
    act.__name__: act
    for act in (
        cut,
        cut_from_discord,
        isolate,
        slow_link,
        lossy_network,
        reset_connections,
        discord_stalls,
        discord_window,
        discord_outage,
        slow_discord,
        burst,
        guilds_come_and_go,
        guild_outage,
    )
} | {
    "discord_closes": _at_discord("close", copied=("code",)),
    "discord_reconnects": _at_discord("reconnect", copied=("seconds",)),
    "discord_drops": _at_discord("drop"),
    "discord_invalidates": _at_discord("invalidate", copied=("resumable",)),
    "discord_kills_sessions": _at_discord("kill"),
    "discord_asks_for_heartbeats": _at_discord("requestHeartbeat"),
}
