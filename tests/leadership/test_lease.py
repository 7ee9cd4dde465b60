"""Leader election on virtual time: never two, soon one, whatever the API server and the processes do."""

from __future__ import annotations

import asyncio
import itertools
import random
from collections.abc import Callable
from dataclasses import dataclass, field

import pytest
from gateway_operator.cluster.port import LEASE, Kind, Manifest, UncertainError
from gateway_operator.cluster.processes.cluster import StoreCluster
from gateway_operator.cluster.processes.objects import ObjectStore
from gateway_operator.identify.asks import Ask, Limits, ShardKey, Urgency
from gateway_operator.identify.gate import IdentifyGate
from gateway_operator.leadership.fence import FencedCluster, NotLeadingError
from gateway_operator.leadership.lease import DEADLINE_SECONDS, LEASE_SECONDS, LOOK_SECONDS, Leadership
from virtual.clock import VirtualClock
from virtual.loop import run_virtual

from shard_runtime.contract import PERMIT_LIFE_SECONDS, Permit


@dataclass
class OperatorClock:
    clock: VirtualClock

    def monotonic(self) -> float:
        return self.clock.monotonic()

    def unix(self) -> float:
        return self.clock.unix_milliseconds() / 1000


def new_store() -> ObjectStore:
    numbers = itertools.count(1)
    loop = asyncio.get_running_loop()
    return ObjectStore(new_uid=lambda: f"uid-{next(numbers)}", unix=lambda: 1_700_000_000 + loop.time())


@dataclass
class Api(StoreCluster):
    """The API server as one candidate reaches it."""

    store: ObjectStore
    chance: random.Random
    away: bool = False
    lose_answers: float = 0.0
    slow: float = 0.0
    """Seconds that a call may take until it is done."""
    reached: int = 0

    def __post_init__(self) -> None:
        super().__init__(self.store)

    async def _reach(self) -> None:
        self.reached += 1
        await asyncio.sleep(self.chance.uniform(0.001, 0.02) + (self.chance.random() < 0.2) * self.slow)
        if self.away:
            raise UncertainError("no answer")

    def _answer(self) -> None:
        if self.chance.random() < self.lose_answers:
            raise UncertainError("the answer was lost")

    async def get(self, kind: Kind, namespace: str, name: str) -> Manifest | None:
        await self._reach()
        return await super().get(kind, namespace, name)

    async def create(self, manifest: Manifest) -> Manifest:
        await self._reach()
        made = await super().create(manifest)
        self._answer()
        return made

    async def replace(self, manifest: Manifest) -> Manifest:
        await self._reach()
        made = await super().replace(manifest)
        self._answer()
        return made


@dataclass
class Candidate:
    """An operator process as far as the election goes."""

    name: str
    store: ObjectStore
    chance: random.Random
    rate: float = 1.0
    task: asyncio.Task[None] | None = None
    lives: int = 0
    terms: list[float] = field(default_factory=list)

    def start(self) -> None:
        self.lives += 1
        self.api = Api(self.store, self.chance)
        self.clock = OperatorClock(VirtualClock(rate=self.rate))
        self.leadership = Leadership(
            cluster=self.api,
            clock=self.clock,
            chance=self.chance,
            namespace="system",
            name="operator",
            identity=f"{self.name}-{self.lives}",
            address=f"http://{self.name}",
        )
        self.task = asyncio.create_task(self._run(), name=self.name)

    async def _run(self) -> None:
        while True:
            await self.leadership.acquire()
            self.terms.append(asyncio.get_running_loop().time())
            self.gate = IdentifyGate(now=self.clock.monotonic(), incarnation=f"{self.name}{len(self.terms)}")
            await self.leadership.keep()

    def kill(self) -> None:
        """As ``kill -9`` does: nothing is released."""
        assert self.task is not None
        self.task.cancel()
        self.task = None

    async def stop(self) -> None:
        self.kill()
        await self.leadership.release()

    @property
    def leads(self) -> bool:
        return self.task is not None and self.leadership.leading


async def until(met: Callable[[], bool], *, seconds: float) -> float:
    """Virtual seconds until *met*; fails after *seconds*."""
    loop = asyncio.get_running_loop()
    began = loop.time()
    while not met():
        assert loop.time() - began < seconds, "it never came about"
        await asyncio.sleep(0.01)
    return loop.time() - began


def two() -> tuple[Candidate, Candidate]:
    store = new_store()
    return Candidate("a", store, random.Random(1)), Candidate("b", store, random.Random(2))


