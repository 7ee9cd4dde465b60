"""The pod: its role, its seal, and what its workers are to know. Everything of the supervisor but processes and HTTP.

What workers are to know are orders, secrets and the forward configuration; :mod:`~shard_runtime.supervisor.workers`
tells them.
"""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path
from typing import Final

import msgspec

from shard_runtime import contract
from shard_runtime.contract import Role
from shard_runtime.mounts import Secrets
from shard_runtime.orders import (
    AskReceived,
    AskWindow,
    Begin,
    Handlers,
    NewForward,
    NewSecrets,
    Orders,
    ReceivedPart,
    Seal,
    Windows,
)
from shard_runtime.ports import Clock, Disk
from shard_runtime.supervisor.merge import merged_status, merged_windows
from shard_runtime.supervisor.standing import Standing, SupersededError, follow_record, initial_standing, seal
from shard_runtime.supervisor.workers import UnavailableError, Workers

ROLE_FILE: Final = "role.json"


class StaleRecordError(Exception):
    """The record is not later than the one that the pod follows, and differs from it."""

    def __init__(self, current: contract.Record) -> None:
        super().__init__(f"The pod already follows the record of epoch {current.epoch}.")
        self.current = current


class RefusedError(Exception):
    """The pod does not do what is asked of it; the text says why."""


