"""A reshard under load in a world of faults, all of it drawn from one seed.

``SYSTEM_SEEDS=1234 pytest tests/system/test_faults.py`` replays one run and prints its trace when it fails;
``SYSTEM_SEEDS=0-1000`` looks for seeds that do.
"""

from __future__ import annotations

import asyncio
import os

import pytest
from system.acts import check_resharded, come_up, until_resharded
from system.faults import PATIENT, trouble
from system.story import System, run_story


def _seeds(text: str) -> range:
    first, _, last = text.partition("-")
    return range(int(first), int(last or first) + 1)


async def a_troubled_reshard(system: System) -> None:
    await come_up(system)
    troubles = asyncio.create_task(trouble(system, faults=system.chance.randrange(2, 7), pause=12), name="trouble")
    await system.sleep(system.chance.uniform(0, 20))
    system.patch_count(16)
    await troubles
    await until_resharded(system)


@pytest.mark.parametrize("seed", _seeds(os.environ.get("SYSTEM_SEEDS", "1-5")))
def test_whatever_happens_nothing_is_lost(seed: int) -> None:
    check_resharded(run_story(a_troubled_reshard, seed=seed, settings=PATIENT))
