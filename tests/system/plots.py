"""What people do in a run, or growth does."""

from __future__ import annotations

import random
from collections.abc import Mapping
from typing import Final

from system.schedule import Step
from system.story import System
from system.striking import Act


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
    act.__name__: act for act in (reshard, reshard_again, change_of_mind, rollout, grow, reconfigure, pause)
}
