"""The planner against a small world: operators that die between acts, stale acts, pods that come and go."""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from typing import Any

import msgspec
from gateway_operator.api.gateway import Metadata
from gateway_operator.api.generation import Generation
from gateway_operator.api.parse import parse_gateway
from gateway_operator.api.spec import Spec
from gateway_operator.api.status import Status
from gateway_operator.planning.actions import (
    Action,
    DeleteGeneration,
    DeletePods,
    EnsureGeneration,
    PushRecord,
    RefreshDiscord,
    WriteRecord,
)
from gateway_operator.planning.observed import (
    DiscordInfo,
    DiscordProblem,
    DiscordTrouble,
    Observation,
    ObservedGeneration,
    ObservedPod,
    ObservedRecord,
    ObservedSecret,
)
from gateway_operator.planning.plan import plan
from gateway_operator.planning.wishes import wishes
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from shard_runtime.contract import HandoverStatus, PodStatus, ReceiverStatus, Record, Role, ShardState, ShardStatus

METADATA = Metadata(name="bot", namespace="default", uid="u", generation=1)
SECRET = ObservedSecret(name="bot", exists=True, keys=("token",), usable=True)


def make_spec(count: int, request: str, intents: list[str], *, auto: bool) -> Spec:
    manifest = {
        "apiVersion": "discordgateway.dev/v1alpha1",
        "kind": "DiscordGateway",
        "metadata": {"name": "bot"},
        "spec": {
            "tokenSecretRef": {"name": "bot"},
            "intents": intents,
            "forward": {"url": "http://bot/"},
            "shards": {"count": count, "perWorker": 2, "workersPerPod": 1},
            "reshard": {
                "requestID": request,
                "stallSeconds": 30,
                "overlapSeconds": 4,
                "identifyReserve": 0,
                "auto": auto,
                "guildsPerShard": 10,
                "cooldownSeconds": 0,
            },
        },
    }
    return parse_gateway(manifest).spec


@dataclass
class Pod:
    """A pod's process: what it knows and how far it is."""

    uid: str
    revision: str
    epoch: int = 0
    knows: Record | None = None
    ready: dict[int, int] = field(default_factory=dict)
    """When each READY shard's session began."""
    complete: bool = False
    queued: int = 0


@dataclass
class Running:
    """A StatefulSet and its pods."""

    fixed: Generation
    created: int
    pods: list[Pod | None]
    broken: bool
    revision: str


