"""Sessions outlive the pod that is deleted with its disk: others keep them, and the next pod resumes them."""

from __future__ import annotations

import asyncio
import json
import logging
from dataclasses import dataclass, field, replace

import msgspec
import pytest
from gateway_operator.web.surface import LONGEST_BODY_BYTES
from runtime.configuration import configuration
from runtime.in_process import SECRETS, PodInOneProcess
from runtime.stage import record
from virtual.discord import API, ScriptedDiscord
from virtual.network import Request
from virtual.world import World, run_world

from shard_runtime import contract
from shard_runtime.checkpoints import Checkpoints
from shard_runtime.contract import CHECKPOINT_LIFE_SECONDS, Checkpoint, CheckpointBook, SessionCheckpoint
from shard_runtime.ports import Response
from shard_runtime.shard_ports import SavedSession
from shard_runtime.siblings import Siblings

GUILDS = tuple(number << 22 for number in range(1, 9))
LAYOUT = contract.ShardLayout(count=6, first=0, last=5, per_worker=1, workers_per_pod=2)


@dataclass
class Operator:
    """Gives permits to anyone, and keeps checkpoints."""

    world: World
    keeps: bool = True
    book: CheckpointBook = field(default_factory=CheckpointBook)

    async def http(self, request: Request) -> Response:
        if request.headers.get("authorization") != f"Bearer {SECRETS.operator}":
            return Response(401, {}, b"{}")
        if request.path == "/v1/permits":
            return Response(200, {}, contract.encode(contract.Permit(id="p")))
        if not request.path.startswith("/v1/checkpoints"):
            return Response(204, {}, b"")
        if not self.keeps:
            return Response(503, {}, b"{}")
        now = self.world.clock.monotonic()
        if request.method == "POST":
            self.book.put(now, contract.decode(request.body, Checkpoint))
            return Response(204, {}, b"")
        _, _, _, generation, pod = request.path.split("/")
        found = self.book.get(now, int(generation), int(pod))
        return Response(404, {}, b"{}") if found is None else Response(200, {}, contract.encode(found))


@dataclass
class Town:
    world: World
    discord: ScriptedDiscord
    operator: Operator
    pods: list[PodInOneProcess]
    numbers: list[int] = field(default_factory=list)
    sent: int = 0

    async def bot(self, request: Request) -> Response:
        for item in json.loads(request.body):
            number = item["payload"]["d"].get("number")
            if number is not None:
                self.numbers.append(number)
        return Response(204, {}, b"")

    async def talk(self, seconds: float) -> None:
        for _ in range(int(seconds * 50)):
            guild = GUILDS[self.sent % len(GUILDS)]
            body = {"id": str(10**18 + self.sent), "guild_id": str(guild), "number": self.sent}
            for session in self.discord.sessions.values():
                if contract.shard_of_guild(guild, session.shard[1]) == session.shard[0]:
                    session.dispatch("MESSAGE_CREATE", body)
            self.sent += 1
            await asyncio.sleep(0.02)

    async def replace(self, index: int) -> None:
        """Delete the pod gracefully, with its disk; another one of its name takes its place."""
        pod = self.pods[index]
        await pod.stop()
        self.world.disk(pod.machine).wipe()
        pod.uid += "'"
        await asyncio.sleep(1)
        await pod.start().adopt_record(record(1, active=1))

    def all_ready(self) -> bool:
        statuses = [pod.pod.last_status() for pod in self.pods if pod.pod is not None]
        return all(shard.state is contract.ShardState.READY for status in statuses for shard in status.shards)


async def make_town(world: World) -> Town:
    operator = Operator(world)
    config = configuration(layout=LAYOUT, api_url=API, compression="none")
    forward = contract.ForwardConfig(url="http://bot/events")
    pods = [PodInOneProcess(world, config, forward, index) for index in range(LAYOUT.pods)]
    town = Town(world, ScriptedDiscord(world.network, guilds=GUILDS), operator, pods)
    world.network.serve("bot", http=town.bot)
    world.network.serve("operator", http=operator.http)
    for pod in pods:
        await pod.start().adopt_record(record(1, active=1))
    await world.until(town.all_ready, within=60)
    return town


