"""The workers of a pod, as its supervisor reaches them: what each was told, and what it last said of itself.

What is to be told is a wish, which is compared with what a worker was told, so a worker that was away, or a message
that was lost, needs no special case.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final, TypeVar

import msgspec

from shard_runtime.channel import LinkLostError, WorkerLink
from shard_runtime.measures import ALONE, Measures, merged
from shard_runtime.orders import (
    AskStatus,
    Begin,
    Failed,
    FromWorker,
    NewForward,
    NewSecrets,
    Orders,
    ReceivedPart,
    Stop,
    ToWorker,
    Windows,
    WorkerStatus,
)
from shard_runtime.ports import Clock
from shard_runtime.supervisor.merge import Part

TELL_SECONDS: Final = 5.0
SEAL_SECONDS: Final = 12.0
STATUS_SECONDS: Final = 2.0
STALE_SECONDS: Final = 10.0
"""After so long without an answer, what a worker last said of its shards counts no more."""
MISSED_LOOKS: Final = 3
"""Of a process that was frozen together with its worker, the clock alone says nothing."""
STOP_MARGIN_SECONDS: Final = 3.0
"""Closing connections and writing state, on top of the time given for delivery."""

_Part = TypeVar("_Part", Windows, ReceivedPart)


class UnavailableError(Exception):
    """The pod cannot do it now; asking again is right."""


@dataclass(slots=True)
class _Worker:
    shards: range
    link: WorkerLink | None = None
    told: dict[type[ToWorker], ToWorker] = field(default_factory=dict)
    last: WorkerStatus | None = None
    counted: dict[str, int] = field(default_factory=dict)
    """Totals of this worker's earlier processes."""
    measured: Measures = field(default_factory=Measures)
    """The same of what is only measured."""
    starts: int = 0
    answered_at: float = 0.0
    """When it last said how it is, or began."""
    missed: int = 0
    """How often it was asked since."""