@dataclass
class World:
    """A cluster, Discord and the receiver."""

    chance: random.Random
    spec: Spec
    faults: bool = True
    now: int = 1_800_000_000_000
    record: Record | None = None
    version: int = 0
    running: dict[int, Running] = field(default_factory=dict)
    receiver: bool = True
    api: bool = True
    status: Status = field(default_factory=Status)
    late: list[tuple[Action, Observation]] = field(default_factory=list)
    uids: int = 0
    used: dict[int, int] = field(default_factory=dict)
    """The epoch in which each number was begun."""
    written: list[Record] = field(default_factory=list)
    broken_ahead: bool = False
    guilds: int = 20
    template: int = 1
    """Version of what the spec says about pods."""

    # --- Observing and acting ---------------------------------------------------------------------------------------

    def observe(self) -> Observation:
        generations = tuple(
            ObservedGeneration(
                number=number,
                fixed=running.fixed,
                pods=tuple(self._pod(number, running, index) for index in range(running.fixed.layout.pods)),
                created_at=running.created,
                revision=running.revision,
            )
            for number, running in sorted(self.running.items())
        )
        return Observation(
            now=self.now,
            metadata=METADATA,
            spec=self.spec,
            record=None
            if self.record is None
            else ObservedRecord(resource_version=str(self.version), record=self.record),
            generations=generations,
            secret=SECRET,
            discord=DiscordInfo(
                recommended_shards=4,
                total=1000,
                remaining=1000,
                reset_at=self.now + 10**7,
                max_concurrency=1,
                read_at=self.now,
            ),
            discord_problem=None if self.api else DiscordProblem(kind=DiscordTrouble.UNREACHABLE, message="away"),
            previous=self.status,
        )

    def _pod(self, number: int, running: Running, index: int) -> ObservedPod:
        pod = running.pods[index]
        if pod is None:
            return ObservedPod(index=index)
        if self.faults and self.chance.random() < 0.05:
            return ObservedPod(index=index, uid=pod.uid, revision=pod.revision)
        active = pod.knows is not None and pod.knows.active == number
        status = PodStatus(
            generation=number,
            pod=index,
            pod_uid=pod.uid,
            role=Role.ACTIVE if active else Role.STANDBY,
            record_epoch=pod.epoch,
            shards=[
                ShardStatus(
                    id=shard,
                    state=ShardState.READY if shard in pod.ready else ShardState.WAITING,
                    settled=shard in pod.ready,
                    guilds=self.guilds // running.fixed.layout.count,
                    session_seconds=(self.now - pod.ready[shard]) / 1000 if shard in pod.ready else None,
                )
                for shard in running.fixed.layout.pod_shards(index)
            ],
            queued=pod.queued,
            receiver=ReceiverStatus(reachable=self.receiver),
            handover=HandoverStatus(complete=pod.complete, rehearsed=True) if running.fixed.predecessor else None,
        )
        return ObservedPod(index=index, uid=pod.uid, status=status, revision=pod.revision)

    def operate(self) -> None:
        """One pass of an operator that may die after any act, or be so slow that its acts come late."""
        observation = self.observe()
        made = plan(observation)
        assert made == plan(observation), "the same observation gives the same plan"
        self._check_plan(observation, made.actions)
        for action in made.actions:
            if self.faults and self.chance.random() < 0.05:
                return
            if self.faults and self.chance.random() < 0.05:
                self.late.append((action, observation))
                continue
            self.perform(action)
        self.status = made.status if not (self.faults and self.chance.random() < 0.02) else Status()

    def perform(self, action: Action) -> None:
        match action:
            case WriteRecord():
                held = None if self.record is None else str(self.version)
                if action.resource_version == held:
                    self._write(action.record)
            case EnsureGeneration():
                self._ensure(action.generation, create=action.create)
            case DeleteGeneration():
                assert self.record is not None
                assert action.number != self.record.active, "the active generation was deleted"
                self.running.pop(action.number, None)
            case DeletePods():
                self._replace(action)
            case PushRecord():
                running = self.running.get(action.generation)
                for index in action.pods if running is not None else ():
                    pod = running.pods[index] if running is not None else None
                    if pod is not None and action.record.epoch > pod.epoch:
                        pod.epoch, pod.knows = action.record.epoch, action.record
            case RefreshDiscord():
                pass
            case _:
                pass

    def _write(self, record: Record) -> None:
        before = self.record
        self.version += 1
        self.record = record
        self.written.append(record)
        if before is None:
            return
        assert record.epoch == before.epoch + 1
        assert record.active is not None and before.active is not None
        assert record.active >= before.active
        assert record.retired >= before.retired
        if record.target is not None and record.target != before.target:
            assert record.target not in self.used, f"number {record.target} was used before"
            self.used[record.target] = record.epoch

    def _ensure(self, generation: Generation, *, create: bool) -> None:
        known = self.running.get(generation.number)
        if known is not None:
            assert create or known.fixed == generation, "what is fixed changed"
            if not create:
                known.revision = f"r{self.template}"
            return
        self.running[generation.number] = Running(
            fixed=generation,
            created=self.now,
            pods=[None] * generation.layout.pods,
            broken=self.broken_ahead and generation.predecessor is not None,
            revision=f"r{self.template}",
        )

    def _replace(self, action: DeletePods) -> None:
        running = self.running.get(action.generation)
        for wanted in action.pods if running is not None else ():
            assert running is not None
            pod = running.pods[wanted.index]
            if pod is not None and pod.uid == wanted.uid:
                running.pods[wanted.index] = None

    def _check_plan(self, observation: Observation, actions: tuple[Action, ...]) -> None:
        record = self.record
        for action in actions:
            if isinstance(action, DeleteGeneration):
                assert record is not None and action.number not in (record.active, record.target)
                if action.number < (record.active or 0):
                    assert action.number <= record.retired
            if isinstance(action, DeletePods):
                self._check_replacement(observation, action)
            if isinstance(action, WriteRecord):
                assert len(actions) == 1, "a write of the record is alone in its pass"
                if record is not None and record.target is not None and action.record.active == record.target:
                    self._check_commit(record)
                if record is not None and action.record.retired > record.retired:
                    self._check_retirement(record, action.record.retired)

    def _check_commit(self, record: Record) -> None:
        target, old = self.running[record.target or 0], self.running[record.active or 0]
        for index, pod in enumerate(target.pods):
            assert pod is not None and set(pod.ready) == set(target.fixed.layout.pod_shards(index))
            assert all(self.now - since >= 4000 for since in pod.ready.values()), "too young to overlap"
        assert all(pod is not None and pod.epoch >= record.epoch for pod in old.pods)
        assert self.receiver and wishes(self.spec) == record.honoured

    def _check_replacement(self, observation: Observation, action: DeletePods) -> None:
        """One at a time, of the only generation, and nothing else on its way."""
        (generation,) = observation.generations
        (wanted,) = action.pods
        for pod in generation.pods:
            assert pod.uid is not None, "a pod is missing"
            current = pod.revision == generation.revision
            assert not (current and pod.index == wanted.index), "the pod is up to date"
            if current:
                assert pod.status is not None, "a replaced pod is not back"
                assert all(shard.state is ShardState.READY for shard in pod.status.shards)

    def _check_retirement(self, record: Record, number: int) -> None:
        if number in self.running:
            assert all(pod is not None and pod.complete for pod in self.running[record.active or 0].pods)

    # --- The world's own ways ---------------------------------------------------------------------------------------

    def live(self) -> None:
        """Pods start, learn, connect, hand over; with faults they also die, and everything else happens."""
        self.now += self.chance.randint(200, 2500)
        for number, running in self.running.items():
            for index, pod in enumerate(running.pods):
                if pod is None:
                    if self.chance.random() < 0.5 or not self.faults:
                        self.uids += 1
                        running.pods[index] = Pod(uid=f"uid-{self.uids}", revision=running.revision)
                    continue
                self._live(number, running, index, pod)
        if self.faults:
            self._trouble()
        elif self.late:
            self.perform(self.late.pop()[0])

    def _live(self, number: int, running: Running, index: int, pod: Pod) -> None:
        chance = self.chance
        if self.record is not None and chance.random() < 0.2:
            pod.epoch, pod.knows = self.record.epoch, self.record
        missing = [shard for shard in running.fixed.layout.pod_shards(index) if shard not in pod.ready]
        if missing and (chance.random() < 0.5 or not self.faults) and not running.broken:
            pod.ready[missing[0]] = self.now
        predecessor = running.fixed.predecessor
        if predecessor is not None and pod.knows is not None and pod.knows.active == number:
            gone = predecessor.generation <= pod.knows.retired
            pod.complete = pod.complete or gone or (predecessor.generation in self.running and chance.random() < 0.4)
        pod.queued = 0 if chance.random() < 0.7 else 3

    def _trouble(self) -> None:
        chance = self.chance
        roll = chance.random()
        if roll < 0.04 and self.running:
            running = chance.choice(list(self.running.values()))
            running.pods[chance.randrange(len(running.pods))] = None  # deleted, its state lost
        elif roll < 0.08 and self.running:
            running = chance.choice(list(self.running.values()))
            pod = chance.choice(running.pods)
            if pod is not None:
                pod.ready.pop(chance.choice([0, 1, 2, 3]), None)
        elif roll < 0.11:
            self.receiver = not self.receiver
        elif roll < 0.14:
            self.api = not self.api
        elif roll < 0.18:
            self.spec = random_spec(chance)
        elif roll < 0.2:
            self.broken_ahead = not self.broken_ahead
        elif roll < 0.22:
            self.template += 1
        elif roll < 0.23:
            self.guilds = chance.choice((0, 20, 40, 70))
        elif roll < 0.27 and self.late:
            self.perform(self.late.pop(chance.randrange(len(self.late)))[0])

    def heal(self) -> None:
        self.faults, self.receiver, self.api, self.broken_ahead = False, True, True, False


