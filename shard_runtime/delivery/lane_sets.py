"""A set of lanes: which lane an event takes.

With ``ordering: shard`` a shard always uses one lane. With ``ordering: guild`` a guild does, and the events of a shard
overtake each other; but for READY, on which a receiver throws away what it knows of the shard: READY comes after
everything that the shard sent before, and before everything that it sends after. So READY opens a *gate*, a lane of the
shard's own. It takes READY and all that follows, in order, begins when the shard's earlier events are finished, and the
shard goes back to its guilds' lanes when the gate is empty.

While the number of lanes or the ordering changes there are two sets or more; the next begins when the one before is
drained. Each has a number, under which its lanes are known on disk.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator
from typing import Final

from shard_runtime.delivery.lanes import Lane
from shard_runtime.delivery.outlet import Outlet

READY: Final = "READY"

LANE_RESTART_SECONDS: Final = 1.0

_GATES: Final = 1 << 20
"""Lanes from this number on are gates; what is above is the shard."""
_SETS: Final = 1 << 40
"""A lane's number on disk is the set's times this, and its own."""


def set_of(lane: int) -> int:
    """The number of the set that a lane on disk belongs to."""
    return lane // _SETS


class LaneSet:
    def __init__(self, outlet: Outlet, *, number: int, lanes: int, by_guild: bool, shards: int) -> None:
        """*shards* is the count that guilds are routed by."""
        self.number = number
        self.by_guild = by_guild
        self._outlet = outlet
        self._shards = max(1, shards)
        self.lanes = [Lane(outlet, number=number * _SETS + index) for index in range(max(1, lanes))]
        self.gates: dict[int, Lane] = {}
        """By shard."""
        self._begun: set[int] = set()
        """Shards whose gates run."""
        self._tasks: asyncio.TaskGroup | None = None
        self._closed = asyncio.Event()

    def __iter__(self) -> Iterator[Lane]:
        yield from self.lanes
        yield from self.gates.values()

    # --- Routes

    def route(self, shard: int, guild: int, name: str) -> Lane:
        """The lane of an event, with ``ordering: guild``."""
        gate = self.gates.get(shard)
        if gate is None and name == READY:
            gate = self._open_gate(shard)
            self.look_at_gates()
        if gate is not None:
            return gate
        # guilds of one shard are congruent modulo the number of shards: what is left is their own
        return self.lanes[(guild >> 22) // self._shards % len(self.lanes)]

    def lane_on_disk(self, number: int) -> Lane:
        """The lane that was known as *number* in an earlier life of the process."""
        own = number - self.number * _SETS
        if own < _GATES:
            return self.lanes[own % len(self.lanes)]
        shard = own - _GATES
        return self.gates.get(shard) or self._open_gate(shard)

    def uses(self, lane: Lane, shard: int) -> bool:
        """Whether events of *shard* may lie in *lane*."""
        gate = self.gates.get(shard)
        if lane is gate:
            return True
        own = lane.number - self.number * _SETS
        return own < _GATES and (self.by_guild or own == shard % len(self.lanes))

    def _open_gate(self, shard: int) -> Lane:
        number = self.number * _SETS + _GATES + shard
        self.gates[shard] = Lane(self._outlet, number=number, ends_when_empty=True)
        return self.gates[shard]

    def look_at_gates(self) -> None:
        """Let gates begin whose shards have nothing older left."""
        for shard, gate in list(self.gates.items()):
            if self._tasks is None or shard in self._begun:
                continue
            if not any(lane.holds(shard) for lane in self.lanes):
                self._begun.add(shard)
                self._tasks.create_task(self._run_gate(shard, gate), name=f"delivery of READY of shard {shard}")

    async def _run_gate(self, shard: int, gate: Lane) -> None:
        await self._keep_running(gate)
        del self.gates[shard]
        self._begun.discard(shard)

    # --- Running

    def close(self) -> None:
        """Let :meth:`run` return once nothing is left."""
        self._closed.set()
        for lane in self.lanes:
            lane.close()

    async def run(self) -> None:
        """Deliver until closed and empty. What it was doing when it was cancelled stays to be done."""
        try:
            async with asyncio.TaskGroup() as self._tasks:
                self._begun.clear()
                for number, lane in enumerate(self.lanes):
                    self._tasks.create_task(self._keep_running(lane), name=f"delivery lane {number}")
                self.look_at_gates()
                await self._closed.wait()
        finally:
            self._tasks = None

    async def _keep_running(self, lane: Lane) -> None:
        while True:
            try:
                await lane.run()
                return
            except Exception as error:  # noqa: BLE001 - outermost ladder of a lane: its events must not die with it
                self._outlet.log(
                    logging.ERROR,
                    f"A delivery lane failed ({type(error).__name__}: {error}); it goes on with the same batch in "
                    f"{LANE_RESTART_SECONDS:g} s.",
                )
                await self._outlet.clock.sleep(LANE_RESTART_SECONDS)
