"""What a person should know stands in the status within seconds, though a gateway at rest is rarely looked at."""

from __future__ import annotations

from system.acts import come_up
from system.story import System, run_story

from discord_simulator.inbox import Behaviour

SECONDS = 6.0
"""Two looks of the worker, the call, and a pass."""


def condition(system: System, name: str) -> tuple[str, str]:
    """Status and reason."""
    found = {each["type"]: each for each in system.status["conditions"]}[name]
    return found["status"], found["reason"]


def test_a_receiver_that_fails_is_shown_within_seconds() -> None:
    async def story(system: System) -> None:
        await come_up(system)
        await system.sleep(40)  # at rest: the operator's next look is half a minute away
        assert condition(system, "ReceiverReachable") == ("True", "RequestsSucceed")
        system.bot.behave(Behaviour(status=500))
        failing = ("False", "RequestsFail")
        await system.until("it is shown", lambda: condition(system, "ReceiverReachable") == failing, within=SECONDS)
        system.bot.behave(Behaviour())
        await system.until(
            "the end is shown", lambda: condition(system, "ReceiverReachable")[0] == "True", within=SECONDS + 5
        )

    run_story(story, seed=1)


def test_a_token_that_discord_refuses_on_a_resume_is_shown_within_seconds() -> None:
    async def story(system: System) -> None:
        await come_up(system)
        await system.sleep(40)
        assert condition(system, "TokenValid") == ("True", "Accepted")
        system.discord.fault("close", code=4004)
        refused = ("False", "TokenRefused")
        await system.until("it is shown", lambda: condition(system, "TokenValid") == refused, within=SECONDS)
        assert condition(system, "Degraded") == ("True", "ShardsStopped")

    run_story(story, seed=1)