def random_spec(chance: random.Random) -> Spec:
    return make_spec(
        chance.choice((0, 2, 4, 6)),
        chance.choice(("", "", "a", "b")),
        chance.choice((["GUILDS"], ["GUILD_MESSAGES"])),
        auto=chance.random() < 0.3,
    )


@settings(
    max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow], derandomize=True, database=None
)
@given(seed=st.integers(0, 2**32), steps=st.integers(0, 150))
def test_no_interleaving_breaks_the_record_and_all_end_at_rest(seed: int, steps: int) -> None:
    chance = random.Random(seed)
    world = World(chance=chance, spec=random_spec(chance))
    for _ in range(steps):
        world.live()
        if chance.random() < 0.8:
            world.operate()
    world.heal()
    for _ in range(200):
        world.live()
        world.operate()
        if not world.late and at_rest(world):
            break
    assert at_rest(world), rest_of(world)


def at_rest(world: World) -> bool:
    record = world.record
    if record is None or record.target is not None or set(world.running) != {record.active}:
        return False
    if record.honoured != wishes(world.spec):
        return False
    made = plan(world.observe())
    busy = [action for action in made.actions if isinstance(action, WriteRecord | DeleteGeneration)]
    active = world.running[record.active or 0]
    ready = all(
        pod is not None
        and pod.revision == f"r{world.template}"
        and set(pod.ready) >= set(active.fixed.layout.pod_shards(index))
        for index, pod in enumerate(active.pods)
    )
    return not busy and ready


def rest_of(world: World) -> dict[str, Any]:
    """What is printed of a world that does not come to rest."""
    return {
        "record": None if world.record is None else msgspec.to_builtins(world.record),
        "running": sorted(world.running),
        "wishes": msgspec.to_builtins(wishes(world.spec)),
        "conditions": [(c.type.value, c.status.value, c.reason, c.message) for c in world.status.conditions],
        "reshard": world.status.reshard,
        "actions": plan(world.observe()).actions,
    }
