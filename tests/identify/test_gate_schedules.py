"""Thousands of random schedules of pods, losses, crashes and gates that restart, judged by what Discord saw."""

from __future__ import annotations

import functools
import heapq
import random
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

from gateway_operator.identify.asks import Ask, Limits, ShardKey, Urgency
from gateway_operator.identify.gate import FLOOR, SHARE, IdentifyGate
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from shard_runtime.contract import Permit, PermitOutcome, PermitResult, PermitWait

SCHEDULES = settings(
    max_examples=1200, deadline=None, suppress_health_check=[HealthCheck.too_slow], derandomize=True, database=None
)
DISCORDS_WINDOW = 5.0


@dataclass
class World:
    """Pods, a gate that may be replaced, and Discord, on one clock."""

    chance: random.Random
    concurrency: int
    budget: int
    faults: bool
    reserve: int = 0
    now: float = 1000.0
    events: list[tuple[float, int, Callable[[], object]]] = field(default_factory=list)
    count: int = 0
    incarnation: int = 0
    given: Counter[ShardKey] = field(default_factory=Counter)
    sent: list[tuple[float, ShardKey]] = field(default_factory=list)
    ready: dict[ShardKey, float] = field(default_factory=dict)
    pods: dict[ShardKey, str] = field(default_factory=dict)
    gate: IdentifyGate = field(init=False)
    start: float = field(init=False)

    def __post_init__(self) -> None:
        self.start = self.now
        self.restart()
        self.read_limits()

    def at(self, delay: float, what: Callable[[], object]) -> None:
        self.count += 1
        heapq.heappush(self.events, (self.now + delay, self.count, what))

    def run(self, until: Callable[[], bool], *, limit: float) -> None:
        while self.events and not until() and self.now < self.start + limit:
            self.now, _, what = heapq.heappop(self.events)
            what()

    def restart(self) -> None:
        """The gate dies, and another knows nothing of its permits."""
        self.incarnation += 1
        self.gate = IdentifyGate(now=self.now, incarnation=str(self.incarnation))

    # --- Discord ---------------------------------------------------------------------------------------------------

    def left(self) -> int:
        return self.budget - len(self.sent)

    def read_limits(self) -> None:
        """Read the session start limit now and then; the answer is as of some moment between call and return."""
        began, gate = self.now, self.gate

        def sample() -> None:
            remaining = self.left()

            def arrive() -> None:
                limits = Limits(
                    total=1000,
                    remaining=remaining,
                    reset_at=began + 9e4,
                    max_concurrency=self.concurrency,
                    read_at=began,
                )
                gate.limits_read(self.now, "app", limits)

            self.at(self.chance.uniform(0, 0.3), arrive)

        self.at(self.chance.uniform(0, 0.3), sample)
        self.at(self.chance.choice((1.0, 7.0, 60.0)), self.read_limits)

    # --- Pods ------------------------------------------------------------------------------------------------------

    def begin(self, key: ShardKey, urgency: Urgency) -> None:
        self.pods[key] = "uid-0"
        self.at(self.chance.uniform(0, 3), lambda: self.ask(key, urgency, "uid-0"))

    def ask(self, key: ShardKey, urgency: Urgency, uid: str) -> None:
        if self.pods[key] != uid or key in self.ready:
            return
        asked = self.now
        lost = self.faults and self.chance.random() < 0.05

        def arrive() -> None:
            if lost and self.chance.random() < 0.5:  # the question was lost
                self.at(5.0, lambda: self.ask(key, urgency, uid))
                return
            ask = Ask(application="app", key=key, pod_uid=uid, urgency=urgency, reserve=self.reserve)
            answer = self.gate.request(self.now, ask)
            self.given[key] += isinstance(answer, Permit)
            if lost:  # the answer was
                self.at(5.0, lambda: self.ask(key, urgency, uid))
            elif isinstance(answer, PermitWait):
                seconds = answer.retry_after_milliseconds / 1000
                self.at(seconds + self.chance.uniform(0, 0.1 * seconds + 0.02), lambda: self.ask(key, urgency, uid))
            else:
                assert isinstance(answer, Permit)
                self.at(self.chance.uniform(0, 0.4), lambda: self.use(answer, asked, key, urgency, uid))

        self.at(self.chance.uniform(0, 0.4), arrive)

    def use(self, permit: Permit, asked: float, key: ShardKey, urgency: Urgency, uid: str) -> None:
        left = permit.life_milliseconds / 1000 - (self.now - asked)
        if left <= 0 or (self.faults and self.chance.random() < 0.03):
            self.report(permit, key, PermitOutcome.UNUSED, None)
            self.at(0.1, lambda: self.ask(key, urgency, uid))
            return
        self.at(self.chance.uniform(0, left), lambda: self.send(permit, key, urgency, uid))

    def send(self, permit: Permit, key: ShardKey, urgency: Urgency, uid: str) -> None:
        self.sent.append((self.now, key))
        sent = self.now
        fate = self.chance.random() if self.faults else 1.0
        if fate < 0.05:  # the pod dies before it reports, and its successor asks
            successor = f"{uid}+"
            self.pods[key] = successor
            self.at(self.chance.uniform(0, 4), lambda: self.ask(key, urgency, successor))
        elif fate < 0.1:  # refused
            self.at(0.1, lambda: self.report(permit, key, PermitOutcome.REJECTED, sent))
            self.at(self.chance.uniform(1, 5), lambda: self.ask(key, urgency, uid))
        else:
            slow = self.chance.uniform(0.05, 12) if self.chance.random() < 0.9 else 45.0

            def come() -> None:
                self.ready[key] = self.now
                self.report(permit, key, PermitOutcome.READY, sent)

            self.at(slow if self.faults else self.chance.uniform(0.05, 1), come)

    def report(self, permit: Permit, key: ShardKey, outcome: PermitOutcome, sent: float | None) -> None:
        if self.faults and self.chance.random() < 0.05:
            return
        ago = None if sent is None else int((self.now - sent) * 1000)
        result = PermitResult(outcome=outcome, sent_milliseconds_ago=ago)
        self.at(
            self.chance.uniform(0, 0.4),
            lambda: self.gate.result(self.now, permit.id, result, namespace=key.namespace, gateway=key.gateway),
        )