@pytest.mark.parametrize("keeper", ["all", "the operator", "siblings"])
def test_a_replaced_pod_resumes_what_others_kept(keeper: str) -> None:
    async def story(world: World) -> None:
        town = await make_town(world)
        town.operator.keeps = keeper != "siblings"
        if keeper == "the operator":
            for pod in town.pods[1:]:
                pod.kill()
        await town.talk(1)
        before = len(town.discord.identifies)
        talking = asyncio.create_task(town.talk(4))
        await town.replace(0)
        await talking
        first = town.pods[0].pod
        assert first is not None
        await world.until(
            lambda: all(s.state is contract.ShardState.READY for s in first.last_status().shards), within=30
        )
        await asyncio.sleep(3)
        assert len(town.discord.identifies) == before, "nobody started a session"
        assert len(town.discord.resumes) == 2
        mine = {n for n in range(town.sent) if contract.shard_of_guild(GUILDS[n % len(GUILDS)], 6) in (0, 1)}
        assert mine <= set(town.numbers), "what came meanwhile was replayed"

    run_world(story)


def test_what_nobody_kept_starts_anew_and_soon() -> None:
    async def story(world: World) -> None:
        town = await make_town(world)
        town.operator.keeps = False
        for pod in town.pods[1:]:
            pod.kill()
        began = world.clock.monotonic()
        await town.replace(0)
        first = town.pods[0].pod
        assert first is not None
        await world.until(
            lambda: all(s.state is contract.ShardState.READY for s in first.last_status().shards), within=30
        )
        assert world.clock.monotonic() - began < 15
        assert len(town.discord.identifies) == 8

    run_world(story)


def test_every_pod_may_be_replaced_by_turns() -> None:
    async def story(world: World) -> None:
        town = await make_town(world)
        talking = asyncio.create_task(town.talk(20))
        for index in range(LAYOUT.pods):
            await town.replace(index)
            await world.until(town.all_ready, within=30)
        await talking
        await asyncio.sleep(3)
        assert len(town.discord.identifies) == 6
        assert len(town.discord.resumes) == 6
        assert sorted(set(town.numbers)) == list(range(town.sent))

    run_world(story)


def of_many_sessions(world: World) -> Checkpoints:
    """Of a pod's only worker, with 250 shards."""
    network = world.process("pod").network
    config = configuration(layout=contract.ShardLayout(count=250, first=0, last=249, per_worker=250))
    siblings = Siblings(
        pod_url=config.pod_url, bearer=lambda: SECRETS.operator, network=network, disk=world.disk("pod")
    )
    return Checkpoints(
        config=config,
        pod=0,
        pod_uid="u",
        bearer=lambda: SECRETS.operator,
        siblings=siblings,
        network=network,
        clock=world.clock,
        log=logging.getLogger("test"),
    )


def test_a_checkpoint_of_many_sessions_is_small_enough_for_the_operator() -> None:
    async def story(world: World) -> None:
        bodies: list[bytes] = []

        async def http(request: Request) -> Response:
            bodies.append(request.body)
            return Response(204, {}, b"")

        world.network.serve("operator", http=http)
        checkpoints = of_many_sessions(world)
        session = SavedSession(
            session_id="0" * 32,
            resume_url="wss://gateway-us-east1-b.discord.gg",
            sequence=10**9,
            guilds=1000,
            started_at=10**12,
            finished=tuple(range(10**9, 10**9 + 512)),
            unsure=tuple(range(10**9, 10**9 + 1000)),
            late=tuple(range(2**64 - 2000, 2**64)),
        )
        await checkpoints.leave(dict.fromkeys(range(250), session))
        (body,) = bodies
        assert len(body) < LONGEST_BODY_BYTES
        told = contract.decode(body, Checkpoint).sessions
        assert len(told) == 250
        assert tuple(told[0].late) == session.late
        assert [len(told[1].finished), len(told[1].unsure), len(told[1].late)] == [512, 976, 0]

    run_world(story)


