"""Each kind of trouble at each step of a reshard: nothing is lost, and what comes twice is a redelivery or marked."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from itertools import product
from typing import Final

import pytest
from system.acts import check_resharded, come_up, let_a_moment_pass, until_resharded
from system.faults import PATIENT, Fault
from system.story import System, run_story

from shard_runtime.contract import Role

Moment = Callable[[System], bool]


def _step(name: str) -> Moment:
    return lambda system: (system.status.get("reshard") or {}).get("step") == name


def _committed(system: System) -> bool:
    return system.record is not None and system.record.active == 2


def _sealed(system: System) -> bool:
    return any(status.role is Role.SEALED for status in system.pod_statuses())


MOMENTS: Final[Mapping[str, Moment]] = {
    "the target is begun": lambda system: system.record is not None and system.record.target == 2,
    "its sessions connect": lambda system: 0 < system.shards_ready(2) < 16,
    "both sides record": _step("Overlapping"),
    "the commit": _committed,
    "the first seal": _sealed,
    "the end of the handover": lambda system: system.handed_over(2),
}


async def _an_old_pod_is_killed(system: System) -> None:
    if pods := [pod for pod in system.pods(1) if pod.life is not None]:
        system.chance.choice(pods).kill()


async def _a_new_pod_is_killed(system: System) -> None:
    if pods := [pod for pod in system.pods(2) if pod.life is not None]:
        system.chance.choice(pods).kill()


async def _the_operator_is_killed(system: System) -> None:
    system.operator.kill()
    await let_a_moment_pass(system, 1, 20)
    system.operator.start()


async def _the_receiver_is_down(system: System) -> None:
    system.bot.stop()
    await let_a_moment_pass(system, 1, 20)
    system.bot.start()


async def _a_pod_is_cut_off(system: System) -> None:
    """From everybody but Discord and the receiver."""
    alone = system.chance.choice([*system.pods(1), *system.pods(2)]).name
    for pod in [*system.pods(1), *system.pods(2)]:
        if pod.name != alone:
            system.cut(alone, pod.name)
    system.cut(alone, "operator")
    await let_a_moment_pass(system, 1, 25)
    system.heal()


TROUBLES: Final[Mapping[str, Fault]] = {
    "an old pod is killed": _an_old_pod_is_killed,
    "a new pod is killed": _a_new_pod_is_killed,
    "the operator is killed": _the_operator_is_killed,
    "the receiver is down": _the_receiver_is_down,
    "a pod is cut off": _a_pod_is_cut_off,
}
ALL: Final = list(product(MOMENTS, TROUBLES))
ALWAYS: Final = frozenset(
    {
        ("both sides record", "a new pod is killed"),
        ("the commit", "an old pod is killed"),
        ("the commit", "a pod is cut off"),
        ("the first seal", "a new pod is killed"),
        ("the first seal", "the receiver is down"),
    }
)
"""The others are for ``make verify``, which also draws more seeds."""


def _cases() -> list[object]:
    cases = []
    for moment, trouble in ALL:
        for seed in range(1, 5):
            long = seed > 1 or (moment, trouble) not in ALWAYS
            marks = (pytest.mark.verify,) if long else ()
            cases.append(pytest.param(moment, trouble, seed, marks=marks, id=f"{moment}, {trouble}, {seed}"))
    return cases


@pytest.mark.parametrize(("moment", "trouble", "seed"), _cases())
def test_trouble_at_a_step_loses_nothing(moment: str, trouble: str, seed: int) -> None:
    async def story(system: System) -> None:
        await come_up(system)
        system.patch_count(16)
        await system.until(moment, lambda: MOMENTS[moment](system), within=60)
        await let_a_moment_pass(system, 0, 0.4)
        await TROUBLES[trouble](system)
        await until_resharded(system)

    check_resharded(run_story(story, seed=seed, settings=PATIENT))


ENDED: Final = 2
"""Sessions of the target that are ended at once."""

MOMENTS_OF_LOSS: Final = ("both sides record", "the commit", "the first seal")


@pytest.mark.parametrize(
    ("moment", "seed"),
    [
        pytest.param(moment, seed, marks=() if seed == 1 else (pytest.mark.verify,), id=f"{moment}, {seed}")
        for moment, seed in product(MOMENTS_OF_LOSS, range(1, 9))
    ],
)
def test_new_sessions_that_discord_ends_at_a_step_cost_nothing(moment: str, seed: int) -> None:
    """As long as the old generation is there, Discord still gives it what the target misses."""

    async def story(system: System) -> None:
        await come_up(system)
        system.patch_count(16)
        await system.until(moment, lambda: MOMENTS[moment](system), within=60)
        await let_a_moment_pass(system, 0, 0.4)
        held_by = system.discord.held_by
        new = [session for session in system.discord.session_ids() if "-g2-" in held_by.get(session, "")]
        for session in system.chance.sample(new, ENDED):
            system.discord.fault("kill", session=session)
        await until_resharded(system)

    check_resharded(run_story(story, seed=seed, settings=PATIENT), lost_sessions=ENDED)
