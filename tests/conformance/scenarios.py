"""What is done to a session of a real library: one bot each, so that nothing that befalls one touches another."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Final

from conformance.world import World

CODES: Final = (1000, 1001, 4000, 4001, 4002, 4003, 4004, 4005, 4007, 4008, 4009, 4010, 4011, 4012, 4013, 4014)
REPLAY: Final = 1500
"""Events that the simulator keeps for a session here: more than it gets while a starved library takes half a minute to
come back."""
MISSED: Final = 20
"""Events that happen at the very moment of a fault, while nobody is connected."""


@dataclass(frozen=True, kw_only=True)
class Scenario:
    strike: Callable[[World, int, int], None]
    """Done to session ``[shard, count]``."""
    missed: int = MISSED
    gentle: bool = False
    """Nothing breaks by it, so it is done when nothing else is: a busy moment would look like a broken connection."""


def _fault(world: World, shard: int, count: int, *, action: str, **more: object) -> None:
    world.control("faults", action=action, shard=shard, count=count, **more)


def _zombie(world: World, shard: int, count: int) -> None:
    """Silence: no acknowledgement, and for libraries that take any frame as a sign of life no event either."""
    _fault(world, shard, count, action="dropHeartbeatAcks", seconds=60)
    _fault(world, shard, count, action="stall", seconds=6)


def end_zombie(world: World, shard: int, count: int) -> None:
    """The next connection is served well."""
    _fault(world, shard, count, action="dropHeartbeatAcks", seconds=0)


def _nothing(world: World, shard: int, count: int) -> None:
    del world, shard, count


SCENARIOS: Final[Mapping[str, Scenario]] = {
    "untouched": Scenario(strike=_nothing),
    "op 1": Scenario(strike=partial(_fault, action="requestHeartbeat"), gentle=True),
    "late acknowledgements": Scenario(
        strike=partial(_fault, action="delayHeartbeatAcks", seconds=60, milliseconds=[300, 600]),
        gentle=True,
    ),
    "op 7": Scenario(strike=partial(_fault, action="reconnect")),
    "op 7, then closed": Scenario(strike=partial(_fault, action="reconnect", seconds=0.5, code=4000)),
    "op 9 true": Scenario(strike=partial(_fault, action="invalidate", resumable=True)),
    "op 9 false": Scenario(strike=partial(_fault, action="invalidate")),
    "dropped": Scenario(strike=partial(_fault, action="drop")),
    "zombie": Scenario(strike=_zombie),
    "killed": Scenario(strike=partial(_fault, action="kill")),
    "evicted": Scenario(strike=partial(_fault, action="drop"), missed=REPLAY + 50),
    **{f"closed {code}": Scenario(strike=partial(_fault, action="close", code=code)) for code in CODES},
}
