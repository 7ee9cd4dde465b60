"""Sets of lanes, one after another: which there are, and which has its turn.

There is one, but for the time after the number of lanes or their ordering has changed, or after a start with events on
disk that other lanes had. The first one sends; new events go to the last one, which begins to send when those before it
are drained, so an event never overtakes an older one of its shard.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator

from shard_runtime import contract
from shard_runtime.delivery.lane_sets import LaneSet, set_of
from shard_runtime.delivery.lanes import Lane
from shard_runtime.delivery.outlet import Outlet
from shard_runtime.delivery.recovery import LANES_NOTE, Found
from shard_runtime.delivery.stored import StoredLanes, encode_lanes


class Succession:
    def __init__(self, outlet: Outlet, *, shards: int, note: Callable[[str, bytes | None], None]) -> None:
        """*note* lets the disk know something under a name, or forget it."""
        self._outlet = outlet
        self._shards = shards
        self._note = note
        self.sets: deque[LaneSet] = deque()

    def lanes(self) -> Iterator[Lane]:
        """Of all sets."""
        for lanes in self.sets:
            yield from lanes

    async def run(self) -> None:
        """Deliver until cancelled."""
        while True:
            await self.sets[0].run()
            drained = self.sets.popleft()  # a set ends only when closed, and is closed only when there is a next
            self._note(f"{LANES_NOTE}{drained.number}", None)

    def change(self, forward: contract.ForwardConfig) -> None:
        """The lanes of *forward* follow those that there are."""
        old = self.sets[-1]
        self._begin(forward, number=old.number + 1)
        old.close()

    def find(self, found: Found, forward: contract.ForwardConfig) -> None:
        """Sets of lanes for what is on disk and for what comes; they are one if they are alike."""
        wanted = StoredLanes(max(1, forward.lanes), forward.ordering)
        numbers = sorted({set_of(number) for number in found.lanes})
        for number in numbers:
            stored = found.sets.get(number, wanted)
            self._add(number, stored)
        for number, lane_found in found.lanes.items():
            lanes = next(lanes for lanes in self.sets if lanes.number == set_of(number))
            lanes.lane_on_disk(number).restore(lane_found.begun, lane_found.backlog)
        if not numbers or found.sets.get(numbers[-1], wanted) != wanted:
            self._begin(forward, number=max([*numbers, *found.sets], default=0) + 1)
        for lanes in list(self.sets)[:-1]:
            lanes.close()

    def _begin(self, forward: contract.ForwardConfig, *, number: int) -> None:
        stored = StoredLanes(max(1, forward.lanes), forward.ordering)
        self._add(number, stored)
        self._note(f"{LANES_NOTE}{number}", encode_lanes(stored))

    def _add(self, number: int, stored: StoredLanes) -> None:
        self.sets.append(
            LaneSet(
                self._outlet,
                number=number,
                lanes=stored.lanes,
                by_guild=stored.ordering == "guild",
                shards=self._shards,
            )
        )
