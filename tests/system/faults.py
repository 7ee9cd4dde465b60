"""Trouble, drawn from the seed: each fault strikes, lasts a while and is over when its coroutine returns.

Left out is what may cost events by what is promised: sessions that Discord ends, disks that are lost, and outages that
outlast the replay buffer (stories with these faults use :data:`PATIENT`).
"""

from __future__ import annotations

import asyncio
import errno
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from typing import Final

from system.running_pod import RunningPod
from system.story import SIMULATED, System

from discord_simulator.inbox import Behaviour

PATIENT: Final = replace(SIMULATED, replay_events=200_000, session_expiry_seconds=300.0)
"""A Discord that remembers for longer than any outage here lasts."""

Fault = Callable[[System], Awaitable[None]]


async def trouble(system: System, *, faults: int, pause: float) -> None:
    """Strike *faults* times, with up to *pause* seconds between the end of one and the next."""
    for _ in range(faults):
        await system.sleep(system.chance.uniform(0, pause))
        name = system.chance.choice(list(FAULTS))
        system.trace.note("trouble", name)
        await FAULTS[name](system)


async def _last(system: System, most: float = 20.0) -> None:
    await system.sleep(system.chance.uniform(0.5, most))


def alive(system: System) -> list[RunningPod]:
    """Pods whose container runs."""
    return [pod for pod in system.nodes.running if pod.life is not None and not pod.life.ended.is_set()]


async def kill_pod(system: System) -> None:
    if pods := alive(system):
        system.chance.choice(pods).kill()


async def kill_worker(system: System) -> None:
    pods = [(pod, pod.life.workers) for pod in alive(system) if pod.life is not None and pod.life.workers]
    if pods:
        pod, workers = system.chance.choice(pods)
        pod.kill_worker(system.chance.choice(sorted(workers)))


async def kill_operator(system: System) -> None:
    system.operator.kill()
    await _last(system, 30)
    system.operator.start()


async def partition(system: System) -> None:
    nodes = [*(pod.name for pod in system.nodes.running), "operator", "bot", "discord"]
    system.cut(*system.chance.sample(nodes, 2))
    await _last(system, 25)
    system.heal()


async def isolation(system: System) -> None:
    nodes = [*(pod.name for pod in system.nodes.running), "operator"]
    system.isolate(system.chance.choice(nodes))
    await _last(system, 25)
    system.heal()


async def lossy_network(system: System) -> None:
    faults = system.world.network.faults
    faults.refuse, faults.lose_answer = system.chance.choice([0.05, 0.3]), system.chance.choice([0.0, 0.05, 0.2])
    await _last(system)
    faults.refuse = faults.lose_answer = 0.0


async def reset_connections(system: System) -> None:
    system.world.network.reset()


async def bot_away(system: System) -> None:
    system.bot.stop()
    await _last(system)
    system.bot.start()


async def bot_fails(system: System) -> None:
    statuses = [Behaviour(status=status) for status in (404, 429, 500, 503)]
    slow = [Behaviour(delay_milliseconds=milliseconds) for milliseconds in (50, 300, 12_000)]
    system.bot.behave(system.chance.choice([*statuses, *slow, Behaviour(hang=True)]))
    await _last(system)
    system.bot.behave(Behaviour())


async def api_server_away(system: System) -> None:
    system.operator.faults.refuse = system.chance.choice([0.1, 0.5, 1.0])
    await _last(system)
    system.operator.faults.refuse = 0.0


async def uncertain_writes(system: System) -> None:
    system.operator.faults.lose_answer = system.chance.choice([0.1, 0.5])
    await _last(system)
    system.operator.faults.lose_answer = 0.0


async def full_disk(system: System) -> None:
    if not (pods := alive(system)):
        return
    disk = system.world.disk(system.chance.choice(pods).name)
    disk.fail_writes = OSError(errno.ENOSPC, "No space left on device")
    await _last(system)
    disk.fail_writes = None


async def discord_misbehaves(system: System) -> None:
    """Every fault of the simulator that leaves the sessions alive."""
    closes = (1000, 1001, 4000, 4001, 4002, 4008)
    strikes: list[dict[str, object]] = [{"action": "close", "code": code} for code in closes]
    strikes += [
        {"action": "reconnect"},
        {"action": "drop"},
        {"action": "invalidate", "resumable": True},
        {"action": "requestHeartbeat"},
    ]
    windows: list[dict[str, object]] = [
        {"action": "stall", "seconds": 1.0},
        {"action": "api", "status": 500, "seconds": 10.0},
        {"action": "refuseConnections", "seconds": 10.0},
        {"action": "dropHeartbeatAcks", "seconds": 60.0},
        {"action": "delayReady", "milliseconds": [0, 3000], "seconds": 10.0},
        {"action": "reconnectInsteadOfHello", "seconds": 5.0},
        {"action": "resetResumes", "seconds": 5.0},
    ]
    fault = system.chance.choice([*strikes, *windows])
    if fault in strikes and system.chance.random() < 0.5:
        fault = {**fault, "shard": system.chance.randrange(8)}
    system.trace.note("discord", str(fault))
    system.discord.fault(**fault)  # type: ignore[arg-type]
    await asyncio.sleep(0)


FAULTS: Final[Mapping[str, Fault]] = {
    fault.__name__: fault
    for fault in (
        kill_pod,
        kill_worker,
        kill_operator,
        partition,
        isolation,
        lossy_network,
        reset_connections,
        bot_away,
        bot_fails,
        api_server_away,
        uncertain_writes,
        full_disk,
        discord_misbehaves,
    )
}
