"""The new side of a handover, for one worker: asks the old pods, and lets the cutover decide by their answers.

Until the commit the old pods are asked whether they still accept, since that is what lets a standby forget, and now and
then for their windows, to rehearse. After it each old pod that can have guilds of this worker is asked to seal, for as
long as it takes: one that cannot be reached simply goes on delivering its guilds. So does one that is not asked because
a session here was lost after the commit: until there is another one, what a sealed pod leaves would come to nobody.
What a session missed that was lost after the seal is made good (:mod:`.mending`). Answers, and what was found by them,
are kept on disk, so that a restart goes on from the same evidence, also when the old pods are gone by then.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final

import msgspec

from shard_runtime import contract
from shard_runtime.backoff import Backoff
from shard_runtime.handover.cutover import Cutover
from shard_runtime.handover.old_pod import Known
from shard_runtime.handover.placed import Placed
from shard_runtime.handover.steps import Step
from shard_runtime.ports import Chance, Clock, Disk
from shard_runtime.siblings import SiblingError, Siblings
from shard_runtime.worker.inheritance import Inheritance
from shard_runtime.worker.mending import Mending

STANDBY_SECONDS: Final = 2.0
REHEARSE_SECONDS: Final = 3.0
REHEARSE_AGAIN_SECONDS: Final = 15.0
UNREADY_SECONDS: Final = 0.5
AWAIT_SECONDS: Final = 0.1
TICK_SECONDS: Final = 0.1


class _Complete(contract.Wire, frozen=True, kw_only=True):
    """``handover.json``: the handover is complete, and what it came to."""

    generation: int
    status: contract.HandoverStatus
    over: bool = False
    """Nothing that came before its end can come again, so the old pods' answers are not needed any more."""


class _Evidence(contract.Wire, frozen=True, kw_only=True):
    """``seal-of-<pod>.json``: written before the answer to a seal is used."""

    reply: contract.HandoverReply
    known: Known


class _Found(contract.Wire, frozen=True, kw_only=True):
    """``found-of-<pod>.json``: what came of it so far."""

    placed: list[Placed] = msgspec.field(default_factory=list)
    after: list[contract.GuildWindow] | None = None