def test_what_sessions_have_kept_for_their_bot_makes_no_checkpoint_too_large_for_the_operator() -> None:
    async def story(world: World) -> None:
        bodies: list[bytes] = []
        book = CheckpointBook()

        async def http(request: Request) -> Response:
            if request.method == "GET":
                found = book.get(0.0, 1, 0)
                return Response(404 if found is None else 200, {}, b"" if found is None else contract.encode(found))
            bodies.append(request.body)
            if len(request.body) > LONGEST_BODY_BYTES:
                return Response(413, {}, b"")
            book.put(0.0, contract.decode(request.body, Checkpoint))
            return Response(204, {}, b"")

        world.network.serve("operator", http=http)
        checkpoints = of_many_sessions(world)
        session = SavedSession(
            session_id="0" * 32,
            resume_url="wss://gateway-us-east1-b.discord.gg",
            sequence=10**9,
            guilds=1000,
            started_at=10**12,
            late=tuple(range(2**64 - 1000, 2**64)),
            kept=contract.Kept(presence=json.dumps({"status": "x" * 3900})),
        )
        sessions = dict.fromkeys(range(249), session)
        sessions[249] = replace(session, kept=contract.Kept(presence="x" * LONGEST_BODY_BYTES))
        await checkpoints.leave(sessions)
        assert max(map(len, bodies)) <= LONGEST_BODY_BYTES
        recalled = await checkpoints.recall(range(250))
        assert sorted(recalled) == list(range(250))
        assert all(recalled[shard].kept == session.kept for shard in range(249))
        assert recalled[249].kept == contract.NOTHING_KEPT, "to be resumed is worth more"
        assert sum(len(each.late) for each in recalled.values()) == 5000

    run_world(story)


# --- The book ---------------------------------------------------------------------------------------------------------


def checkpoint(*shards: int, made_at: int = 1, pod: int = 0, generation: int = 1, sequence: int = 5) -> Checkpoint:
    return Checkpoint(
        generation=generation,
        count=8,
        pod=pod,
        pod_uid="u",
        made_at=made_at,
        sessions=[
            SessionCheckpoint(
                shard=shard, session_id=f"s{shard}", resume_url=None, sequence=sequence, guilds=1, started_at=0
            )
            for shard in shards
        ],
    )


def kept(book: CheckpointBook, now: float = 0.0, *, generation: int = 1, pod: int = 0) -> dict[int, int]:
    found = book.get(now, generation, pod)
    return {} if found is None else {session.shard: session.sequence for session in found.sessions}


def test_workers_of_a_pod_are_put_together_and_the_later_counts() -> None:
    book = CheckpointBook()
    book.put(0, checkpoint(0, 1, made_at=10))
    book.put(0, checkpoint(2, 3, made_at=11))
    book.put(0, checkpoint(4, pod=1))
    assert kept(book) == {0: 5, 1: 5, 2: 5, 3: 5}
    book.put(0, checkpoint(1, made_at=9, sequence=4))
    assert kept(book)[1] == 5, "an earlier one that came late"
    book.put(0, checkpoint(1, made_at=12, sequence=7))
    assert kept(book) == {0: 5, 1: 7, 2: 5, 3: 5}
    assert kept(book, pod=1) == {4: 5}
    assert kept(book, generation=2) == kept(book, pod=2) == {}


def test_what_is_too_old_is_not_given_and_not_kept() -> None:
    book = CheckpointBook()
    book.put(0, checkpoint(0))
    assert kept(book, CHECKPOINT_LIFE_SECONDS - 1) == {0: 5}
    assert kept(book, CHECKPOINT_LIFE_SECONDS) == {}
    book.put(CHECKPOINT_LIFE_SECONDS, checkpoint(1))
    assert list(book._known) == [(1, 1)]


def test_a_checkpoint_of_another_shard_count_is_not_used() -> None:
    async def story(world: World) -> None:
        town = await make_town(world)
        pod = town.pods[0]
        await pod.stop()
        for _, (at, known) in list(town.operator.book._known.items()):
            town.operator.book.put(at, msgspec.structs.replace(known, count=12, made_at=known.made_at + 1))
        for sibling in town.pods[1:]:
            sibling.kill()
        world.disk(pod.machine).wipe()
        await pod.start().adopt_record(record(1, active=1))
        await world.until(lambda: len(town.discord.identifies) == 8, within=30)
        assert len(town.discord.resumes) == 0

    run_world(story)
