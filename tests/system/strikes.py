"""What the steps of a schedule do: each act strikes, lasts as long as its step says, and is over when it returns.

An act chooses (which pod, which link) by its step's own number alone, among what there is when it strikes.
"""

from __future__ import annotations

import random
from collections.abc import Mapping
from typing import Final

from system import plots, strikes_on_links, strikes_on_parts
from system.schedule import Step
from system.story import System
from system.striking import Act

ACTS: Final[Mapping[str, Act]] = {**strikes_on_parts.ACTS, **strikes_on_links.ACTS, **plots.ACTS}


async def strike(system: System, step: Step) -> None:
    """Carry out *step* now."""
    system.trace.note("step", str(step))
    await ACTS[step.act](system, step, random.Random(step.draw))
