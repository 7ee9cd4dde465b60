"""What the steps of a schedule do: each act strikes, lasts as long as its step says, and is over when it returns.

An act chooses (which pod, which link) by its step's own number alone, among what there is when it strikes.
"""

from __future__ import annotations

import asyncio
import errno
import random
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final

from gateway_operator.cluster.port import POD
from system.nodes import RunningPod
from system.schedule import Step
from system.story import NAME, NAMESPACE, System

from discord_simulator.inbox import Behaviour

Act = Callable[[System, Step, random.Random], Awaitable[None]]
SERVICES: Final = ("operator", "bot")


async def strike(system: System, step: Step) -> None:
    """Carry out *step* now."""
    system.trace.note("step", str(step))
    await ACTS[step.act](system, step, random.Random(step.draw))


def alive(system: System) -> list[RunningPod]:
    """Pods whose container runs, by name."""
    return [pod for pod in system.nodes.running if pod.life is not None and not pod.life.ended.is_set()]


def newest(system: System) -> list[str]:
    """Pods of the generation that was begun last."""
    names = [pod.node for pod in system.nodes.running]
    last = max((generation_of(name) for name in names), default=0)
    return [name for name in names if generation_of(name) == last]


def generation_of(pod: str) -> int:
    return int(pod.removeprefix(f"{NAME}-g").partition("-")[0])


# --- The parts --------------------------------------------------------------------------------------------------------


async def kill_pod(system: System, step: Step, chance: random.Random) -> None:
    if pods := alive(system):
        chance.choice(pods).kill()


async def kill_worker(system: System, step: Step, chance: random.Random) -> None:
    pods = [(pod, pod.life.workers) for pod in alive(system) if pod.life is not None and pod.life.workers]
    if pods:
        pod, workers = chance.choice(pods)
        pod.kill_worker(chance.choice(sorted(workers)))


async def kill_operator(system: System, step: Step, chance: random.Random) -> None:
    system.operator.kill()
    await system.sleep(step.seconds)
    system.operator.start()


async def kill_operator_in_a_write(system: System, step: Step, chance: random.Random) -> None:
    """It dies while its next write of the record is on its way, which is carried out all the same, much later."""
    down, faults, sets_out = step.options["down"], system.operator.faults, asyncio.Event()

    def catch() -> float:
        sets_out.set()
        return float(step.options["late"])

    faults.catch = catch
    try:
        async with asyncio.timeout(step.seconds - down):
            await sets_out.wait()
    except TimeoutError:
        return
    finally:
        faults.catch = None
    system.operator.kill()
    await system.sleep(down)
    system.operator.start()


async def delete_pod(system: System, step: Step, chance: random.Random) -> None:
    """As ``kubectl delete pod`` does: it has its grace, and loses its disk."""
    if pods := [pod for pod in system.nodes.running if not pod.ending]:
        pod = chance.choice(pods)
        system.trace.note(pod.name, "is deleted")
        system.store.delete(POD, NAMESPACE, pod.name)


async def force_delete(system: System, step: Step, chance: random.Random) -> None:
    """As ``kubectl delete --force`` does where the node cannot be reached: the pod lives on beside the next one of its
    name. The folder that they have in common is on a volume, else they would have nothing in common but the name."""
    if pods := [pod for pod in alive(system) if pod.has_volume and not pod.ending]:
        pod = chance.choice(pods)
        system.trace.note(pod.name, "is deleted by force, and lives on")
        left = system.nodes.force_delete(pod.name)
        await system.sleep(step.seconds)
        left.end()
        await left.gone.wait()


async def lose_pod(system: System, step: Step, chance: random.Random) -> None:
    """Its node dies: no grace, no disk."""
    if pods := [pod for pod in alive(system) if not pod.ending]:
        pod = chance.choice(pods)
        system.trace.note(pod.name, "is lost with its node")
        pod.kill()
        system.store.delete(POD, NAMESPACE, pod.name)


async def power_cut(system: System, step: Step, chance: random.Random) -> None:
    """What a machine had not synced is gone."""
    if pods := alive(system):
        chance.choice(pods).power_cut()


async def clock_step(system: System, step: Step, chance: random.Random) -> None:
    """A machine's wall clock is set; its processes are started again, as those that run read it only once."""
    if pods := alive(system):
        pod = chance.choice(pods)
        pod.set_clock(step.options["seconds"])
        pod.kill()


# --- The network ------------------------------------------------------------------------------------------------------


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


