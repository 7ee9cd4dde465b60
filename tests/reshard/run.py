"""Reshards of real pods against the simulator, over sockets, judged by the simulator's ground truth.

One stage, one reshard after another: a generation that delivers, its successor beside it, the commit, the handover.
Each session has delays of its own. Which guilds see what is the simulator's load: heavy-tailed activity, a third of the
events with bodies that repeat, bursts of them, guilds that have nothing else, some of those toggling steadily.
"""

from __future__ import annotations

import asyncio
import gc
import signal
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

from runtime.stage import Pod, Stage, eventually, record

from benchmarks.processes import pss_megabytes
from discord_simulator.verdict import Verdict, fetch_verdict
from shard_runtime import contract

OVERLAP_SECONDS = 4.0
MUCH_LATE_SECONDS = 0.25
"""As much as a lag may stray before it counts as unusual."""
AFTER_SECONDS = 1.0
"""How long the load goes on after the handover is complete."""


@dataclass(frozen=True)
class Conditions:
    """What a reshard goes through."""

    rate: float = 600
    constant_guilds: float = 0.1
    steady_guilds: int = 4
    most_delay: int = 500
    """Milliseconds; each session has a range of its own within it."""
    stalls: int = 0
    """Sessions of either generation that give nothing for seconds at the seal."""
    stall_seconds: float = 3.0
    reidentifies: bool = False
    """A session of the target is lost, and another takes its place, inside the window."""


@dataclass(frozen=True)
class Result:
    """What one reshard came to."""

    old: int
    new: int
    verdict: Verdict
    handover: contract.HandoverStatus
    """Of all new pods."""
    cutover_seconds: float
    megabytes: float
    """PSS of the pod of either generation that weighed most at the commit, when windows and holds are fullest."""
    late_seconds: float
    """How late this process ever was for want of CPU time, as a measure of the pods' lateness."""

    @property
    def starved(self) -> bool:
        """Whether the machine had no time for the pods: then they are late like a session that stalls."""
        return self.late_seconds > MUCH_LATE_SECONDS

    def line(self) -> str:
        verdict, status = self.verdict, self.handover
        return (
            f"{self.old:>3} -> {self.new:<3} sent {verdict.sent:>6}  lost {verdict.lost_by_key}  "
            f"duplicated {verdict.duplicated_by_key} (unmarked {verdict.unmarked_by_key})  "
            f"order {verdict.stream_violations}  aligned {status.aligned} (by occurrence {status.by_occurrence})  "
            f"ambiguous {status.ambiguous}  repaired {status.repaired}  marked {status.delivered_marked}  "
            f"lag {status.lag_least_milliseconds}..{status.lag_most_milliseconds} ms  "
            f"pause p50 {pause(status, 0.5):.0f} p99 {pause(status, 0.99):.0f} "
            f"longest {status.longest_pause_milliseconds:.0f} ms  memory {self.megabytes:.0f} MB  "
            f"cutover {self.cutover_seconds:.2f} s  late {self.late_seconds:.2f} s"
        )


def pause(status: contract.HandoverStatus, part: float) -> float:
    """Upper bound of the pause that *part* of the guilds do not exceed, in milliseconds."""
    wanted, seen = part * sum(status.pauses), 0
    for bound, count in zip((*contract.PAUSE_BOUNDS_MILLISECONDS, float("inf")), status.pauses, strict=True):
        seen += count
        if seen >= wanted:
            return min(bound, status.longest_pause_milliseconds)
    return 0.0


Trouble = Callable[["Resharding", list[Pod], list[Pod]], Awaitable[None]]
"""What happens to the new and the old pods."""

LONGEST_HOLD_SECONDS = 2.5
"""For which an alignment waits after the last event, where no session was late; else as much longer as it was."""

STEPS = ("both sides record", "the commit", "the first seal", "the end of the handover")
"""When it happens."""