class Pod:
    """One pod of one generation. Reads ``role.json`` when made; raises :class:`SupersededError` or ``OSError`` then."""

    def __init__(
        self,
        *,
        config: contract.RuntimeConfig,
        forward: contract.ForwardConfig,
        secrets: Secrets,
        pod: int,
        pod_uid: str,
        state: Path,
        clock: Clock,
        disk: Disk,
        log: logging.Logger,
        handlers: Handlers | None = None,
    ) -> None:
        self.config = config
        self._handlers = handlers or Handlers()
        self.secrets = secrets
        self._forward = forward
        self._pod = pod
        self._state = state
        self._clock = clock
        self._disk = disk
        self._log = log
        self._changing = asyncio.Lock()
        self._was_ready = False
        self._book = contract.CheckpointBook()
        layout = config.layout
        shards = [layout.worker_shards(pod, index) for index in range(layout.pod_workers(pod))]
        self._workers = Workers(shards, clock=clock, log=log)
        self.attach, self.detach = self._workers.attach, self._workers.detach
        self.ask = self._workers.ask
        self.silent_seconds = self._workers.silent_seconds
        self.measures = self._workers.measures
        self._unreadable = False
        found = self._read_standing()
        self._standing = initial_standing(found, pod_uid=pod_uid, generation=config.generation, count=layout.count)
        try:
            self._persist(self._standing)
        except OSError as error:
            if self._standing != found:
                raise
            self._log.warning("%s cannot be written, and says already what it must: %s", self._state / ROLE_FILE, error)

    # --- What it is ---------------------------------------------------------------------------------------------------

    @property
    def role(self) -> Role:
        return self._standing.role

    @property
    def record(self) -> contract.Record | None:
        return self._standing.record

    @property
    def index(self) -> int:
        return self._pod

    @property
    def workers(self) -> int:
        return len(self._workers)

    def superseded(self) -> bool:
        """Whether a newer incarnation has taken the pod's folder; then this one must stop, and write nothing more.

        A folder that cannot be read now tells of none: the sessions are worth more than an answer at once.
        """
        try:
            found = self._read_standing()
        except (OSError, msgspec.DecodeError) as error:
            if not self._unreadable:
                self._log.error("%s cannot be read; the pod goes on: %s", self._state / ROLE_FILE, error)
            self._unreadable = True
            return False
        self._unreadable = False
        return found is not None and found.pod_uid != self._standing.pod_uid

    # --- Workers ------------------------------------------------------------------------------------------------------

    def worker_state(self, worker: int) -> Path:
        """The folder of one worker."""
        return self._state / f"worker-{worker}"

    def begin(self, worker: int) -> Begin:
        """The first message for a new process of *worker*."""
        return Begin(
            worker=worker,
            shards=list(self._workers.shards(worker)),
            pod=self._pod,
            pod_uid=self._standing.pod_uid,
            state=str(self.worker_state(worker)),
            config=self.config,
            forward=self._workers_forward(),
            token=self.secrets.token,
            operator=self.secrets.operator,
            signing=self.secrets.signing,
            orders=self._orders(),
            handlers=self._handlers,
        )

    def _workers_forward(self) -> contract.ForwardConfig:
        """What a worker delivers by: the queue's bounds are the pod's, and each worker has its share of them."""
        queue, workers = self._forward.queue, len(self._workers)
        share = msgspec.structs.replace(
            queue,
            max_events=max(1, queue.max_events // workers),
            max_bytes=max(1, queue.max_bytes // workers),
        )
        return msgspec.structs.replace(self._forward, queue=share)

    async def tick(self) -> None:
        """Tell workers what they do not know yet and look at how they are; to be called about every second."""
        await self._tell()
        await self._workers.look()

    async def _tell(self) -> None:
        secrets = NewSecrets(token=self.secrets.token, operator=self.secrets.operator, signing=self.secrets.signing)
        await self._workers.tell([self._orders(), NewForward(forward=self._workers_forward()), secrets])

    def _orders(self) -> Orders:
        standing = self._standing
        record = standing.record
        return Orders(
            role=standing.role,
            epoch=standing.epoch,
            active=None if record is None else record.active,
            target=None if record is None else record.target,
            predecessor_retired=self._predecessor_retired(record),
        )

    def _predecessor_retired(self, record: contract.Record | None) -> bool:
        predecessor = self.config.predecessor
        return predecessor is None or (record is not None and record.retired >= predecessor.generation)

    # --- Changes ------------------------------------------------------------------------------------------------------

    async def adopt_record(self, record: contract.Record) -> None:
        """Follow *record*, durably. Raises :class:`StaleRecordError`, or ``OSError`` when it cannot be persisted."""
        async with self._changing:
            current = self._standing.record
            if current is not None and record != current and record.epoch <= current.epoch:
                raise StaleRecordError(current)
            before, after = self._standing.role, follow_record(self._standing, record)
            if after != self._standing:
                self._persist(after)
            if after.role is not before:
                self._log.info("The pod is %s now (record epoch %d, was %s).", after.role, record.epoch, before)
        await self._tell()

    async def adopt_forward(self, forward: contract.ForwardConfig) -> None:
        """Deliver by *forward* from now on."""
        if forward != self._forward:
            self._forward = forward
            self._log.info("Delivery follows a changed forward configuration (to %s).", _host_of(forward.url))
        await self._tell()

    async def adopt_secrets(self, secrets: Secrets) -> None:
        """Use changed tokens from now on."""
        if secrets != self.secrets:
            self.secrets = secrets
            self._log.info("A token or the signing secret has changed.")
        await self._tell()

    # --- Handover, as an old pod --------------------------------------------------------------------------------------

    async def window(self, request: contract.HandoverRequest) -> contract.HandoverReply:
        """The windows of the asker's guilds, without effect.

        Raises :class:`UnavailableError`, also where the pod is sealed and a worker has lost with its disk since when:
        the asker would take it for a pod that still accepts, and let go of what it holds.
        """
        reply = self._reply(await self._workers.ask_all(AskWindow(request=request), Windows))
        if reply.sealed_at is None and self.role in (Role.SEALED, Role.RETIRED):
            raise UnavailableError("This pod is sealed, and does not know since when.")
        return reply

    async def seal(self, request: contract.HandoverRequest) -> contract.HandoverReply:
        """Accept nothing more, durably, and answer with the final windows of the asker's guilds; repeatable.

        Raises :class:`RefusedError` for an asker that is not a later generation and for a pod that is itself still
        taking over; :class:`UnavailableError` when a worker cannot answer now (the seal holds then, too); ``OSError``
        when the seal cannot be persisted (then there is none).
        """
        if request.generation <= self.config.generation:
            raise RefusedError(
                f"Generation {request.generation} cannot take over from the later generation {self.config.generation}."
            )
        async with self._changing:
            standing = self._standing
            sealed = seal(standing)
            if standing.role is Role.ACTIVE and not self._handover_complete():
                raise UnavailableError("This pod is still taking over from its own predecessor.")
            if sealed != standing:
                self._persist(sealed)
                self._log.info("The pod is %s for generation %d.", sealed.role, request.generation)
        return self._reply(await self._workers.ask_all(Seal(request=request), Windows))

    async def received(self, request: contract.ReceivedRequest) -> contract.ReceivedReply:
        """What the sealed sessions went on receiving of the asker's guilds. Raises :class:`UnavailableError`."""
        parts = await self._workers.ask_all(AskReceived(request=request), ReceivedPart)
        return contract.ReceivedReply(
            generation=self.config.generation,
            pod_uid=self._standing.pod_uid,
            complete=all(part.complete for part in parts),
            now=self._clock.unix_milliseconds(),
            behind_milliseconds=max((part.behind_milliseconds for part in parts), default=0),
            events=[event for part in parts for event in part.events],
            more=any(part.more for part in parts),
        )

    def _handover_complete(self) -> bool:
        if self._predecessor_retired(self._standing.record):
            return True
        return self._workers.have_taken_over()

    def _reply(self, answers: list[Windows]) -> contract.HandoverReply:
        merged = merged_windows(answers)
        return contract.HandoverReply(
            generation=self.config.generation,
            pod_uid=self._standing.pod_uid,
            sealed_at=merged.sealed_at,
            recorded_since=merged.recorded_since,
            windows=merged.windows,
            unacknowledged=merged.unacknowledged,
            kept=merged.kept,
            behind_milliseconds=merged.behind_milliseconds,
            sealed_milliseconds=merged.sealed_milliseconds,
            after=merged.after,
        )

    # --- Checkpoints of siblings --------------------------------------------------------------------------------------

    def keep_checkpoint(self, checkpoint: contract.Checkpoint) -> None:
        """Remember what a sibling that stops leaves behind."""
        self._book.put(self._clock.monotonic(), checkpoint)

    def checkpoint(self, generation: int, pod: int) -> contract.Checkpoint | None:
        """What a pod has left here, if it is not too old."""
        return self._book.get(self._clock.monotonic(), generation, pod)

    # --- Looking and stopping -----------------------------------------------------------------------------------------

    async def status(self) -> contract.PodStatus:
        """How the pod is, asked of its workers now."""
        await self._workers.look()
        return self.last_status()

    def last_status(self) -> contract.PodStatus:
        """How the pod was when its workers were last looked at."""
        standing = self._standing
        return merged_status(
            self._workers.parts(),
            generation=self.config.generation,
            pod=self._pod,
            pod_uid=standing.pod_uid,
            role=standing.role,
            epoch=standing.epoch,
        )

    async def ready(self) -> bool:
        """Whether all shards were READY or RESUMED at one time since the start."""
        if not self._was_ready:
            status = await self.status()
            self._was_ready = all(shard.state is contract.ShardState.READY for shard in status.shards)
        return self._was_ready

    async def stop(self, seconds: float) -> None:
        """Stop all workers: what is queued is delivered within *seconds*; sessions of a generation that is over end."""
        await self._workers.stop(seconds, end_sessions=self.role in (Role.SEALED, Role.RETIRED))

    # --- role.json ----------------------------------------------------------------------------------------------------

    def _read_standing(self) -> Standing | None:
        data = self._disk.read(self._state / ROLE_FILE)
        return None if data is None else contract.decode(data, Standing)

    def _persist(self, standing: Standing) -> None:
        try:
            superseded = self.superseded_by(standing)
        except msgspec.DecodeError as error:
            raise OSError(f"{self._state / ROLE_FILE} is not what it must be: {error}") from error
        if superseded:
            raise SupersededError("A newer incarnation of this pod has taken its state.")
        self._disk.write(self._state / ROLE_FILE, contract.encode(standing))
        self._standing = standing

    def superseded_by(self, standing: Standing) -> bool:
        """Whether the folder names an incarnation that *standing* does not come after."""
        found = self._read_standing()
        same = found is not None and found.generation == standing.generation and found.count == standing.count
        return (
            found is not None and same and found.pod_uid != standing.pod_uid and found.pod_uid not in standing.past_uids
        )


def _host_of(url: str) -> str:
    """The host and port of *url*: paths and queries of receivers sometimes hold keys."""
    return url.partition("://")[2].partition("/")[0].rpartition("@")[2]
