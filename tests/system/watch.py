"""Promises that are looked at while a simulated run goes on, so that it stops where one is broken."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Final

from gateway_operator.identify.gate import FLOOR
from system.setting import Setting
from system.story import System

from shard_runtime import contract
from shard_runtime.delivery.pressure import LONGEST_PAUSE

LOOK_SECONDS: Final = 0.5
SUPERSEDED_SECONDS: Final = 4.0
"""Within which a pod knows of another one of its name that has its folder."""
OVER_SECONDS: Final = 3.0
"""For which more events may wait: a supervisor looks at its workers once a second."""
BETWEEN_LOOKS: Final = 20
"""Events that come until the next look drops as many of those on disk, or before reading stops."""
MOST_TASKS: Final = 1500
"""Of all parts together; a run of the largest layout has some hundred."""


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueLimit:
    """What a pod's queue may hold, and for how long more."""

    events: int
    seconds: float

    @classmethod
    def of(cls, setting: Setting) -> QueueLimit | None:
        if not setting.queued_events:
            return None
        pause = LONGEST_PAUSE if setting.overflow == "Pause" else 0.0
        return cls(events=setting.queued_events + BETWEEN_LOOKS, seconds=OVER_SECONDS + pause)


class BrokenError(Exception):
    """A promise is broken; the text begins with its name."""


class Watch:
    """Looks at the parts and at Discord's counters; hears of every record."""

    def __init__(self, system: System, *, pass_seconds: float, queue: QueueLimit | None) -> None:
        """*pass_seconds*: what the operator may take from looking at pods to writing what follows from it."""
        self._queue = queue
        self._over_since: dict[str, float] = {}
        self._system = system
        self._pass_seconds = pass_seconds
        self._rehearsed: dict[str, float] = {}
        """When a pod was last seen to have rehearsed."""
        self.begun = asyncio.Event()
        self.committed = asyncio.Event()
        self.active_since: list[tuple[int, int]] = []
        """Generations and when (unix milliseconds) a record made each the active one."""
        self.in_charge_since: dict[int, int] = {}
        """Generations and when (unix milliseconds) a pod of each was first seen to know that it is the active one."""
        self.settled_at: dict[int, float] = {}
        """By generation, when (on the loop's clock) all before it were known to be retired."""
        self.most_tasks = 0
        self._known: list[contract.Record] = []

    async def run(self) -> None:
        """Raises :class:`BrokenError`."""
        while True:
            self.look()
            await asyncio.sleep(LOOK_SECONDS)

    def look(self) -> None:
        system = self._system
        if system.trace.failures:
            raise BrokenError(f"no part fails by itself: {system.trace.failures[0]}")
        for record in system.records[len(self._known) :]:
            self._on_record(record)
        counters = system.discord.counters
        left = system.discord.budget.remaining
        if left < FLOOR:
            raise BrokenError(f"identify budget: {left} session starts are left, of {FLOOR} that nothing may use")
        for identify in system.discord.identifies.without_permit:
            raise BrokenError(f"identify permits: {identify} had none, or too late")
        for pair in system.discord.identifies.too_close:
            if not any(identify.is_beyond_the_gate(system.operator.began) for identify in pair):
                raise BrokenError(f"identify buckets: {pair[1]} came too close to {pair[0]}")
        if counters.budget_overruns:
            raise BrokenError("identify budget: overrun")
        self._look_at_holders()
        self._look_at_pods()
        if self._queue is not None:
            self._look_at_queues(self._queue)
        self.most_tasks = max(self.most_tasks, len(asyncio.all_tasks()))
        if self.most_tasks > MOST_TASKS:
            raise BrokenError(f"bounds: {self.most_tasks} tasks run")

    def _look_at_holders(self) -> None:
        """A machine may have a session again that another one has taken, but only before it can know of the other."""
        for session, holders in self._system.discord.holders.items():
            if len(holders) < 3:
                continue
            first = dict(reversed(holders))
            last, since = holders[-1]
            taken = min((other for other in first.values() if other > first[last]), default=since)
            if since - taken > SUPERSEDED_SECONDS:
                raise BrokenError(
                    f"one holder: {last} took session {session} back {since - taken:.1f} s after it was taken over"
                )

    def _look_at_pods(self) -> None:
        for status in self._system.pod_statuses():
            pod = f"{status.generation}/{status.pod}"
            if status.role is contract.Role.ACTIVE and status.generation not in self.in_charge_since:
                self.in_charge_since[status.generation] = self._system.world.clock.unix_milliseconds()
            if status.handover is not None and status.handover.rehearsed:
                self._rehearsed[pod] = self._system.world.clock.monotonic()

    def _look_at_queues(self, limit: QueueLimit) -> None:
        now = self._system.world.clock.monotonic()
        for running in self._system.nodes.running:
            life = running.life
            if life is None or life.ended.is_set() or life.pod is None:
                continue
            queued = life.pod.last_status().queued
            if queued <= limit.events:
                self._over_since.pop(running.node, None)
                continue
            # a worker that begins finds the queue of its earlier life, and pauses anew
            began = max((worker.began for worker in life.workers.values()), default=now)
            since = self._over_since[running.node] = max(began, self._over_since.get(running.node, now))
            if now - since > limit.seconds:
                raise BrokenError(f"bounds: {queued} events wait in pod {running.node}, {limit.events} may")

    def hear(self, record: contract.Record) -> None:
        """A record was just written; pods are seen as they were last asked, and do not know of it."""
        self._look_at_pods()
        if record.target is not None:
            self.begun.set()
        before = self._system.records[-2] if len(self._system.records) > 1 else None
        if record.active is not None and (before is None or before.active != record.active):
            self.active_since.append((record.active, self._system.world.clock.unix_milliseconds()))
            if before is not None and before.active is not None:
                self.committed.set()
        if record.active is not None and all(number <= record.retired for number, _ in self.active_since[:-1]):
            self.settled_at.setdefault(record.active, self._system.world.clock.monotonic())

    def _on_record(self, record: contract.Record) -> None:
        before = self._known[-1] if self._known else None
        self._known.append(record)
        if before is None:
            return
        told = f"{before} was followed by {record}"
        if record.epoch <= before.epoch:
            raise BrokenError(f"one truth: the epoch did not grow: {told}")
        if record.active != before.active:
            if record.active != before.target:
                raise BrokenError(f"one active generation: what was no target became active: {told}")
            if record.target is not None:
                raise BrokenError(f"one active generation: a commit left a target: {told}")
            self._check_rehearsed(record)
        if record.target is not None and record.active is not None and record.target <= record.active:
            raise BrokenError(f"one active generation: the target's number is used: {told}")
        if record.active is not None and record.retired >= record.active:
            raise BrokenError(f"one active generation: it is retired: {told}")

    def _check_rehearsed(self, record: contract.Record) -> None:
        since = self._system.world.clock.monotonic() - self._pass_seconds
        generation = record.active or 0
        pods = range(len(self._system.pods(generation)))
        missing = [pod for pod in pods if self._rehearsed.get(f"{generation}/{pod}", float("-inf")) < since]
        if missing:
            raise BrokenError(f"rehearsal: the commit came although pods {missing} had not rehearsed")