class Workers:
    """All of one pod, by number."""

    def __init__(self, shards: Sequence[range], *, clock: Clock, log: logging.Logger) -> None:
        """*shards*: of each worker."""
        self._slots = [_Worker(each, answered_at=clock.monotonic()) for each in shards]
        self._clock = clock
        self._log = log

    def __len__(self) -> int:
        return len(self._slots)

    def shards(self, worker: int) -> range:
        return self._slots[worker].shards

    def attach(self, worker: int, link: WorkerLink, begin: Begin) -> None:
        """Use *link* to reach *worker*, which was started with *begin*."""
        slot = self._slots[worker]
        if slot.last is not None:
            for name, value in slot.last.counters.items():
                slot.counted[name] = slot.counted.get(name, 0) + value
            slot.measured = merged((slot.measured, slot.last.measures.past()))
            slot.last = msgspec.structs.replace(slot.last, counters={}, measures=Measures())
        slot.starts += 1
        slot.answered_at, slot.missed = self._clock.monotonic(), 0
        slot.link = link
        secrets = NewSecrets(token=begin.token, operator=begin.operator, signing=begin.signing)
        slot.told = {Orders: begin.orders, NewForward: NewForward(forward=begin.forward), NewSecrets: secrets}

    def detach(self, worker: int) -> None:
        """The worker's process has ended."""
        self._slots[worker].link = None

    # --- To tell and to ask

    async def tell(self, wishes: Sequence[ToWorker]) -> None:
        """Tell each worker those of *wishes* that it does not know yet."""
        await asyncio.gather(*(self._tell_one(index, wishes) for index in range(len(self._slots))))

    async def _tell_one(self, index: int, wishes: Sequence[ToWorker]) -> None:
        slot = self._slots[index]
        for wish in wishes:
            link = slot.link
            if link is None or slot.told.get(type(wish)) == wish:
                continue
            try:
                answer = await link.call(wish, timeout=TELL_SECONDS)
            except LinkLostError as error:
                self._log.warning("Worker %d does not take its orders: %s; told again soon.", index, error)
                return
            if isinstance(answer, Failed):
                self._log.error("Worker %d cannot follow its orders: %s", index, answer.error)
                return
            if slot.link is link:
                slot.told[type(wish)] = wish

    async def look(self) -> None:
        """Ask each how it is."""
        await asyncio.gather(*(self._look_at(index) for index in range(len(self._slots))))

    async def _look_at(self, index: int) -> None:
        slot = self._slots[index]
        if slot.link is None:
            return
        try:
            answer = await slot.link.call(AskStatus(), timeout=STATUS_SECONDS)
        except LinkLostError:
            slot.missed += 1
            return  # whoever watches the process restarts it; the status says CONNECTING meanwhile
        if isinstance(answer, WorkerStatus):
            slot.last = answer
            slot.answered_at, slot.missed = self._clock.monotonic(), 0

    async def ask(self, question: ToWorker, *, shard: int | None, timeout: float) -> FromWorker:
        """The answer of the worker that holds *shard*, or of any one. Raises :class:`UnavailableError`."""
        slots = [slot for slot in self._slots if shard is None or shard in slot.shards]
        link = next((slot.link for slot in slots if slot.link is not None), None)
        if link is None:
            raise UnavailableError("The worker is being started; ask again.")
        try:
            return await link.call(question, timeout=timeout)
        except LinkLostError as error:
            raise UnavailableError(f"The worker does not answer ({error}); ask again.") from error

    async def ask_all(self, question: ToWorker, answered: type[_Part]) -> list[_Part]:
        """The answers of all. Raises :class:`UnavailableError` where one is missing."""

        async def ask(index: int) -> FromWorker:
            link = self._slots[index].link
            if link is None:
                raise UnavailableError(f"Worker {index} is restarting; ask again.")
            try:
                return await link.call(question, timeout=SEAL_SECONDS)
            except LinkLostError as error:
                raise UnavailableError(f"Worker {index} does not answer ({error}); ask again.") from error

        # Every worker is asked, whatever becomes of the others: each has to stop accepting.
        results = await asyncio.gather(*(ask(index) for index in range(len(self._slots))), return_exceptions=True)
        answers: list[_Part] = []
        for result in results:
            if isinstance(result, BaseException):
                raise result
            if isinstance(result, Failed):
                raise UnavailableError(result.error)
            assert isinstance(result, answered), result
            answers.append(result)
        return answers

    async def stop(self, seconds: float, *, end_sessions: bool) -> None:
        """Stop all: what is queued is delivered within *seconds*."""
        order = Stop(seconds=seconds, end_sessions=end_sessions)

        async def stop_one(index: int, link: WorkerLink) -> None:
            try:
                await link.call(order, timeout=seconds + STOP_MARGIN_SECONDS)
            except LinkLostError as error:
                self._log.warning("Worker %d did not stop in order: %s.", index, error)

        await asyncio.gather(
            *(stop_one(index, slot.link) for index, slot in enumerate(self._slots) if slot.link is not None)
        )

    # --- What they said of themselves

    def silent_seconds(self, worker: int) -> float:
        """How long *worker* has not answered, though it was asked again and again; 0 while it may only be late."""
        slot = self._slots[worker]
        if slot.link is None or slot.missed < MISSED_LOOKS:
            return 0.0
        return self._clock.monotonic() - slot.answered_at

    def have_taken_over(self) -> bool:
        """Whether each has said that no guild of the generation before is to come any more."""
        return all(slot.last is not None and _has_taken_over(slot.last) for slot in self._slots)

    def parts(self) -> list[Part]:
        """Of the pod's status."""
        now = self._clock.monotonic()
        return [
            Part(slot.shards, slot.last, now - slot.answered_at, _trouble(slot, now), slot.counted)
            for slot in self._slots
        ]

    def measures(self) -> Measures:
        """What the workers have measured in all their lives; as of the last look at them."""
        restarts = sum(max(0, slot.starts - 1) for slot in self._slots)
        parts = [Measures(counters={"workerRestarts": {ALONE: restarts}})]
        for slot in self._slots:
            parts += [slot.measured, Measures() if slot.last is None else slot.last.measures]
        return merged(parts)


def _has_taken_over(status: WorkerStatus) -> bool:
    return status.handover is None or status.handover.complete


def _trouble(slot: _Worker, now: float) -> str | None:
    """Why what a worker last said tells nothing of its shards any more."""
    if slot.link is None:
        return "Its worker is being started."
    if slot.missed and now - slot.answered_at > STALE_SECONDS:
        return "Its worker does not answer."
    return None