@dataclass
class Resharding:
    """Generations that follow each other on one stage."""

    stage: Stage
    seed: int
    conditions: Conditions
    per_guild: bool = False
    """Delays keep order within a guild only, not over a session."""
    pods_per_generation: int = 2
    number: int = 0
    epoch: int = 0
    count: int = 0
    pods: list[Pod] = field(default_factory=list)
    results: list[Result] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.chance = Random(self.seed)

    # --- Generations --------------------------------------------------------------------------------------------------

    def _layout(self, count: int) -> contract.ShardLayout:
        per_pod = -(-count // self.pods_per_generation)
        return contract.ShardLayout(count=count, first=0, last=count - 1, per_worker=per_pod, workers_per_pod=1)

    def _make(self, count: int) -> list[Pod]:
        predecessor = None
        if self.number > 1:
            predecessor = contract.Predecessor(generation=self.number - 1, layout=self._layout(self.count))
        return self.stage.generation_of(self.number, self._layout(count), predecessor=predecessor)

    async def begin(self, count: int) -> None:
        """The first generation."""
        self.number, self.epoch = 1, 1
        self.pods = self._make(count)
        self.count = count
        self.stage.write(1, "record/record.json", contract.encode(record(1, active=1)))
        await self._start(self.pods)
        await self._delay_sessions(count)

    async def _start(self, pods: Sequence[Pod]) -> None:
        await asyncio.gather(*(pod.start() for pod in pods))
        await asyncio.gather(*(pod.until_ready() for pod in pods))

    async def _delay_sessions(self, count: int) -> None:
        for shard in range(count):
            bounds = sorted(self.chance.uniform(0, self.conditions.most_delay) for _ in range(2))
            await self._fault(action="delay", count=count, shard=shard, milliseconds=bounds, perGuild=self.per_guild)

    async def _fault(self, **fault: Any) -> None:
        await self.stage.control(self.stage.simulator, "faults", fault)

    def _mount(self, made: contract.Record) -> None:
        """As the ConfigMap of all pods is."""
        for generation in (self.number - 1, self.number):
            self.stage.write(generation, "record/record.json", contract.encode(made))

    async def _tell(self, made: contract.Record, pods: Sequence[Pod]) -> None:
        answers = await asyncio.gather(*(pod.call("PUT", "/v1/record", made) for pod in pods))
        assert {status for status, _ in answers} == {200}

    # --- A reshard ----------------------------------------------------------------------------------------------------

    async def reshard(
        self, count: int, conditions: Conditions | None = None, *, troubles: Mapping[str, Trouble] | None = None
    ) -> Result:
        """To *count* shards, under load; the last *conditions* hold on if none are given. *troubles*: by step."""
        gc.collect()
        gc.freeze()  # what earlier reshards left would be looked through again and again
        async with _lateness() as late:
            return await self._reshard(count, conditions, troubles or {}, late)

    async def kill(self, pods: list[Pod], index: int) -> None:
        """A container of *pods* dies at once and is started again, as the kubelet does: the same pod, the same disk."""
        dead = pods[index]
        await dead.end(signal.SIGKILL)
        pods[index] = Pod(self.stage, dead.generation, dead.index, uid=dead.uid)
        self.stage.pods.append(pods[index])
        await pods[index].start()

    async def _reshard(
        self, count: int, conditions: Conditions | None, troubles: Mapping[str, Trouble], late: list[float]
    ) -> Result:
        self.conditions = conditions or self.conditions
        old, before = self.pods, self.count

        async def at(step: str) -> None:
            if step in troubles:
                await troubles[step](self, new, old)

        await self._load(self.conditions.rate)
        self.number, self.epoch = self.number + 1, self.epoch + 1
        begun = record(self.epoch, active=self.number - 1, target=self.number)
        new = self._make(count)
        self._mount(begun)
        await self._start(new)
        await self._delay_sessions(count)
        await self._tell(begun, old)
        await at("both sides record")
        await asyncio.sleep(OVERLAP_SECONDS)
        if self.conditions.reidentifies and count != before:  # of equal counts the old session would end, too
            await self._fault(action="kill", count=count, shard=self.chance.randrange(count))
            await asyncio.sleep(OVERLAP_SECONDS)
        await eventually(lambda: self._rehearsed(new), what="a rehearsal that fits", seconds=30)
        for _ in range(self.conditions.stalls):
            side = self.chance.choice((before, count))
            shard = self.chance.randrange(side)
            await self._fault(action="stall", count=side, shard=shard, seconds=self.conditions.stall_seconds)
        weights = [pss_megabytes(pod.process.pid) for pod in (*new, *old) if pod.process is not None]
        self.epoch += 1
        committed = record(self.epoch, active=self.number)
        started = time.monotonic()
        self._mount(committed)
        await self._tell(committed, [*new, *old])
        await at("the commit")
        try:
            if "the first seal" in troubles:
                await eventually(lambda: self._sealed(old), what="a seal", seconds=60)
                await at("the first seal")
            await eventually(lambda: self._complete(new), what="the handover", seconds=60)
        except AssertionError as error:
            said = [await self._said(pod, count) for pod in (*new, *old)]
            raise AssertionError("\n".join([str(error), *said])) from None
        took = time.monotonic() - started
        await at("the end of the handover")
        await asyncio.sleep(max(AFTER_SECONDS, self.conditions.stall_seconds * bool(self.conditions.stalls)))
        await asyncio.gather(*(pod.end() for pod in old))
        await self._load(0)
        status = merged([(await pod.status()).handover for pod in new])
        self.pods, self.count = new, count
        settled = LONGEST_HOLD_SECONDS + 1.5 * max(0, status.lag_most_milliseconds or 0) / 1000
        result = Result(before, count, await self._verdict(settled), status, took, max(weights), max(late))
        self.results.append(result)
        await self.stage.http.delete(f"{self.stage.simulator}/control/truth")
        return result

    async def _said(self, pod: Pod, count: int) -> str:
        """What *pod* says of itself, for a person who wonders."""
        status = await pod.status()
        request = contract.HandoverRequest(
            generation=self.number, count=count, shards=list(range(count)), windows=False
        )
        reply = contract.decode((await pod.call("POST", "/v1/handover/window", request))[1], contract.HandoverReply)
        lines = [line["message"] for line in pod.lines if line["level"] in ("WARNING", "ERROR", "warning", "error")]
        return (
            f"pod {status.generation}/{status.pod}: {status.role} queued {status.queued} stored {status.stored} "
            f"receiver {status.receiver} owes {len(reply.unacknowledged)} guilds {status.counters}\n"
            f"    {status.handover}\n    {lines[-12:]}"
        )

    async def _load(self, rate: float) -> None:
        load = {
            "rate": rate,
            "constantGuilds": self.conditions.constant_guilds,
            "steadyGuilds": self.conditions.steady_guilds,
            "mix": {"PRESENCE_UPDATE": 0},
        }
        await self.stage.control(self.stage.simulator, "load", load)

    async def _rehearsed(self, pods: Sequence[Pod]) -> bool:
        """What the operator commits by: every session is there, and every pod has compared what it has."""
        statuses = [await pod.status() for pod in pods]
        ready = all(shard.state is contract.ShardState.READY for status in statuses for shard in status.shards)
        return ready and all(status.handover is not None and status.handover.rehearsed for status in statuses)

    async def _sealed(self, pods: Sequence[Pod]) -> bool:
        return any([(await pod.status()).role is contract.Role.SEALED for pod in pods])

    async def _complete(self, pods: Sequence[Pod]) -> bool:
        statuses = [(await pod.status()).handover for pod in pods]
        return all(status is not None and status.complete for status in statuses)

    async def _verdict(self, settled: float) -> Verdict:
        """Once nothing is on its way any more; *settled*: seconds after which no alignment holds anything."""

        async def quiet() -> bool:
            summary = await self.stage.summary()
            queued = [(await pod.status()).queued for pod in self.pods]
            return summary["lagging"] == 0 and not any(queued)

        await eventually(quiet, what="everything has arrived", seconds=30)
        await asyncio.sleep(settled)
        await eventually(quiet, what="everything is delivered", seconds=30)
        return await fetch_verdict(simulator=self.stage.simulator, receiver=self.stage.receiver)


@asynccontextmanager
async def _lateness() -> AsyncIterator[list[float]]:
    """Collects how late the event loop is."""
    late = [0.0]

    async def watch() -> None:
        while True:
            before = time.monotonic()
            await asyncio.sleep(0.02)
            late.append(time.monotonic() - before - 0.02)

    watching = asyncio.create_task(watch())
    try:
        yield late
    finally:
        watching.cancel()


def merged(statuses: Sequence[contract.HandoverStatus | None]) -> contract.HandoverStatus:
    """What all pods of a generation say together."""
    found = [status for status in statuses if status is not None]
    least = [status.lag_least_milliseconds for status in found if status.lag_least_milliseconds is not None]
    most = [status.lag_most_milliseconds for status in found if status.lag_most_milliseconds is not None]
    return contract.HandoverStatus(
        complete=all(status.complete for status in found),
        aligned=sum(status.aligned for status in found),
        by_occurrence=sum(status.by_occurrence for status in found),
        ambiguous=sum(status.ambiguous for status in found),
        repaired=sum(status.repaired for status in found),
        missed_by_old=sum(status.missed_by_old for status in found),
        delivered_marked=sum(status.delivered_marked for status in found),
        released_guilds=sum(status.released_guilds for status in found),
        lag_least_milliseconds=min(least, default=None),
        lag_most_milliseconds=max(most, default=None),
        longest_pause_milliseconds=max(status.longest_pause_milliseconds for status in found),
        pauses=[sum(counts) for counts in zip(*(status.pauses for status in found), strict=True)],
    )


def mutant(name: str) -> dict[str, str]:
    """Environment of pods whose workers align by a wrong rule."""
    return {"PYTHONPATH": str(Path(__file__).parent / "mutants" / name)}
