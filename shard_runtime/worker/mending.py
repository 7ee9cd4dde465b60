"""Makes good what a session of this worker missed because the one before it was lost after an old pod was sealed.

The old pods' sessions go on receiving until their generation is retired, and it is not retired before this is done. The
events of the shard wait meanwhile; where each one's place is, :mod:`shard_runtime.handover.missed` says.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Collection, Mapping
from pathlib import Path
from typing import Final, NamedTuple

import msgspec

from shard_runtime import contract
from shard_runtime.backoff import Backoff
from shard_runtime.contract import ReceivedReply, ReceivedRequest
from shard_runtime.handover.holding import Held, held
from shard_runtime.handover.missed import NEAR_MILLISECONDS, Missed
from shard_runtime.handover.steps import Step
from shard_runtime.ports import Chance, Clock, Disk
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
    """Nothing that came since the seal has been let go."""
    whole: bool
    """All that Discord sent before the new session is there."""


class _Waiting(contract.Wire, frozen=True, kw_only=True):
    """``mending.json``: by shard, the session that waits for what was missed, and when it began."""

    generation: int
    sessions: dict[int, tuple[str, int]]


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
        flows: Callable[[int], bool],
        save: Callable[[], Awaitable[None]],
        lost: Callable[[int, str, int], None],
        path: Path,
        disk: Disk,
        clock: Clock,
        chance: Chance,
        log: logging.Logger,
    ) -> None:
        """*predecessor* is the old generation, *pods_of* says which of its pods have guilds of a shard, *flows* whether
        all that they had accepted of them is acknowledged. *save* puts what is queued on disk: nobody could give it
        again. *lost* is told of what cannot be made good. *path* is for what a restart has to know."""
        self.missed = Missed()
        self._generation = generation
        self._count = count
        self._predecessor = predecessor
        self._pods_of = pods_of
        self._own_user = own_user
        self._siblings = siblings
        self._carry_out = carry_out
        self._flows = flows
        self._path = path
        self._disk = disk
        self._save = save
        self._lost = lost
        self._clock = clock
        self._chance = chance
        self._log = log
        self._written = True
        self._sealed: set[int] = set()
        self._nobody_left = False
        self._asked: set[int] = set()
        """Shards for which a task asks."""
        self._more = asyncio.Event()

    @property
    def pending(self) -> bool:
        return bool(self.missed.waiting or self._asked)

    # --- News ---------------------------------------------------------------------------------------------------------

    def lost(self, shard: int, cause: str, events: int) -> bool:
        """The session of *shard* is lost; whether what it misses can still be made good."""
        if self._nobody_left:
            return False
        self.missed.lost(shard, cause, events)
        return True

    def pass_on(self, step: Step) -> None:
        """See :meth:`Missed.pass_on`."""
        self.missed.pass_on(step)
        while self.missed.overflowed:
            shard = self.missed.overflowed.pop()
            self._log.error("Shard %d cannot wait any longer for what it missed: too much has come since.", shard)
            self._note_lost(shard)

    def begins(self, shard: int, session: str, now: int) -> None:
        """*shard* has a new *session*."""
        self.missed.begins(shard, session, now)
        if not self._sealed.isdisjoint(self._pods_of(shard)):
            self._hold(shard)

    def sealed(self, pod: int, at: int, *, seen: bool) -> None:
        """Old *pod* was sealed *at* (this pod's clock), also if a sibling of ours asked: before the cutover knows.

        *seen*: this process has seen it unsealed, so no earlier one has delivered anything in its place.
        """
        self._sealed.add(pod)
        self.missed.exact &= seen
        for shard, session in self.missed.sessions.items():
            if session.began > at - NEAR_MILLISECONDS and pod in self._pods_of(shard):
                self._hold(shard)

    def sealed_before(self, pod: int) -> None:
        """Old *pod* was sealed in an earlier life of the worker."""
        self._sealed.add(pod)
        self.missed.exact = False

    def restore(self, saved: Mapping[int, str]) -> None:
        """Go on with what an earlier life of the worker had begun, of the *saved* sessions by shard."""
        try:
            data = self._disk.read(self._path)
            waiting = None if data is None else contract.decode(data, _Waiting)
        except (OSError, msgspec.DecodeError) as error:
            self._log.error("%s cannot be read; what sessions missed before the restart is lost: %s", self._path, error)
            return
        if waiting is None or waiting.generation != self._generation:
            return
        for shard, (session, began) in waiting.sessions.items():
            if saved.get(shard) == session:
                self.missed.exact = False
                self.missed.begins(shard, session, began)
                self._hold(shard)

    def nobody_left(self) -> None:
        """The old generation is deleted."""
        self._nobody_left = True
        for shard in self.missed.waiting:
            self._give_up(shard)
        self.missed.close()

    def _hold(self, shard: int) -> None:
        if not self._nobody_left:
            self.missed.hold(shard)
            self._write()
            self._more.set()

    def _give_up(self, shard: int) -> None:
        self._carry_out(self.missed.give_up(shard))
        self._note_lost(shard)

    def _note_lost(self, shard: int) -> None:
        found = self.missed.settle(shard)
        cause, events = ("it had no session at the seal", 0) if found is None else found
        self._lost(shard, cause, events)

    def _write(self) -> None:
        """Before the new session is on disk, so that a restart does not go on with it as if nothing were missing."""
        waiting = sorted({*self.missed.waiting, *self._asked})
        begun = self.missed.sessions
        sessions = {shard: (begun[shard].id, begun[shard].began) for shard in waiting}
        try:
            self._disk.write_soon(self._path, contract.encode(_Waiting(generation=self._generation, sessions=sessions)))
        except OSError as error:
            if self._written:
                self._log.error("%s cannot be written, tried again: %s", self._path, error)
            self._written = False
        else:
            self._written = True

    def has_written_all(self) -> bool:
        """Whether what a restart has to know is on disk; what could not be written is tried again."""
        if not self._written:
            self._write()
        return self._written

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
                began = self.missed.sessions[shard].began
                await self._until(began + WAIT_MILLISECONDS)
                while not self._flows(shard):  # what was missed comes after what the old side still has to deliver
                    await self._clock.sleep(AGAIN_SECONDS)
                pods = [pod for pod in self._pods_of(shard) if pod in self._sealed]
                answers = await asyncio.gather(*(self._ask(pod, shard, began) for pod in pods))
                if self.missed.sessions[shard].began == began and shard in self.missed.waiting:
                    await self._deliver(shard, answers)
        finally:
            self._asked.discard(shard)
        self._write()  # not where it was cancelled: then a restart has to ask again

    async def _deliver(self, shard: int, answers: list[_Answer | None]) -> None:
        known = [answer for answer in answers if answer is not None]
        received = sorted((event for answer in known for event in answer.events), key=lambda event: event.arrival)
        step = self.missed.make_good(shard, received, exact=all(answer.complete for answer in known))
        self._carry_out(step)
        if len(known) == len(answers) and all(answer.whole and answer.complete for answer in known):
            found = self.missed.settle(shard)
            cause = "no session at the seal" if found is None else found.cause
            self._log.warning("What shard %d missed (%s) is made good from the old sessions.", shard, cause)
        else:
            self._note_lost(shard)
        await self._save()

    async def _ask(self, pod: int, shard: int, began: int) -> _Answer | None:
        """All that *pod* has received of the guilds of *shard*; None where it does not say."""
        backoff = Backoff(first=0.2, cap=2.0, chance=self._chance)
        after: dict[str, int] = {}
        events: list[Held] = []
        complete = False
        deadline = self._clock.unix_milliseconds() + LONGEST_MILLISECONDS - WAIT_MILLISECONDS
        while not self._nobody_left:
            asked_at = self._clock.unix_milliseconds()
            late = asked_at > deadline
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
            whole = asked_at - reply.behind_milliseconds >= began
            if whole or late:
                return _Answer(events, complete, whole)
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