def assert_discord_was_content(world: World) -> None:
    last: dict[int, float] = {}
    for moment, key in sorted(world.sent):
        bucket = key.shard % world.concurrency
        gap = moment - last.get(bucket, float("-inf"))
        assert gap >= DISCORDS_WINDOW, f"two identifies of bucket {bucket} within {gap:.2f} s at {moment:.2f}"
        last[bucket] = moment
    assert world.left() >= FLOOR


def keys(generation: int, shards: int) -> list[ShardKey]:
    return [ShardKey("n", "g", generation, shard) for shard in range(shards)]


@SCHEDULES
@given(seed=st.integers(0, 2**32), concurrency=st.sampled_from((1, 2, 3, 16)), budget=st.integers(5, 80))
def test_no_schedule_breaks_the_window_or_the_floor(seed: int, concurrency: int, budget: int) -> None:
    chance = random.Random(seed)
    world = World(chance=chance, concurrency=concurrency, budget=budget, faults=True, reserve=chance.choice((0, 20)))
    shards = chance.randint(1, 20)
    for key in keys(1, shards):
        world.begin(key, Urgency.RECOVERY)
    target = keys(2, shards * chance.choice((1, 2)))
    later = chance.uniform(0, 60)
    for key in target:
        world.at(later, functools.partial(world.begin, key, Urgency.RESHARD))
    for _ in range(chance.randint(0, 3)):
        world.at(chance.uniform(0, 120), world.restart)
    world.run(lambda: len(world.ready) == shards + len(target), limit=240)
    assert_discord_was_content(world)


@settings(SCHEDULES, max_examples=400)
@given(seed=st.integers(0, 2**32), concurrency=st.sampled_from((1, 2, 16)), budget=st.integers(20, 120))
def test_gateways_of_one_bot_share_its_buckets_over_namespaces_and_rotations(
    seed: int, concurrency: int, budget: int
) -> None:
    """Two gateways in two namespaces and a part in another cluster, whose token changes now and then."""
    chance = random.Random(seed)
    world = World(chance=chance, concurrency=concurrency, budget=budget, faults=True)
    owners = (("n", "g"), ("m", "g"), ("(another operator's)", "uid"))
    every = [ShardKey(*owner, 1, shard) for owner in owners for shard in range(chance.randint(1, 8))]
    for key in every:
        world.at(chance.uniform(0, 30), functools.partial(world.begin, key, Urgency.RECOVERY))
    for _ in range(chance.randint(1, 5)):
        owner = chance.choice(owners)
        world.at(chance.uniform(0, 90), lambda owner=owner: world.gate.token_changed(*owner))
    if chance.random() < 0.5:
        world.at(chance.uniform(0, 60), world.restart)
    world.run(lambda: len(world.ready) == len(every), limit=240)
    assert_discord_was_content(world)


@SCHEDULES
@given(seed=st.integers(0, 2**32), concurrency=st.sampled_from((1, 2, 16)))
def test_no_schedule_wedges_a_bucket(seed: int, concurrency: int) -> None:
    """Whatever was lost or died, all shards that may still start do, in time that is linear in their number."""
    chance = random.Random(seed)
    world = World(chance=chance, concurrency=concurrency, budget=500, faults=True)
    shards = keys(1, chance.randint(1, 16))
    for key in shards:
        world.begin(key, Urgency.RECOVERY)
    world.at(30.0, lambda: setattr(world, "faults", False))
    allowed = 30.0 + 60.0 + 45.0 * 2 + len(shards) * 12.0
    world.run(lambda: len(world.ready) == len(shards), limit=allowed)
    missing = set(shards) - set(world.ready)
    spent = {key for key in missing if world.given[key] >= SHARE}
    assert missing == spent, f"waiting without reason: {sorted(missing - spent)}"
    assert_discord_was_content(world)


@settings(SCHEDULES, max_examples=60)
@given(seed=st.integers(0, 2**32), concurrency=st.sampled_from((1, 4, 16)), shards=st.integers(1, 64))
def test_without_faults_a_generation_is_up_in_little_more_than_the_least_time(
    seed: int, concurrency: int, shards: int
) -> None:
    world = World(chance=random.Random(seed), concurrency=concurrency, budget=500, faults=False)
    for key in keys(1, shards):
        world.begin(key, Urgency.RECOVERY)
    rounds = -(-shards // concurrency)
    world.run(lambda: len(world.ready) == shards, limit=12 + rounds * 8.0)
    assert len(world.ready) == shards
    assert len(world.sent) == shards, "no identify was wasted"
    assert_discord_was_content(world)