class Takeover:
    """Drives a :class:`Cutover` until it is over."""

    def __init__(
        self,
        *,
        folder: Path,
        cutover: Cutover,
        config: contract.RuntimeConfig,
        shards: list[int],
        siblings: Siblings,
        apply: Callable[[Step], None],
        settled: Callable[[], bool],
        away: Callable[[], Collection[int]],
        heard_since: Callable[[int], bool],
        hurry: Callable[[], None],
        inherit: Inheritance,
        mending: Mending,
        clock: Clock,
        chance: Chance,
        disk: Disk,
        log: logging.Logger,
    ) -> None:
        """*apply* carries out steps; *settled* says, once the cutover is over, whether no event from before its end can
        be sent again by a resume; *away*, which shards have no live session; *heard_since*, whether all of them
        certainly have had one since a moment; *hurry* asks them for a sign of life."""
        assert config.predecessor is not None
        self._folder = folder
        self._cutover = cutover
        self._predecessor = config.predecessor.generation
        self._request = contract.HandoverRequest(
            generation=config.generation, count=config.layout.count, shards=list(shards)
        )
        self._siblings = siblings
        self._apply = apply
        self._settled = settled
        self._away = away
        self._heard_since = heard_since
        self._hurry = hurry
        self._hurried = False
        self._inherit = inherit
        self._mending = mending
        self._retired = False
        self._clock = clock
        self._chance = chance
        self._disk = disk
        self._log = log
        self._committed = asyncio.Event()
        self._disk_failed = False
        self._said_unready = False
        self._found: dict[int, _Found] = {}
        self._unwritten: set[int] = set()
        """Old pods of which what was found is not on disk as it is."""
        self._rehearsed_at: dict[int, int] = {}

    # --- Restarts -----------------------------------------------------------------------------------------------------

    @staticmethod
    def finished(folder: Path, disk: Disk, *, generation: int) -> contract.HandoverStatus | None:
        """What the handover came to, if it was over in an earlier life of the worker."""
        complete = _read_complete(folder, disk, generation)
        return complete.status if complete is not None and complete.over else None

    def restore(self) -> None:
        """Use the answers of old pods that an earlier life of the worker got. To be called before any event comes."""
        complete = _read_complete(self._folder, self._disk, self._request.generation) is not None
        for pod in self._cutover.old_pods:
            evidence = self._read_evidence(pod)
            if evidence is None:
                continue
            self.commit()
            reply = evidence.reply
            if complete:  # the old pods may be gone, and had nothing left to deliver
                reply = msgspec.structs.replace(reply, unacknowledged=[])
            found = self._found[pod] = self._read_found(pod)
            now = self._clock.unix_milliseconds()
            self._mending.sealed_before(pod)
            self._apply(self._cutover.sealed(pod, reply, now, known=evidence.known, found=found.placed))
            if not complete:
                self._inherit.take(reply.kept)
            if found.after is not None:
                self._apply(self._cutover.heard(pod, found.after, now))

    def has_evidence(self) -> bool:
        """Whether an earlier life of the worker got an old pod's seal."""
        return any(self._read_evidence(pod) is not None for pod in self._cutover.old_pods)

    def _read_evidence(self, pod: int) -> _Evidence | None:
        data = self._disk.read(self._evidence(pod))
        evidence = None if data is None else contract.decode(data, _Evidence)
        return evidence if evidence is not None and evidence.reply.generation == self._predecessor else None

    def _read_found(self, pod: int) -> _Found:
        data = self._disk.read(self._found_file(pod))
        return _Found() if data is None else contract.decode(data, _Found)

    def _found_file(self, pod: int) -> Path:
        return self._folder / f"found-of-{pod}.json"

    def remember(self, placed: Mapping[int, Sequence[Placed]]) -> None:
        """Write down where streams go on; a restart could not find it again."""
        for pod, new in placed.items():
            before = self._found.get(pod, _Found())
            self._write_found(pod, msgspec.structs.replace(before, placed=[*before.placed, *new]))

    def has_written_all(self) -> bool:
        """Whether what a restart has to know is on disk; what could not be written is tried again.

        Until it is, no session may be saved any further: what it got near the seal would not be sent again, and what it
        gets later would be taken for that, and skipped.
        """
        for pod in sorted(self._unwritten):
            self._write_found(pod, self._found[pod])
        return not self._unwritten and self._mending.has_written_all()

    def _write_found(self, pod: int, found: _Found) -> None:
        self._found[pod] = found
        self._unwritten.add(pod)
        try:
            self._disk.write_soon(self._found_file(pod), contract.encode(found))
            self._unwritten.discard(pod)
        except OSError as error:
            if not self._disk_failed:
                self._log.error("Places of streams cannot be written; a restart would mark duplicates: %s", error)
            self._disk_failed = True

    def _evidence(self, pod: int) -> Path:
        return self._folder / f"seal-of-{pod}.json"

    def _write_complete(self, *, over: bool) -> bool:
        complete = _Complete(generation=self._request.generation, status=self.status(), over=over)
        try:
            self._disk.write(self._folder / "handover.json", contract.encode(complete))
        except OSError as error:
            if not self._disk_failed:
                self._log.error("The end of the handover cannot be written, tried again: %s", error)
            self._disk_failed = True
            return False
        self._disk_failed = False
        return True

    # --- The handover -------------------------------------------------------------------------------------------------

    def commit(self) -> None:
        """The record makes this generation the active one."""
        if not self._committed.is_set():
            self._apply(self._cutover.commit(self._clock.unix_milliseconds()))
            self._committed.set()

    @property
    def complete(self) -> bool:
        """Every guild is ours, and nothing is held any more."""
        return self._cutover.complete and not self._mending.pending

    def unfinished(self) -> tuple[dict[str, list[int]], dict[int, list[int]]]:
        """What a handover that is complete would still have to decide: by session, the sequences that wait for the
        place of their stream; by shard, the keys of which copies may come."""
        return self._cutover.undecided(), self._cutover.late()

    def nobody_left(self) -> None:
        """The old generation is deleted: nothing more can be learned of what it accepted, or received later."""
        self._retired = True
        self._mending.nobody_left()
        for pod in self._cutover.to_seal:
            self._log.error(
                "Pod %d of generation %d is gone without having been asked to seal.", pod, self._predecessor
            )
            nothing = contract.HandoverReply(
                generation=self._predecessor, pod_uid="", sealed_at=None, recorded_since=None
            )
            self._apply(self._cutover.sealed(pod, nothing, self._clock.unix_milliseconds()))
        for pod in self._cutover.to_await:
            self._apply(self._cutover.acknowledged(pod, (), self._clock.unix_milliseconds()))

    async def run(self) -> None:
        """Return when the cutover is over."""
        async with asyncio.TaskGroup() as tasks:
            for pod in self._cutover.old_pods:
                tasks.create_task(self._deal_with(pod), name=f"handover from pod {pod}")
            inheriting = tasks.create_task(self._inherit.run(), name="calls and presences")
            mending = tasks.create_task(self._mending.run(), name="what lost sessions missed")
            await tasks.create_task(self._tick(), name="handover tick")
            inheriting.cancel()
            mending.cancel()

    async def _tick(self) -> None:
        completed = False
        while True:
            now = self._clock.unix_milliseconds()
            self._apply(self._cutover.tick(now))
            if self._cutover.complete and not self._hurried:
                self._hurried = True
                self._hurry()
            if not completed and self._cutover.complete and not self._is_waiting():
                completed = self._complete()
            is_over = completed and self._cutover.is_over(now) and not self._is_waiting() and self._settled()
            if is_over and self._write_complete(over=True):
                with suppress(OSError):  # who finds that it is over reads none of them
                    for pod in self._cutover.old_pods:
                        self._disk.remove(self._evidence(pod))
                        self._disk.remove(self._found_file(pod))
                return
            await self._clock.sleep(TICK_SECONDS)

    def _is_waiting(self) -> bool:
        """Whether the old generation is still needed, though every guild is ours. A session that was lost unknown to us
        would have its events from there."""
        if self._inherit.pending or self._mending.pending:
            return True
        return not self._retired and not self._heard_since(self._cutover.completed_at or 0)

    def _complete(self) -> bool:
        if not self._write_complete(over=False):
            return False
        status = self._cutover.status()
        self._log.info(
            "The handover is complete: %d guilds released, %d events marked maybeDuplicate.",
            status.released_guilds,
            status.delivered_marked,
        )
        return True

    async def _deal_with(self, pod: int) -> None:
        backoff = Backoff(first=0.2, cap=5.0, chance=self._chance)
        problem: str | None = None
        while True:
            standby = not self._committed.is_set()
            try:
                pause = await self._ask(pod)
            except (SiblingError, OSError) as error:
                pause = backoff.next()
                if str(error) != problem:
                    problem = str(error)
                    self._log.warning("The handover waits: %s.", problem)
            else:
                backoff.reset()
                problem = None
            if pause is None:
                return
            await self._pause(pause, standby=standby)

    async def _ask(self, pod: int) -> float | None:
        """Ask *pod* what is to be asked now; how long to wait before the next question, None if there is none."""
        light = msgspec.structs.replace(self._request, windows=False)
        if not self._committed.is_set():
            asked_at = self._clock.unix_milliseconds()
            rehearses = asked_at >= self._rehearse_at(pod)
            reply = await self._siblings.window(self._predecessor, pod, self._request if rehearses else light)
            if reply.sealed_at is None:
                self._apply(self._cutover.unsealed(pod, asked_at, behind=reply.behind_milliseconds))
                if rehearses:
                    self._rehearse(pod, reply)
            return self._chance.uniform(0.5, 1.0) * STANDBY_SECONDS
        if pod in self._cutover.to_seal:
            away = self._away()
            if not self._cutover.is_ready(pod, self._clock.unix_milliseconds(), away=away):
                if away and not self._said_unready:
                    self._log.warning("The handover waits: shards %s have no live session.", list(away))
                    self._said_unready = True
                # It goes on delivering meanwhile, unless a sibling of ours has had it sealed.
                asked_at = self._clock.unix_milliseconds()
                reply = await self._siblings.window(self._predecessor, pod, light)
                if reply.sealed_at is None:
                    self._apply(self._cutover.unsealed(pod, asked_at, behind=reply.behind_milliseconds))
                    return UNREADY_SECONDS
            reply = await self._siblings.seal(self._predecessor, pod, self._request)
            self._seal(pod, reply)
        elif pod in self._cutover.to_await or pod in self._cutover.to_hear:
            reply = await self._siblings.seal(self._predecessor, pod, msgspec.structs.replace(light, after=True))
            now = self._clock.unix_milliseconds()
            if reply.after is not None and pod in self._cutover.to_hear:
                self._write_found(pod, msgspec.structs.replace(self._found.get(pod, _Found()), after=reply.after))
                self._apply(self._cutover.heard(pod, reply.after, now))
            self._apply(self._cutover.acknowledged(pod, reply.unacknowledged, now))
        return AWAIT_SECONDS if pod in self._cutover.to_await or pod in self._cutover.to_hear else None

    def _rehearse_at(self, pod: int) -> int:
        """What went well is looked at again, since a cutover may wait long; but it costs the old pod something."""
        pause = REHEARSE_AGAIN_SECONDS if self._cutover.rehearsed(pod) else REHEARSE_SECONDS
        return self._rehearsed_at.get(pod, 0) + round(pause * 1000)

    def _rehearse(self, pod: int, reply: contract.HandoverReply) -> None:
        now = self._clock.unix_milliseconds()
        self._cutover.rehearse(pod, reply, now)
        self._rehearsed_at[pod] = now - round(self._chance.uniform(0.0, 0.25) * REHEARSE_SECONDS * 1000)

    def _seal(self, pod: int, reply: contract.HandoverReply) -> None:
        now = self._clock.unix_milliseconds()
        known = self._cutover.known(pod, reply, now)
        self._mending.sealed(pod, now - (reply.sealed_milliseconds or 0), seen=self._cutover.was_unsealed(pod))
        self._disk.write(self._evidence(pod), contract.encode(_Evidence(reply=reply, known=known)))
        self._apply(self._cutover.sealed(pod, reply, now, known=known))
        self._inherit.take(reply.kept)

    async def _pause(self, seconds: float, *, standby: bool) -> None:
        """Wait. After a question in *standby* not past the news of the commit, which may have come while it was asked:
        where a sibling of ours has an old pod sealed, its guilds pause until we ask, too."""
        if not standby:
            await self._clock.sleep(seconds)
            return
        try:
            async with asyncio.timeout(seconds):
                await self._committed.wait()
        except TimeoutError:
            return

    def status(self) -> contract.HandoverStatus:
        status = self._cutover.status()
        return msgspec.structs.replace(status, complete=False) if self._is_waiting() else status


def _read_complete(folder: Path, disk: Disk, generation: int) -> _Complete | None:
    data = disk.read(folder / "handover.json")
    complete = None if data is None else contract.decode(data, _Complete)
    return complete if complete is not None and complete.generation == generation else None