def test_the_first_leads_at_once_and_the_second_knows_where() -> None:
    async def main() -> None:
        first, second = two()
        first.start()
        assert await until(lambda: first.leads, seconds=1) < 0.1
        second.start()
        await asyncio.sleep(300)
        assert first.leads and not second.leads
        assert second.leadership.leader_address == "http://a"
        assert first.leadership.leader_address is None
        lease = first.store.get(LEASE, "system", "operator")
        assert lease is not None
        assert lease["spec"]["holderIdentity"] == "a-1"
        assert lease["spec"]["leaseTransitions"] == 0
        assert lease["spec"]["renewTime"] > lease["spec"]["acquireTime"]

    run_virtual(main())


def test_a_killed_leader_is_followed_within_fifteen_seconds_and_not_before_it_cannot_act() -> None:
    async def main() -> None:
        first, second = two()
        first.start()
        await until(lambda: first.leads, seconds=1)
        second.start()
        await asyncio.sleep(61.3)
        first.kill()
        took = await until(lambda: second.leads, seconds=15)
        assert DEADLINE_SECONDS < took <= LEASE_SECONDS + LOOK_SECONDS + 0.1
        lease = first.store.get(LEASE, "system", "operator")
        assert lease is not None
        assert lease["spec"]["leaseTransitions"] == 1

    run_virtual(main())


def test_a_leader_that_stops_is_followed_within_three_seconds() -> None:
    async def main() -> None:
        first, second = two()
        first.start()
        await until(lambda: first.leads, seconds=1)
        second.start()
        await asyncio.sleep(61.3)
        await first.stop()
        assert await until(lambda: second.leads, seconds=15) <= LOOK_SECONDS + 0.1
        await second.stop()
        first.start()
        assert await until(lambda: first.leads, seconds=15) <= LOOK_SECONDS + 0.1

    run_virtual(main())


@pytest.mark.parametrize(("seconds", "leads"), [(4.0, True), (9.0, False)])
def test_a_leader_survives_an_api_server_that_is_away_for_a_moment(seconds: float, leads: bool) -> None:
    async def main() -> None:
        (first, _) = two()
        first.start()
        await asyncio.sleep(30)
        first.api.away = True
        await asyncio.sleep(seconds)
        assert first.leads is leads
        first.api.away = False
        await asyncio.sleep(20)
        assert first.leads, "nobody else wanted it"
        assert len(first.terms) == (1 if leads else 2)

    run_virtual(main())


def test_leading_ends_by_the_clock_alone() -> None:
    """A process that was frozen must not act on what it believed before, not even before its next renewal is due."""

    class Frozen:
        seconds = 100.0

        def monotonic(self) -> float:
            return self.seconds

        def unix(self) -> float:
            return self.seconds

    async def main() -> None:
        clock = Frozen()
        store = new_store()
        leadership = Leadership(
            cluster=StoreCluster(store),
            clock=clock,
            chance=random.Random(1),
            namespace="system",
            name="operator",
            identity="a",
        )
        await leadership.acquire()
        cluster = FencedCluster(StoreCluster(store), leading=lambda: leadership.leading)
        config = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c", "namespace": "ns"}}
        await cluster.apply(config)
        clock.seconds += DEADLINE_SECONDS - 0.01
        assert leadership.leading
        clock.seconds += 0.02
        assert not leadership.leading
        for write in (
            cluster.apply(config),
            cluster.create(config),
            cluster.replace(config),
            cluster.delete(LEASE, "ns", "c"),
            cluster.update_status("ns", "c", {}),
            cluster.touch_pod("ns", "c", "a", "b"),
        ):
            with pytest.raises(NotLeadingError):
                await write
        assert await cluster.get(LEASE, "system", "operator") is not None, "looking is free"

    run_virtual(main())


def test_of_two_that_take_it_at_the_same_time_one_does() -> None:
    async def main() -> None:
        first, _ = two()
        first.start()
        await until(lambda: first.leads, seconds=1)
        await first.stop()
        both_have_read = asyncio.Barrier(2)

        class Together(StoreCluster):
            """Both read before either writes."""

            async def get(self, kind: Kind, namespace: str, name: str) -> Manifest | None:
                found = await super().get(kind, namespace, name)
                if not both_have_read.broken and found is not None and not found["spec"].get("holderIdentity"):
                    await both_have_read.wait()
                return found

        made = [
            Leadership(
                cluster=Together(first.store),
                clock=OperatorClock(VirtualClock()),
                chance=random.Random(number),
                namespace="system",
                name="operator",
                identity=f"c-{number}",
            )
            for number in range(2)
        ]
        tasks = [asyncio.create_task(each.acquire()) for each in made]
        await asyncio.sleep(5)
        assert sorted(each.leading for each in made) == [False, True]
        for task in tasks:
            task.cancel()

    run_virtual(main())


