"""One simulated run: the whole system, a schedule of what befalls it, and what it came to.

Everything is decided by the schedule: the same one is the same run, to the byte of its digest. A run never raises for a
broken promise; its report names it.
"""

from __future__ import annotations

import asyncio
import copy
from collections import Counter
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from typing import Final

from gateway_operator.cluster.port import POD, STATEFUL_SET, Manifest
from gateway_operator.resources.naming import REVISION_ANNOTATION
from system.forgiven import Struck, begun_anew, expired, forgiven, unsaved
from system.schedule import Schedule, Step
from system.story import GATEWAY_MANIFEST, NAMESPACE, SIMULATED, System, hear_lost_exceptions
from system.strikes import strike
from system.verdicts import Evidence, Numbers, judged
from system.waits import Waits
from system.watch import BrokenError, QueueLimit, Watch
from virtual.clock import VIRTUAL_EPOCH_MILLISECONDS
from virtual.loop import DeadlockError
from virtual.world import World, run_world

from discord_simulator.settings import Settings

UP_SECONDS: Final = 120.0
REST_SECONDS: Final = 600.0
"""From the end of the last fault until everything is as it was asked for: the longest crash backoff is half of it."""
DRAIN_SECONDS: Final = 180.0
LEAST_SECONDS: Final = 60.0
"""For which there is load, whatever happens."""
PASS_SECONDS: Final = 8.0
SLOW_PASS_SECONDS: Final = 40.0
"""From the operator's look at a pod to a commit: calls take up to some seconds where they time out."""
NOTHING: Final = Numbers(sent=0, delivered=0, lost=0, redelivered=0, marked=0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    schedule: Schedule
    broken: tuple[str, ...]
    """Promises, each as a sentence that begins with its name."""
    numbers: Numbers
    generations: int
    seconds: float
    """Of virtual time."""
    most_tasks: int
    struck: int
    """Steps that were carried out; those that wait for a reshard may never be."""
    digest: str
    trace: tuple[str, ...]

    @property
    def promises(self) -> frozenset[str]:
        """Names of the broken ones."""
        return frozenset(sentence.partition(":")[0] for sentence in self.broken)


def simulate(schedule: Schedule, *, planted: Callable[[], AbstractContextManager[None]] = nullcontext) -> Report:
    """Run *schedule*, with the bug that *planted* plants."""

    async def run(world: World) -> Report:
        return await _Run(world, schedule).report()

    with planted():
        return run_world(run, seed=schedule.seed)


def settings_of(schedule: Schedule) -> Settings:
    """What the simulated Discord is like."""
    setting = schedule.setting
    return replace(
        SIMULATED,
        guilds=setting.guilds,
        max_concurrency=setting.max_concurrency,
        shuffle_keys=setting.shuffle_keys,
        replay_events=200_000 if setting.remembers else None,
        session_expiry_seconds=setting.expiry_seconds,
        identify_window_seconds=setting.day_seconds,
    )


def manifest_of(schedule: Schedule) -> Manifest:
    """What a person applies."""
    setting = schedule.setting
    manifest = copy.deepcopy(dict(GATEWAY_MANIFEST))
    spec = manifest["spec"]
    spec["compression"] = setting.compression
    spec["shards"] = {
        "count": setting.shards,
        "perWorker": setting.per_worker,
        "workersPerPod": setting.workers_per_pod,
    }
    spec["forward"].update(lanes=setting.lanes, ordering=setting.ordering)
    if setting.exclude:
        spec["forward"]["events"] = {"exclude": ["TYPING_START"]}
    if setting.volume:
        spec["storage"] = {"size": "1Gi"}
    if setting.drops:
        queue = {"maxEvents": setting.queued_events or None, "maxAgeSeconds": setting.max_age_seconds}
        spec["forward"]["queue"] = {
            "overflow": setting.overflow,
            **{name: value for name, value in queue.items() if value is not None},
        }
    spec["reshard"] = {"overlapSeconds": 5, "maxShards": 8, "identifyReserve": setting.reserve}
    return manifest


class _Run:
    def __init__(self, world: World, schedule: Schedule) -> None:
        setting = schedule.setting
        self._schedule = schedule
        self._world = world
        self._system = System(
            world,
            settings=settings_of(schedule),
            manifest=manifest_of(schedule),
            rate=setting.rate,
            delay_milliseconds=setting.delay_milliseconds,
            by_guild=setting.by_guild,
            skew_seconds=setting.skew_seconds,
            operator_skew_seconds=setting.operator_skew_seconds,
        )
        if setting.session_starts:
            self._system.discord.fault("budget", remaining=setting.session_starts)
        self._system.operator.faults.slow = 0.0
        slow = any(step.act in ("slow_api", "slow_link", "lossy_network") for step in schedule.steps)
        self._watch = Watch(
            self._system,
            pass_seconds=SLOW_PASS_SECONDS if slow else PASS_SECONDS,
            queue=QueueLimit.of(setting),
        )
        self._system.on_record = self._watch.hear
        self._struck: list[Struck] = []
        self._running = 0
        """Steps that have begun and not ended, or will begin without anything else having to happen."""

    async def report(self) -> Report:
        system, watch = self._system, self._watch
        hear_lost_exceptions(system.trace)
        broken: list[str] = []
        numbers = NOTHING
        with system.trace.hears("gateway_operator", who="operator"):
            try:
                await self._live()
                watch.look()
            except* BrokenError as group:
                broken.extend(str(error) for error in _leaves(group))
            except* DeadlockError as group:
                broken.append(f"progress: {_leaves(group)[0]}")
        if not broken:
            numbers, broken = self._judge()
        system.trace.record(repr(system.discord.counters).encode())
        return Report(
            schedule=self._schedule,
            broken=tuple(broken),
            numbers=numbers,
            generations=len(watch.active_since),
            seconds=self._world.clock.monotonic(),
            most_tasks=watch.most_tasks,
            struck=len(self._struck),
            digest=system.trace.digest(),
            trace=tuple(system.trace.lines),
        )

    def _judge(self) -> tuple[Numbers, list[str]]:
        system, setting = self._system, self._schedule.setting
        truth = system.discord.truth()
        reconfigured = any(step.act == "reconfigure" for step in self._schedule.steps)
        return judged(
            Evidence(
                truth=truth,
                received=system.bot.received(),
                held_by=system.discord.held_by,
                active_since=self._watch.active_since,
                in_charge_since=self._watch.in_charge_since,
                frail=setting.frail,
                forgiven=forgiven(system.nodes.wiped, self._struck, self._watch.settled_at),
                begun_anew=begun_anew(system.nodes.wiped, self._watch.settled_at),
                acts=frozenset(step.act for step in self._schedule.steps),
                abandoned=system.discord.abandoned(),
                forgotten=expired(truth.sessions, self._struck, expiry_seconds=setting.expiry_seconds)
                | unsaved(truth.sessions, self._struck),
                settled_since={
                    number: VIRTUAL_EPOCH_MILLISECONDS + int(at * 1000) for number, at in self._watch.settled_at.items()
                },
                by_shard=setting.ordering == "shard" and not reconfigured,
                without=frozenset({"TYPING_START"} if setting.exclude else ()),
                dropped=system.nodes.tally.dropped() if setting.drops else Counter(),
            )
        )

    async def _live(self) -> None:
        system = self._system
        async with asyncio.TaskGroup() as tasks:
            background = [
                tasks.create_task(system.nodes.run(), name="nodes"),
                tasks.create_task(self._watch.run(), name="watch"),
            ]
            system.operator.start()
            system.apply()
            await self._until("the first generation is up", self._at_rest, within=UP_SECONDS)
            system.discord.load(system.rate)
            steps = [tasks.create_task(self._carry_out(step), name=str(step)) for step in self._schedule.steps]
            self._running = sum(step.after == "load" for step in self._schedule.steps)
            await self._rest()
            for task in steps:
                task.cancel()
            system.discord.load(0)
            await system.sleep(2)  # a supervisor looks at its workers once a second
            await self._until("everything is delivered", self._all_done, within=DRAIN_SECONDS)
            await system.sleep(2)
            await self._until("everything stays delivered", self._all_done, within=DRAIN_SECONDS)
            for task in background:
                task.cancel()

    async def _carry_out(self, step: Step) -> None:
        if step.after != "load":
            await (self._watch.begun if step.after == "begun" else self._watch.committed).wait()
            self._running += 1
        began = None
        try:
            await self._system.sleep(step.at)
            began = self._world.clock.monotonic()
            await strike(self._system, step)
        finally:
            self._running -= 1
            if began is not None:
                self._struck.append(Struck(step.act, began, self._world.clock.monotonic()))

    async def _rest(self) -> None:
        """Wait until no step is under way and everything is as it was asked for."""
        clock = self._world.clock
        self._system.trace.note("story", "waits until everything is as it was asked for")
        deadline = clock.monotonic() + REST_SECONDS
        least = clock.monotonic() + LEAST_SECONDS
        waits = Waits(self._system, scarce=bool(self._schedule.setting.session_starts))
        while self._running or clock.monotonic() < least or not self._at_rest():
            if self._running or waits.have_what_they_wait_for(within=deadline - clock.monotonic()):
                deadline = clock.monotonic() + REST_SECONDS
            elif clock.monotonic() > deadline:
                conditions = self._system.status.get("conditions")
                raise BrokenError(f"progress: not at rest {REST_SECONDS:g} s after the last fault: {conditions}")
            await asyncio.sleep(0.5)

    async def _until(self, what: str, condition: Callable[[], bool], *, within: float) -> None:
        self._system.trace.note("story", f"waits until {what}")
        deadline = self._world.clock.monotonic() + within
        while not condition():
            if self._world.clock.monotonic() > deadline:
                raise BrokenError(f"progress: not within {within:g} s: {what}")
            await asyncio.sleep(0.1)

    def _all_done(self) -> bool:
        return self._at_rest() and self._system.drained()

    def _at_rest(self) -> bool:
        system = self._system
        record, status = system.record, system.status
        if record is None or record.active is None or record.target is not None:
            return False
        if [found["number"] for found in status.get("generations") or []] != [record.active]:
            return False
        shards = status.get("shards")
        ready = {
            status.get("readyShards"),
            system.shards_ready(record.active),
            system.sessions_connected(record.active),
        }
        if ready != {shards}:
            return False
        if shards != system.wanted_count and not (system.grows and shards > system.wanted_count):
            return False
        return self._rolled_out() and len(system.pod_statuses()) == len(system.nodes.running)

    def _rolled_out(self) -> bool:
        store = self._system.store
        wanted = {
            statefulset["metadata"]["name"]: statefulset["metadata"]["annotations"].get(REVISION_ANNOTATION)
            for statefulset in store.select(STATEFUL_SET, NAMESPACE, {})
        }
        return all(
            not pod["metadata"].get("deletionTimestamp")
            and wanted.get(pod["metadata"]["ownerReferences"][0]["name"])
            == (pod["metadata"].get("annotations") or {}).get(REVISION_ANNOTATION)
            for pod in store.select(POD, NAMESPACE, {})
        )


def _leaves(group: BaseException) -> list[BaseException]:
    if isinstance(group, BaseExceptionGroup):
        return [leaf for error in group.exceptions for leaf in _leaves(error)]
    return [group]
