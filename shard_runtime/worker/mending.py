"""Makes good what a session of this worker missed because the one before it was lost after an old pod was sealed.

The old pods' sessions go on receiving until their generation is retired, and it is not retired before this is done. The
events of the shard wait meanwhile; where each one's place is, :mod:`shard_runtime.handover.missed` says.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Collection
from typing import Final, NamedTuple

from shard_runtime.backoff import Backoff
from shard_runtime.contract import ReceivedReply, ReceivedRequest
from shard_runtime.handover.holding import Held, held
from shard_runtime.handover.missed import NEAR_MILLISECONDS, Missed
from shard_runtime.handover.steps import Step
from shard_runtime.ports import Chance, Clock
from shard_runtime.siblings import SiblingError, Siblings

WAIT_MILLISECONDS: Final = 2000
"""After READY: by then the new session has brought what it is to be compared with."""

LONGEST_MILLISECONDS: Final = 15_000
"""After READY: an old pod that has not said by then what it received, or that its sessions are complete, is not waited
for any longer."""

AGAIN_SECONDS: Final = 0.3


class _Answer(NamedTuple):
    events: list[Held]
    complete: bool


class Mending:
    """Of one worker."""

    def __init__(
        self,
        *,
        generation: int,
        count: int,
        predecessor: int,
        pods_of: Callable[[int], Collection[int]],
        own_user: int | None,
        siblings: Siblings,
        carry_out: Callable[[Step], None],
        save: Callable[[], Awaitable[None]],
        lost: Callable[[int, str, int], None],
        clock: Clock,
        chance: Chance,
        log: logging.Logger,
    ) -> None:
        """*predecessor* is the old generation, *pods_of* says which of its pods have guilds of a shard. *save* puts
        what is queued on disk: nobody could give it again. *lost* is told of what cannot be made good."""
        self.missed = Missed()
        self._generation = generation
        self._count = count
        self._predecessor = predecessor
        self._pods_of = pods_of
        self._own_user = own_user
        self._siblings = siblings
        self._carry_out = carry_out
        self._save = save
        self._lost = lost
        self._clock = clock
        self._chance = chance
        self._log = log
        self._sealed: set[int] = set()
        self._nobody_left = False
        self._asked: set[int] = set()
        """Shards for which a task asks."""
        self._more = asyncio.Event()

    @property
    def pending(self) -> bool:
        return bool(self.missed.waiting)

    # --- News ---------------------------------------------------------------------------------------------------------

    def lost(self, shard: int, cause: str, events: int) -> bool:
        """The session of *shard* is lost; whether what it misses can still be made good."""
        if self._nobody_left:
            return False
        self.missed.lost(shard, cause, events)
        return True

    def begins(self, shard: int, ready: bytes, now: int) -> None:
        """*shard* has a new session, which came with *ready*."""
        self.missed.begins(shard, ready, now)
        if not self._sealed.isdisjoint(self._pods_of(shard)):
            self._hold(shard)

    def sealed(self, pod: int, at: int, *, seen: bool) -> None:
        """Old *pod* was sealed *at* (this pod's clock), also if a sibling of ours asked: before the cutover knows.

        *seen*: this process has seen it unsealed, so no earlier one has delivered anything in its place.
        """
        self._sealed.add(pod)
        self.missed.exact &= seen
        for shard, began in self.missed.began.items():
            if began > at - NEAR_MILLISECONDS and pod in self._pods_of(shard):
                self._hold(shard)

    def sealed_before(self, pod: int) -> None:
        """Old *pod* was sealed in an earlier life of the worker."""
        self._sealed.add(pod)
        self.missed.exact = False

    def nobody_left(self) -> None:
        """The old generation is deleted."""
        self._nobody_left = True
        for shard in self.missed.waiting:
            self._give_up(shard)
        self.missed.close()

    def _hold(self, shard: int) -> None:
        if not self._nobody_left:
            self.missed.hold(shard)
            self._more.set()

    def _give_up(self, shard: int) -> None:
        self._carry_out(self.missed.give_up(shard))
        found = self.missed.settle(shard)
        if found is not None:
            self._lost(shard, found.cause, found.events)

    # --- Asking -------------------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Ask for what was missed whenever something was, until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            while True:
                for shard in self.missed.waiting:
                    if shard not in self._asked:
                        self._asked.add(shard)
                        tasks.create_task(self._make_good(shard), name=f"what shard {shard} missed")
                self._more.clear()
                await self._more.wait()

    async def _make_good(self, shard: int) -> None:
        try:
            while shard in self.missed.waiting:
                began = self.missed.began[shard]
                await self._until(began + WAIT_MILLISECONDS)
                pods = [pod for pod in self._pods_of(shard) if pod in self._sealed]
                answers = await asyncio.gather(*(self._ask(pod, shard, began) for pod in pods))
                if self.missed.began[shard] == began and shard in self.missed.waiting:
                    await self._deliver(shard, answers)
        finally:
            self._asked.discard(shard)

    async def _deliver(self, shard: int, answers: list[_Answer | None]) -> None:
        known = [answer for answer in answers if answer is not None]
        received = sorted((event for answer in known for event in answer.events), key=lambda event: event.arrival)
        step = self.missed.make_good(shard, received, exact=all(answer.complete for answer in known))
        self._carry_out(step)
        found = self.missed.settle(shard)
        cause = "The session before was lost" if found is None else f"Its session was lost ({found.cause})"
        if len(known) == len(answers):
            cause = "no session at the seal" if found is None else found.cause
            self._log.warning("What shard %d missed (%s) is made good from the old sessions.", shard, cause)
        elif found is not None:
            self._lost(shard, found.cause, found.events)
        await self._save()

    async def _ask(self, pod: int, shard: int, began: int) -> _Answer | None:
        """All that *pod* has received of the guilds of *shard*; None where it does not say."""
        backoff = Backoff(first=0.2, cap=2.0, chance=self._chance)
        after: dict[str, int] = {}
        events: list[Held] = []
        complete = False
        while not self._nobody_left:
            late = self._clock.unix_milliseconds() > began + LONGEST_MILLISECONDS
            request = ReceivedRequest(generation=self._generation, count=self._count, shards=[shard], after=after)
            try:
                reply = await self._siblings.received(self._predecessor, pod, request)
            except SiblingError as error:
                if late:
                    self._log.error("What shard %d missed cannot be asked for: %s.", shard, error)
                    return None
                await self._clock.sleep(backoff.next())
                continue
            now = self._clock.unix_milliseconds()
            events += self._read(reply, shard, now)
            after |= {event.session: event.sequence for event in reply.events}
            complete = reply.complete
            if reply.more:
                continue
            if now - reply.behind_milliseconds >= began or late:
                return _Answer(events, complete)
            await self._clock.sleep(AGAIN_SECONDS)
        return None

    def _read(self, reply: ReceivedReply, shard: int, now: int) -> list[Held]:
        """The events as *shard* would have had them, by this pod's clock."""
        ahead = now - reply.now
        return [
            held(
                shard=shard,
                count=self._count,
                session=event.session,
                sequence=event.sequence,
                name=event.name,
                payload=event.payload,
                arrival=event.arrival + ahead,
                own_user=self._own_user,
            )
            for event in reply.events
        ]

    async def _until(self, moment: int) -> None:
        await self._clock.sleep(max(0, moment - self._clock.unix_milliseconds()) / 1000)
