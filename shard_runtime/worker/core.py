"""A worker without its process: sessions, delivery and handover of some shards, steered by a supervisor's messages.

Everything comes in through ports and :meth:`Worker.handle`, so that a test can run whole pods in one loop on a virtual
clock and network.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Final

import msgspec

from gateway_hooks import Hooks
from shard_runtime import contract
from shard_runtime.contract import Role
from shard_runtime.measures import Measures, merged
from shard_runtime.orders import (
    AskReceived,
    AskStatus,
    AskWindow,
    Begin,
    Done,
    Failed,
    FromWorker,
    NewForward,
    NewSecrets,
    Orders,
    PassOnCommand,
    Seal,
    SendCommand,
    Stop,
    ToWorker,
    WorkerStatus,
)
from shard_runtime.ports import Chance, Clock, Disk, Network
from shard_runtime.shard import SavedSession
from shard_runtime.signatures import Signer
from shard_runtime.worker.commands import pass_on, send_command
from shard_runtime.worker.parts import Parts, Secrets
from shard_runtime.worker.takeover import Takeover
from shard_runtime.worker.upkeep import Upkeep

REPORT_SECONDS: Final = 2.0
SAVE_QUEUE_SECONDS: Final = 2.0
START: Final = "start_gateway"


class Worker:
    """One worker of a pod. Reads its folder when made; raises ``OSError`` if it cannot, and ``msgspec.DecodeError``
    for a file that is not what it must be."""

    def __init__(
        self,
        *,
        begin: Begin,
        clock: Clock,
        chance: Chance,
        network: Network,
        disk: Disk,
        log: logging.Logger,
        give_back_memory: Callable[[], None] = lambda: None,
        hooks: Hooks | None = None,
    ) -> None:
        """*give_back_memory* is called when memory may have become free that is not needed soon."""
        self._begin = begin
        self._config = begin.config
        self._folder = Path(begin.state)
        self._clock = clock
        self._log = log
        self._orders = begin.orders
        config = begin.config
        self._hooks = hooks
        self._opened = hooks is None or START not in hooks
        self._secrets = Secrets(token=begin.token, operator=begin.operator)
        parts = Parts(
            begin=begin,
            secrets=self._secrets,
            status=self.status,
            sessions_changed=self._sessions_changed,
            clock=clock,
            chance=chance,
            network=network,
            disk=disk,
            log=log,
            hooks=hooks,
        )
        self._parts = parts
        self._delivery = parts.delivery
        self._sign_with(begin.signing)
        self._flow = parts.flow
        self._gaps = parts.gaps
        self._permits = parts.permits
        self._shards = parts.shards
        self._file = parts.file
        self._old_side = parts.old_side
        self._notices = parts.notices
        self._siblings = parts.siblings
        self._checkpoints = parts.checkpoints
        self._upkeep = Upkeep(
            shards=self._shards,
            delivery=self._delivery,
            clock=clock,
            look=self._old_side.look,
            save=self._save,
            give_back_memory=give_back_memory,
        )
        self._recalling: asyncio.Task[None] | None = None
        self._saved = self._file.load(begin.shards)
        self._recalled = bool(self._saved)
        for shard, session in self._saved.items():
            self._delivery.resume_session(session.session_id, session.sequence)
            watermark = self._delivery.watermark(session.session_id)  # what is on disk needs no replay
            self._saved[shard] = replace(session, sequence=watermark or session.sequence)
            self._flow.received[session.session_id] = session.received
        self._old_side.restore()
        self._handover: contract.HandoverStatus | None = Takeover.finished(
            self._folder, disk, generation=config.generation
        )
        self._takeover: Takeover | None = None
        self._taking_over: asyncio.Task[None] | None = None
        self._tasks: asyncio.TaskGroup | None = None
        self._stopped = asyncio.Event()
        self._stopping = False
        self._ending: asyncio.Task[None] | None = None

    # --- Life ---------------------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Hold the sessions and deliver until told to stop. May be cancelled, like a process may be killed."""
        async with asyncio.TaskGroup() as tasks:
            self._tasks = tasks
            background = [
                tasks.create_task(self._delivery.run(), name="delivery"),
                tasks.create_task(self._upkeep.run(), name="upkeep"),
                tasks.create_task(self._notices.run(), name="notices"),
            ]
            self._prepare_takeover()
            self._follow(self._orders)
            if not self._opened:
                background.append(tasks.create_task(self._open_by_hook(), name="hook: start_gateway"))
            await self._stopped.wait()
            self._delivery.close()
            for task in (*background, self._taking_over, self._ending, self._recalling):
                if task is not None:
                    task.cancel()

    async def handle(self, message: ToWorker) -> FromWorker:
        """Do what the supervisor says and answer. Raises ``OSError`` when a promise cannot be written down."""
        match message:
            case AskStatus():
                return self.status()
            case AskWindow(request=request):
                return self._old_side.windows(request)
            case Seal(request=request):
                self._old_side.seal(request.generation)
                return self._old_side.windows(request)
            case AskReceived(request=request):
                return self._old_side.received(request)
            case SendCommand():
                return await send_command(self._shards, message)
            case PassOnCommand():
                return await pass_on(self._siblings, message)
            case Orders():
                self._follow(message)
            case NewForward(forward=forward):
                self._delivery.reconfigure(forward)
            case NewSecrets(token=token, operator=operator, signing=signing):
                self._secrets.operator = operator
                self._sign_with(signing)
                if token != self._secrets.token:
                    self._secrets.token = token
                    self._shards.token_changed()
            case Stop(seconds=seconds, end_sessions=end):
                await self._stop(seconds, end)
            case Begin():
                return Failed(error="The worker has begun already.")
        return Done()

    def _sign_with(self, secret: str | None) -> None:
        self._delivery.sign_with(None if secret is None else Signer(secret))

    # --- Roles --------------------------------------------------------------------------------------------------------

    def _prepare_takeover(self) -> None:
        """Hold events back while there is a predecessor whose guilds are not all ours yet."""
        predecessor = self._config.predecessor
        if predecessor is None or self._handover is not None or self._over(self._orders):
            return
        handover = self._parts.new_handover(predecessor, self._save_queue)
        cutover, mending, takeover = handover.cutover, handover.mending, handover.takeover
        if self._orders.predecessor_retired and not takeover.has_evidence():
            return  # a state that was lost after the handover: nobody is left to ask, and nothing to wait for
        self._takeover = takeover
        if not takeover.has_evidence():
            for shard in self._saved:
                cutover.begins(shard, self._clock.unix_milliseconds(), resumes=True)
        self._flow.hold(cutover, mending=mending, resuming=self._shards.resuming, remember=takeover.remember)
        takeover.restore()
        mending.restore({shard: session.session_id for shard, session in self._saved.items()})
        assert self._tasks is not None
        self._taking_over = self._tasks.create_task(self._take_over(takeover), name="handover")

    async def _take_over(self, takeover: Takeover) -> None:
        await takeover.run()
        self._handover = takeover.status()
        self._takeover = None
        self._flow.release()
        self._probe_sessions()

    @staticmethod
    def _over(orders: Orders) -> bool:
        return orders.role in (Role.SEALED, Role.RETIRED)

    def _follow(self, orders: Orders) -> None:
        """Do what a role asks for. Repeating an order changes nothing."""
        self._orders = orders
        self._probe_sessions()
        match orders.role:
            case Role.STANDBY:
                if self._takeover is not None:  # without a predecessor there is nothing to stand by for
                    self._start_shards()
            case Role.ACTIVE:
                self._flow.active = True
                if self._takeover is not None:
                    self._takeover.commit()
                    if orders.predecessor_retired:
                        self._takeover.nobody_left()
                self._old_side.record(self._has_successor(orders))
                self._start_shards()
            case Role.SEALED:
                self._resume_what_is_owed()
            case Role.RETIRED:
                self._retire()

    def _has_successor(self, orders: Orders) -> bool:
        """Whether another generation is being prepared, or is active already and has not asked for the seal yet."""
        own = self._config.generation
        return orders.target not in (None, own) or orders.active not in (None, own)

    def _probe_sessions(self) -> None:
        """A link that is silent is to be known soon while streams move from session to session."""
        self._shards.probe(self._takeover is not None or self._has_successor(self._orders))

    def _start_shards(self) -> None:
        if self._tasks is None or self._stopping or self._old_side.sealed or not self._opened:
            return
        if self._takeover is None and not self._recalled:
            if self._recalling is None:
                self._recalling = self._tasks.create_task(self._recall(), name="sessions of an earlier pod")
            return
        self._shards.start(self._saved, tasks=self._tasks)

    async def _open_by_hook(self) -> None:
        async def default() -> None:
            self._opened = True
            self._follow(self._orders)

        assert self._hooks is not None
        await self._hooks.call(START, default)

    async def _recall(self) -> None:
        """With nothing on disk, ask those with whom a pod before this one may have left its sessions.

        Not while a handover is under way: what was held back for it is gone with the disk, and a session that starts
        anew is aligned anew.
        """
        for shard, session in (await self._checkpoints.recall(self._begin.shards)).items():
            self._delivery.resume_session(
                session.session_id, session.sequence, finished=session.finished, unsure=session.unsure
            )
            self._flow.expect_late(session.session_id, session.late, after=session.received)
            self._saved[shard] = session
        self._recalled = True
        self._follow(self._orders)

    def _resume_what_is_owed(self) -> None:
        """After a restart of a sealed pod: get again what had been accepted and was not delivered, and nothing else."""
        if self._shards.started or self._tasks is None or self._stopping:
            return
        if not self._old_side.sealed:
            self._flow.fence({})
            self._log.error("The worker was sealed without having written what it accepted; it accepts nothing.")
            return
        if self._flow.owed():
            self._log.info("Sessions of the sealed worker are resumed for what was not delivered.")
            self._shards.start(self._saved, tasks=self._tasks, only_saved=True)

    def _retire(self) -> None:
        if not self._flow.fenced:
            self._flow.fence({})
        self._old_side.retire()
        if self._taking_over is not None:
            self._taking_over.cancel()
        if self._ending is None and self._tasks is not None and not self._stopping:
            self._ending = self._tasks.create_task(self._end_sessions(), name="end of the sessions")

    async def _end_sessions(self) -> None:
        await self._shards.stop(end_session=True)
        self._file.save({})
        self._log.info("The generation is over; its sessions are ended.")

    # --- Sessions on disk ---------------------------------------------------------------------------------------------

    def _sessions_changed(self) -> None:
        """A session began or ended: a kill right after must find it on disk, so it is written in this turn."""
        asyncio.get_running_loop().call_soon(self._save)
        self._upkeep.sessions_changed()

    def _save(self) -> None:
        if self._takeover is not None and not self._takeover.has_written_all():
            return  # the disk fails, and says so
        if self._shards.started and self._ending is None:
            self._file.save({shard: self._as_delivered(session) for shard, session in self._shards.saved().items()})

    def _as_delivered(self, session: SavedSession) -> SavedSession:
        """*session* without what only the disk has: that is in the spill's own transactions, and counts while it is."""
        return replace(session, sequence=self._delivery.delivered(session.session_id) or 0)

    # --- Stopping -----------------------------------------------------------------------------------------------------

    async def _stop(self, seconds: float, end_sessions: bool) -> None:
        if self._stopping:
            await self._stopped.wait()
            return
        self._stopping = True
        if end_sessions:
            # Whoever takes over waits for what was accepted here, so it is delivered before the sessions end.
            delivered = await self._delivery.drain(seconds) and not self._flow.owed()
            await self._shards.stop(end_session=delivered)
            if delivered:
                self._saved = {}
                self._file.save({})
            else:
                self._save()
        else:
            await self._shards.stop(end_session=False)
            await self._delivery.drain(seconds)
            self._save()
        if self._delivery.queued:
            await self._save_queue()
            self._log.warning(
                "%d accepted events are not delivered yet: %d are on disk, a resume brings the others again.",
                self._delivery.queued,
                self._delivery.stored,
            )
        await asyncio.gather(self._permits.close(REPORT_SECONDS), self._leave_checkpoint(end_sessions))
        self._stopped.set()

    async def _leave_checkpoint(self, end_sessions: bool) -> None:
        """Not in a handover that is under way: its holds are gone with the disk, and a resume would skip them.

        Once it is complete nothing is held. What ends with the disk then is what would place the streams that are not
        placed yet: of those, what waits and what has not come is left as such, to be marked.
        """
        if end_sessions or self._held_back() or not self._shards.started:
            return
        undecided, late = ({}, {}) if self._takeover is None else self._takeover.unfinished()
        await self._checkpoints.leave(
            {
                shard: replace(
                    self._as_delivered(session),
                    finished=tuple(self._delivery.delivered_above(session.session_id)),
                    unsure=tuple(undecided.get(session.session_id, ())),
                    late=tuple(late.get(shard, ())),
                )
                for shard, session in self._shards.saved().items()
            }
        )

    def _held_back(self) -> bool:
        return self._takeover is not None and not self._takeover.complete

    async def _save_queue(self) -> None:
        try:
            async with asyncio.timeout(SAVE_QUEUE_SECONDS):
                await self._delivery.save()
        except TimeoutError:
            self._log.error("The disk does not take the queued events in time.")

    # --- Status -------------------------------------------------------------------------------------------------------

    def status(self) -> WorkerStatus:
        delivery = self._delivery
        counters = delivery.counters
        counters["lostSessions"] = self._gaps.sessions
        counters["lostEvents"] = self._gaps.events
        for (name, reason), count in delivery.dropped.items():
            counters[f"dropped:{name}:{reason}"] = count
        return WorkerStatus(
            shards=[
                msgspec.structs.replace(status, queued=delivery.queued_of(status.id), gap=self._gaps.of(status.id))
                for status in self._shards.statuses()
            ],
            queued=delivery.queued,
            oldest_seconds=delivery.oldest_seconds,
            receiver=delivery.receiver,
            awaited=self._shards.awaited(),
            handover=self._takeover.status() if self._takeover is not None else self._handover,
            counters=counters,
            stored=delivery.stored,
            disk_problem=delivery.disk_problem,
            measures=self._measures(),
        )

    def _measures(self) -> Measures:
        errors: dict[str, float] = {} if self._hooks is None else dict(self._hooks.errors)
        own = Measures(counters={"hookErrors": errors}, histograms={"lag": self._upkeep.lag.counts()})
        return merged((own, self._shards.measures(), self._delivery.measures))
