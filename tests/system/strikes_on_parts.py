"""What befalls the parts themselves: pods, operator, bot, API server and disks."""

from __future__ import annotations

import asyncio
import errno
import random
from collections.abc import Mapping
from typing import Final

from gateway_operator.cluster.port import POD
from system.schedule import Step
from system.story import NAMESPACE, System
from system.striking import Act, alive

from discord_simulator.inbox import Behaviour


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


async def two_operators(system: System, step: Step, chance: random.Random) -> None:
    """One that has lost the lead and does not know goes on beside the next one, in all that it does to the cluster."""
    system.operator.depose()
    system.operator.start()
    await system.sleep(step.seconds)
    system.operator.end_deposed()


async def operator_clock_step(system: System, step: Step, chance: random.Random) -> None:
    """The wall clock of the operator's machine is set while it is down."""
    system.operator.kill()
    system.operator.set_clock(step.options["seconds"])
    await system.sleep(step.seconds)
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


async def failing_disk(system: System, step: Step, chance: random.Random) -> None:
    """A disk that takes nothing, for another reason than that it is full: it reports errors for each write or for each
    sync, or it is read-only, and then nothing can be removed either. What is on it can be read."""
    if pods := alive(system):
        pod, error = chance.choice(pods), step.options["error"]
        disk = system.world.disk(pod.name)
        system.trace.note(pod.name, f"has a disk that fails: {error}")
        if error == "sync":
            disk.fail_syncs = OSError(errno.EIO, "Input/output error")
        elif error == "read-only":
            disk.fail_writes = disk.fail_removals = OSError(errno.EROFS, "Read-only file system")
        else:
            disk.fail_writes = OSError(errno.EIO, "Input/output error")
        await system.sleep(step.seconds)
        disk.fail_writes = disk.fail_syncs = disk.fail_removals = None


ACTS: Final[Mapping[str, Act]] = {
    act.__name__: act
    for act in (
        kill_pod,
        kill_worker,
        kill_operator,
        kill_operator_in_a_write,
        two_operators,
        operator_clock_step,
        delete_pod,
        force_delete,
        lose_pod,
        power_cut,
        clock_step,
        bot_away,
        bot_fails,
        api_refuses,
        api_loses_answers,
        slow_api,
        full_disk,
        unreadable_disk,
        failing_disk,
    )
}