# --- The bot and the API server ---------------------------------------------------------------------------------------


async def bot_away(system: System, step: Step, chance: random.Random) -> None:
    system.bot.stop()
    await system.sleep(step.seconds)
    system.bot.start()


async def bot_fails(system: System, step: Step, chance: random.Random) -> None:
    options = step.options
    system.bot.behave(
        Behaviour(
            status=options.get("status", 204),
            delay_milliseconds=options.get("delay", 0),
            hang=options.get("hang", False),
            retry_after=options.get("retry_after"),
        )
    )
    await system.sleep(step.seconds)
    system.bot.behave(Behaviour())


async def api_refuses(system: System, step: Step, chance: random.Random) -> None:
    system.operator.faults.refuse = step.options["share"]
    await system.sleep(step.seconds)
    system.operator.faults.refuse = 0.0


async def api_loses_answers(system: System, step: Step, chance: random.Random) -> None:
    system.operator.faults.lose_answer = step.options["share"]
    await system.sleep(step.seconds)
    system.operator.faults.lose_answer = 0.0


async def slow_api(system: System, step: Step, chance: random.Random) -> None:
    """Calls take long, so that those of an operator that dies meanwhile are done after its death."""
    system.operator.faults.slow = step.options["delay"]
    await system.sleep(step.seconds)
    system.operator.faults.slow = 0.0


# --- Disks ------------------------------------------------------------------------------------------------------------


async def full_disk(system: System, step: Step, chance: random.Random) -> None:
    if pods := alive(system):
        disk = system.world.disk(chance.choice(pods).name)
        disk.fail_writes = OSError(errno.ENOSPC, "No space left on device")
        await system.sleep(step.seconds)
        disk.fail_writes = None


async def unreadable_disk(system: System, step: Step, chance: random.Random) -> None:
    if pods := alive(system):
        disk = system.world.disk(chance.choice(pods).name)
        disk.fail_reads = OSError(errno.EIO, "Input/output error")
        await system.sleep(step.seconds)
        disk.fail_reads = None


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


# --- What a person does, or growth ------------------------------------------------------------------------------------


async def reshard(system: System, step: Step, chance: random.Random) -> None:
    system.patch_count(step.options["count"])


async def reshard_again(system: System, step: Step, chance: random.Random) -> None:
    system.patch({"reshard": {"requestID": f"request-{step.draw}-{step.at}"}})


async def change_of_mind(system: System, step: Step, chance: random.Random) -> None:
    system.patch_count(step.options["count"])
    await system.sleep(step.seconds)
    system.patch_count(step.options["then"])


async def rollout(system: System, step: Step, chance: random.Random) -> None:
    system.patch({"template": {"annotations": {"rolled": f"at {step.at}"}}})


async def grow(system: System, step: Step, chance: random.Random) -> None:
    """The shards turn out to be meant for fewer guilds, so that the automatic rule reshards."""
    system.grows = True
    system.patch({"reshard": {"guildsPerShard": max(1, len(system.discord.gateway.roster) // system.wanted_count)}})


async def reconfigure(system: System, step: Step, chance: random.Random) -> None:
    system.patch({"forward": {"lanes": step.options["lanes"], "ordering": step.options["ordering"]}})


async def pause(system: System, step: Step, chance: random.Random) -> None:
    system.patch({"paused": True})
    await system.sleep(step.seconds)
    system.patch({"paused": False})


ACTS: Final[Mapping[str, Act]] = {
    act.__name__: act
    for act in (
        *(
            kill_pod,
            kill_worker,
            kill_operator,
            kill_operator_in_a_write,
            delete_pod,
            force_delete,
            lose_pod,
            power_cut,
            clock_step,
        ),
        *(cut, cut_from_discord, isolate, slow_link, lossy_network, reset_connections),
        *(bot_away, bot_fails, api_refuses, api_loses_answers, slow_api, full_disk, unreadable_disk),
        *(discord_stalls, discord_window, burst, guilds_come_and_go, guild_outage),
        *(reshard, reshard_again, change_of_mind, rollout, grow, reconfigure, pause),
    )
} | {
    "discord_closes": _at_discord("close", copied=("code",)),
    "discord_reconnects": _at_discord("reconnect", copied=("seconds",)),
    "discord_drops": _at_discord("drop"),
    "discord_invalidates": _at_discord("invalidate", copied=("resumable",)),
    "discord_kills_sessions": _at_discord("kill"),
    "discord_asks_for_heartbeats": _at_discord("requestHeartbeat"),
}