def test_a_lease_that_another_program_deleted_is_made_anew() -> None:
    async def main() -> None:
        first, second = two()
        first.start()
        await until(lambda: first.leads, seconds=1)
        first.store.delete(LEASE, "system", "operator")
        second.start()
        await asyncio.sleep(30)
        assert [first.leads, second.leads].count(True) == 1

    run_virtual(main())


def test_the_lease_ends_with_the_service_of_its_name() -> None:
    async def main() -> None:
        first, second = two()
        service = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "operator", "namespace": "system"}}
        uid = first.store.create(service)["metadata"]["uid"]
        owners = [{"apiVersion": "v1", "kind": "Service", "name": "operator", "uid": uid}]
        for candidate in (first, second):
            candidate.start()
            await until(lambda candidate=candidate: candidate.leads, seconds=3)  # type: ignore[misc]
            await asyncio.sleep(30)  # renewals
            await candidate.stop()
            lease = first.store.get(LEASE, "system", "operator")
            assert lease is not None
            assert "holderIdentity" not in lease["spec"]
            assert lease["metadata"]["ownerReferences"] == owners

    run_virtual(main())


# --- Schedules -------------------------------------------------------------------------------------------------------


@dataclass
class Permits:
    """When permits of one bucket were given, by whom."""

    given: list[tuple[float, str]] = field(default_factory=list)

    def ask(self, candidate: Candidate) -> None:
        """A pod asks this operator, which answers only while it leads."""
        if not candidate.leads:
            return
        now = candidate.clock.monotonic()
        candidate.gate.limits_read(
            now,
            "app",
            Limits(total=1000, remaining=1000, reset_at=now + 9e4, max_concurrency=1, read_at=now),
        )
        key = ShardKey("default", "bot", 1, len(self.given))
        ask = Ask(application="app", key=key, pod_uid="p", urgency=Urgency.RECOVERY)
        if isinstance(candidate.gate.request(now, ask), Permit):
            self.given.append((asyncio.get_running_loop().time(), candidate.name))


async def schedule(seed: int) -> None:
    chance = random.Random(seed)
    loop, store, permits = asyncio.get_running_loop(), new_store(), Permits()
    candidates = [
        Candidate(name, store, random.Random(f"{seed}/{name}"), rate=chance.uniform(0.99, 1.01)) for name in "abc"
    ]
    for candidate in candidates:
        candidate.start()
    end = loop.time() + 150
    while loop.time() < end:
        for _ in range(chance.randint(1, 60)):
            await asyncio.sleep(0.05)
            leaders = [candidate.name for candidate in candidates if candidate.leads]
            assert len(leaders) <= 1, f"seed {seed}: {leaders} lead at once"
            for candidate in candidates:
                permits.ask(candidate)
        candidate = chance.choice(candidates)
        match chance.randrange(7):
            case 0 if candidate.task is not None:
                candidate.kill()
            case 1 if candidate.task is not None:
                await candidate.stop()
            case 2 | 3 if candidate.task is None:
                candidate.start()
            case 4:
                candidate.api.away = not candidate.api.away
            case 5:
                candidate.api.lose_answers = chance.choice((0.0, 0.3, 1.0))
            case 6:
                candidate.api.slow = chance.choice((0.0, 3.0, 12.0))
            case _:
                pass
    for candidate in candidates:
        if candidate.task is None:
            candidate.start()
        candidate.api.away, candidate.api.lose_answers, candidate.api.slow = False, 0.0, 0.0
    # A call that was slow when it began may still be under way.
    await until(lambda: any(candidate.leads for candidate in candidates), seconds=12 + 2 * LEASE_SECONDS)
    for (before, first), (after, second) in itertools.pairwise(permits.given):
        if first != second:
            assert after - before >= PERMIT_LIFE_SECONDS + 5.0, f"seed {seed}: {first} at {before}, {second} at {after}"


@pytest.mark.parametrize("block", range(4))
def test_no_schedule_makes_two_lead_or_two_identify_at_once(block: int) -> None:
    for seed in range(block * 25, block * 25 + 25):
        run_virtual(schedule(seed))


def test_the_schedules_see_what_they_are_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """With a deadline that is longer than the Lease's, some schedule has two leaders."""
    monkeypatch.setattr("gateway_operator.leadership.lease.DEADLINE_SECONDS", 14.0)
    with pytest.raises(AssertionError, match="lead at once"):
        for seed in range(100):
            run_virtual(schedule(seed))
