"""The identify gate over real sockets: who gets an answer, and which."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import aiohttp
import msgspec
import pytest
from gateway_operator.http_client import AiohttpClient
from gateway_operator.identify.asks import Limits
from gateway_operator.identify.clients import BEGINNING_SECONDS, MOUNT_LAG_SECONDS, GateClient, GateClients
from gateway_operator.identify.gate import SILENCE_SECONDS, WINDOW_SECONDS
from gateway_operator.identify.held import FORGET_SECONDS
from gateway_operator.identify.relay import Relay
from gateway_operator.identify.server import NO_GATE_HERE, GateRoutes
from gateway_operator.identify.shared import SharedGate, gate_key
from gateway_operator.notices import NoticeRoutes
from gateway_operator.web.metrics import Metric
from gateway_operator.web.surface import LONGEST_BODY_BYTES, Surface

from shard_runtime.contract import (
    HeldBack,
    Notice,
    Permit,
    PermitOutcome,
    PermitRequest,
    PermitResult,
    PermitWait,
    Problem,
    decode,
    encode,
)

if TYPE_CHECKING:
    from conftest import ManualClock, World

CLIENT = GateClient(
    namespace="default",
    gateway="bot",
    bearer="the-bearer",
    bot_token="token-1",
    application="app",
    active=1,
    target=2,
    reserve=100,
)


TOKEN = "the.bot.token"


@dataclass
class Gate:
    url: str
    http: aiohttp.ClientSession
    clients: GateClients
    clock: ManualClock
    refused: list[tuple[str, str]]

    async def post(self, path: str, body: bytes, bearer: str | None = "the-bearer") -> tuple[int, bytes]:
        headers = {} if bearer is None else {"authorization": f"Bearer {bearer}"}
        async with self.http.post(self.url + path, data=body, headers=headers) as answer:
            return answer.status, await answer.read()

    async def ask(self, *, shard: int = 0, bearer: str | None = "the-bearer", **changes: Any) -> tuple[int, Any]:
        wish = msgspec.structs.replace(
            PermitRequest(namespace="default", gateway="bot", generation=1, shard=shard, pod_uid="pod"), **changes
        )
        status, body = await self.post("/v1/permits", encode(wish), bearer)
        kind = {200: Permit, 429: PermitWait}.get(status, Problem)
        return status, decode(body, kind)

    async def tell(self, permit: str, outcome: PermitOutcome, bearer: str | None = "the-bearer") -> int:
        result = PermitResult(outcome=outcome, sent_milliseconds_ago=0)
        status, _ = await self.post(f"/v1/permits/{permit}/result", encode(result), bearer)
        return status


@pytest.fixture
async def gate(world: World) -> AsyncIterator[Gate]:
    """A gate past its silence, that knows the budget of one application and one gateway of it."""
    clients = GateClients(clock=world.clock, incarnation="t")
    world.clock.seconds += BEGINNING_SECONDS
    clients.put(CLIENT)
    now = world.clock.seconds
    clients.limits_read("app", Limits(total=1000, remaining=500, reset_at=now + 9e4, max_concurrency=2, read_at=now))
    refused: list[tuple[str, str]] = []
    routes = GateRoutes(clients=clients, on_refused=lambda *key: refused.append(key))
    surface = Surface(
        ready=lambda: True, metrics=lambda: [Metric.single("a_total", "counter", "A.", 2.0)], routes=routes.routes()
    )
    port = await surface.start("127.0.0.1", 0)
    async with aiohttp.ClientSession() as http:
        yield Gate(f"http://127.0.0.1:{port}", http, clients, world.clock, refused)
    await surface.stop()


async def test_a_bucket_gets_its_next_permit_after_the_window(gate: Gate) -> None:
    status, permit = await gate.ask()
    assert status == 200
    assert (await gate.ask(shard=1))[0] == 200, "another bucket"
    status, wait = await gate.ask(shard=2)
    assert status == 429
    assert 0 < wait.retry_after_milliseconds <= 6000
    assert await gate.tell(permit.id, PermitOutcome.READY) == 204
    assert await gate.tell(permit.id, PermitOutcome.READY) == 204, "told twice is no error"
    assert await gate.tell("never-given", PermitOutcome.READY) == 204
    assert (await gate.ask(shard=2))[0] == 429
    gate.clock.seconds += WINDOW_SECONDS
    assert (await gate.ask(shard=2))[0] == 200


@pytest.mark.parametrize("bearer", [None, "", "wrong", "the-bearer ", "þ", "the-bearer2"])
async def test_without_the_gateways_token_there_is_nothing(gate: Gate, bearer: str | None) -> None:
    expected = 200 if bearer == "the-bearer " else 401  # surrounding white space is no part of a header's value
    assert (await gate.ask(bearer=bearer))[0] == expected
    assert await gate.tell("t-1", PermitOutcome.TOKEN_REFUSED, bearer) == (204 if expected == 200 else 401)


async def test_another_gateways_token_opens_nothing_of_this_one(gate: Gate) -> None:
    gate.clients.put(replace(CLIENT, gateway="other", bearer="other-bearer"))
    assert (await gate.ask(bearer="other-bearer"))[0] == 401
    _, permit = await gate.ask()
    assert await gate.tell(permit.id, PermitOutcome.TOKEN_REFUSED, "other-bearer") == 204
    assert gate.refused == []
    assert (await gate.ask(shard=1))[0] == 200


async def test_a_bots_gateways_share_its_buckets_in_every_namespace_and_with_every_token(gate: Gate) -> None:
    gate.clients.put(
        replace(CLIENT, namespace="other", bearer="other-bearer", bot_token="fingerprint of a later token")
    )
    other: dict[str, Any] = {"namespace": "other", "bearer": "other-bearer"}
    _, permit = await gate.ask()
    assert (await gate.ask(shard=2, **other))[0] == 429, "bucket 0 is the application's, not the gateway's"
    gate.clients.put(replace(CLIENT, bot_token="rotated"))
    assert (await gate.ask(shard=2, **other))[0] == 429, "and not the token's"
    await gate.tell(permit.id, PermitOutcome.READY)
    gate.clock.seconds += WINDOW_SECONDS
    assert (await gate.ask(shard=2, **other))[0] == 200


async def test_only_generations_of_the_record_may_identify(gate: Gate) -> None:
    status, problem = await gate.ask(generation=3)
    assert (status, problem.error) == (409, "Generation 3 is neither active nor the target.")
    assert (await gate.ask(generation=2))[0] == 200
    gate.clients.put(replace(CLIENT, stopped="There is no bot token to identify with."))
    assert (await gate.ask(shard=1))[0] == 409


async def test_a_refused_token_stops_identifies_until_the_secret_changes(gate: Gate) -> None:
    _, permit = await gate.ask()
    assert await gate.tell(permit.id, PermitOutcome.TOKEN_REFUSED) == 204
    assert gate.refused == [("default", "bot")]
    status, problem = await gate.ask(shard=1)
    assert status == 409
    assert "4004" in problem.error
    gate.clients.put(CLIENT)
    gate.clients.put(replace(CLIENT, bot_token=""))  # could not be read just now
    gate.clients.put(CLIENT)
    assert (await gate.ask(shard=1))[0] == 409
    gate.clients.put(replace(CLIENT, bot_token="token-2"))
    status, permit = await gate.ask(shard=1)
    assert status == 200

    # A pod whose mount lags is refused with the old token: that says nothing of the new one.
    await gate.tell(permit.id, PermitOutcome.TOKEN_REFUSED)
    gate.clock.seconds += MOUNT_LAG_SECONDS
    status, permit = await gate.ask(shard=1)
    assert status == 200
    await gate.tell(permit.id, PermitOutcome.TOKEN_REFUSED)
    assert (await gate.ask(shard=0))[0] == 409


async def test_an_operator_that_has_just_begun_asks_pods_to_come_again(gate: Gate) -> None:
    gate.clients.begin(incarnation="u")
    status, problem = await gate.ask()
    assert (status, problem.error) == (503, "The operator has just begun and does not know the gateway yet.")
    assert await gate.tell("t-1", PermitOutcome.READY) == 503
    gate.clients.put(CLIENT)
    assert (await gate.ask(bearer="wrong"))[0] == 401, "the gateway is known, and this is not its token"
    now = gate.clock.seconds
    limits = Limits(total=1000, remaining=500, reset_at=now + 9e4, max_concurrency=2, read_at=now)
    gate.clients.limits_read("app", limits)
    assert (await gate.ask())[0] == 429, "silent, for permits of the leader before"
    gate.clock.seconds += SILENCE_SECONDS
    status, permit = await gate.ask()
    assert (status, permit.id) == (200, "u-1")
    gate.clients.remove("default", "bot")
    gate.clock.seconds += BEGINNING_SECONDS
    assert (await gate.ask())[0] == 401, "by now every gateway is known"


@dataclass
class Two:
    """A leader (the gate) and an operator in front of it that does not lead."""

    standby: Gate
    leads: bool = False
    address: str | None = None


@pytest.fixture
async def two(gate: Gate) -> AsyncIterator[Two]:
    clients = GateClients(clock=gate.clock, incarnation="standby")
    two = Two(standby=replace(gate, clients=clients), address=gate.url)
    async with AiohttpClient() as http:
        relay = Relay(http=http, leading=lambda: two.leads, leader_address=lambda: two.address)
        routes = relay.routes(GateRoutes(clients=clients, on_refused=lambda *_: None).routes())
        surface = Surface(ready=lambda: True, metrics=list, routes=routes)
        two.standby.url = f"http://127.0.0.1:{await surface.start('127.0.0.1', 0)}"
        yield two
        await surface.stop()


async def test_pods_that_ask_a_standby_are_answered_by_the_leader(gate: Gate, two: Two) -> None:
    status, permit = await two.standby.ask()
    assert (status, permit.id) == (200, "t-1")
    assert await two.standby.tell(permit.id, PermitOutcome.READY) == 204
    status, wait = await two.standby.ask(shard=2)
    assert status == 429
    assert wait.retry_after_milliseconds > 0
    assert (await two.standby.ask(bearer="wrong"))[0] == 401
    assert gate.clients.permits == 1


async def test_without_a_leader_pods_come_again(two: Two) -> None:
    two.address = None
    status, problem = await two.standby.ask()
    assert (status, problem.error) == (503, "No operator leads at the moment; ask again.")
    two.address = two.standby.url  # it believes that another leads, which is itself
    assert (await two.standby.ask())[0] == 503, "and not passed round for ever"
    two.address = "http://127.0.0.1:1"
    assert (await two.standby.ask())[0] == 503
    two.leads = True
    two.standby.clients.put(CLIENT)
    assert (await two.standby.ask())[0] == 429, "it leads now, and its gate is silent at first"


@pytest.fixture
async def elsewhere(gate: Gate) -> AsyncIterator[Gate]:
    """An operator in another cluster, whose gateway has the same bot and names the gate's operator."""
    gate.clients.put(replace(CLIENT, gate_key=gate_key(TOKEN)))
    clients = GateClients(clock=gate.clock, incarnation="elsewhere", silent=False)
    clients.put(
        replace(CLIENT, namespace="far", gateway="part", uid="uid-2", gate_url=gate.url, gate_key=gate_key(TOKEN))
    )
    refused: list[tuple[str, str]] = []
    async with AiohttpClient() as http:
        routes = GateRoutes(clients=clients, on_refused=lambda *key: refused.append(key), shared=SharedGate(http))
        surface = Surface(ready=lambda: True, metrics=list, routes=routes.routes())
        url = f"http://127.0.0.1:{await surface.start('127.0.0.1', 0)}"
        yield replace(gate, url=url, clients=clients, refused=refused)
        await surface.stop()


async def test_operators_that_share_a_gate_share_its_buckets(gate: Gate, elsewhere: Gate) -> None:
    far: dict[str, Any] = {"namespace": "far", "gateway": "part"}
    status, first = await elsewhere.ask(shard=0, **far)
    assert (status, first.id) == (200, "t-1"), "the permit is the other operator's"
    assert (await gate.ask(shard=2))[0] == 429, "bucket 0 of two"
    assert (await gate.ask(shard=1))[0] == 200
    assert (await elsewhere.ask(shard=3, **far))[0] == 429
    assert await elsewhere.tell(first.id, PermitOutcome.READY) == 204
    gate.clock.seconds += WINDOW_SECONDS
    assert (await elsewhere.ask(shard=2, **far))[0] == 429, "the other's shard 2 was first to line up"
    assert (await gate.ask(shard=2))[0] == 200
    assert elsewhere.clients.permits == 0


async def test_a_reshard_elsewhere_keeps_the_reserve_and_recovery_does_not(gate: Gate, elsewhere: Gate) -> None:
    now = gate.clock.seconds + 1
    few = Limits(total=1000, remaining=100, reset_at=now + 9e4, max_concurrency=2, read_at=now)
    gate.clients.limits_read("app", few)
    far: dict[str, Any] = {"namespace": "far", "gateway": "part"}
    assert (await elsewhere.ask(generation=2, **far))[0] == 429
    assert (await elsewhere.ask(generation=1, **far))[0] == 200


async def test_without_the_bots_token_there_is_no_permit_from_elsewhere(gate: Gate, elsewhere: Gate) -> None:
    far: dict[str, Any] = {"namespace": "far", "gateway": "part"}
    part = elsewhere.clients.get("far", "part")
    assert part is not None
    elsewhere.clients.put(replace(part, gate_key=gate_key("another token")))
    status, wait = await elsewhere.ask(**far)
    assert (status, wait.reason) == (429, NO_GATE_HERE)
    status, _ = await gate.post("/v1/gate/permits", b"{}", "the-bearer")
    assert status == 401, "a pod's token is no operator's"
    status, _ = await gate.post("/v1/gate/permits", b"{}", "")
    assert status == 401
    # A gateway whose gate is elsewhere is no gate for others.
    gate.clients.put(replace(CLIENT, gate_key=gate_key(TOKEN), gate_url="http://127.0.0.1:1"))
    elsewhere.clients.put(replace(part, gate_key=gate_key(TOKEN)))
    assert (await elsewhere.ask(**far))[0] == 429
    assert gate.clients.permits == 0


async def test_while_the_shared_gate_is_away_pods_wait(elsewhere: Gate) -> None:
    far: dict[str, Any] = {"namespace": "far", "gateway": "part"}
    part = elsewhere.clients.get("far", "part")
    assert part is not None
    elsewhere.clients.put(replace(part, gate_url="http://127.0.0.1:1"))
    status, wait = await elsewhere.ask(**far)
    assert status == 429
    assert wait.reason.startswith("The shared identify gate cannot be reached: 127.0.0.1:1")
    assert await elsewhere.tell("t-1", PermitOutcome.READY) == 503, "told again until it is known"


async def test_a_token_that_is_refused_elsewhere_stops_that_gateway_alone(gate: Gate, elsewhere: Gate) -> None:
    far: dict[str, Any] = {"namespace": "far", "gateway": "part"}
    _, permit = await elsewhere.ask(**far)
    elsewhere.clock.seconds += MOUNT_LAG_SECONDS
    assert await elsewhere.tell(permit.id, PermitOutcome.TOKEN_REFUSED) == 204
    assert elsewhere.refused == [("far", "part")]
    assert (await elsewhere.ask(shard=1, **far))[0] == 409
    assert gate.refused == []
    assert (await gate.ask(shard=1))[0] == 200


async def test_a_token_that_is_refused_here_is_not_tried_from_elsewhere(gate: Gate, elsewhere: Gate) -> None:
    _, permit = await gate.ask()
    gate.clock.seconds += MOUNT_LAG_SECONDS
    await gate.tell(permit.id, PermitOutcome.TOKEN_REFUSED)
    status, problem = await elsewhere.ask(shard=1, namespace="far", gateway="part")
    assert (status, "4004" in problem.error) == (409, True)


async def test_a_shared_gate_that_does_not_know_the_bot_yet_asks_to_come_again(gate: Gate, elsewhere: Gate) -> None:
    gate.clients.put(replace(CLIENT, gate_key=gate_key(TOKEN), application=None))
    status, wait = await elsewhere.ask(namespace="far", gateway="part")
    assert (status, wait.reason) == (429, "Discord has not said yet whose token it is.")


async def test_people_hear_at_once_that_the_budget_holds_permits_back(gate: Gate) -> None:
    now = gate.clock.seconds + 1
    few = Limits(total=1000, remaining=5, reset_at=now + 9e4, max_concurrency=2, read_at=now)
    gate.clients.limits_read("app", few)
    for _ in range(3):
        status, wait = await gate.ask()
        assert (status, wait.held) == (429, HeldBack.BUDGET)
    assert gate.refused == [("default", "bot")], "once, however many pods ask"
    assert gate.clients.held("default", "bot") == {HeldBack.BUDGET}
    gate.clock.seconds += FORGET_SECONDS
    assert gate.clients.held("default", "bot") == frozenset()


async def test_people_hear_that_the_shared_gate_is_away(elsewhere: Gate) -> None:
    part = elsewhere.clients.get("far", "part")
    assert part is not None
    elsewhere.clients.put(replace(part, gate_url="http://127.0.0.1:1"))
    await elsewhere.ask(namespace="far", gateway="part")
    assert elsewhere.refused == [("far", "part")]
    assert elsewhere.clients.held("far", "part") == {HeldBack.AWAY}


async def test_nonsense_is_refused_with_a_sentence(gate: Gate) -> None:
    for path in ("/v1/permits", "/v1/permits/t-1/result"):
        for body in (b"", b"{", b"[]", b'{"shard": "0"}', b"\xff"):
            status, answer = await gate.post(path, body)
            assert status == 400
            assert decode(answer, Problem).error.endswith(".")
        status, _ = await gate.post(path, b" " * (LONGEST_BODY_BYTES + 1))
        assert status == 413


async def test_probes_and_metrics_need_no_token(gate: Gate) -> None:
    for path, expected in (("/livez", "ok\n"), ("/readyz", "ok\n"), ("/metrics", "a_total 2\n")):
        async with gate.http.get(gate.url + path) as answer:
            assert answer.status == 200
            assert (await answer.text()).endswith(expected)


async def test_many_pods_at_once_get_one_permit_a_bucket(gate: Gate) -> None:
    answers = await asyncio.gather(*(gate.ask(shard=shard) for shard in range(40)))
    assert sorted(status for status, _ in answers) == [200] * 2 + [429] * 38


async def test_a_pass_tells_the_gate_whose_gate_to_ask_even_when_the_spec_cannot_be_read(world: World) -> None:
    world.apply(identify={"gateURL": "http://gate.test:8080"})
    plane = world.operator()
    await world.passes(plane.fleet.reconciler, until=lambda: world.condition("Ready")[0] == "True")
    told = plane.clients.get("default", "bot")
    assert told is not None
    assert (told.gate_url, told.gate_key) == ("http://gate.test:8080", gate_key(TOKEN))
    assert told.uid == world.gateway()["metadata"]["uid"]
    world.apply(identify={"gateURL": "http://gate.test:8080"}, intents=["GUILD_MESAGES"])
    await world.passes(plane.fleet.reconciler, seconds=5)
    assert world.condition("Ready")[:2] == ("False", "InvalidSpec")
    assert plane.clients.get("default", "bot") == told
    fresh = world.operator()
    await world.passes(fresh.fleet.reconciler, seconds=2)
    told = fresh.clients.get("default", "bot")
    assert told is not None
    assert told.gate_url == "http://gate.test:8080", "or a new operator would give permits of a gate of its own"


async def test_a_notice_of_a_pod_brings_a_pass(world: World) -> None:
    world.clock.seconds += BEGINNING_SECONDS
    clients = GateClients(clock=world.clock, incarnation="t")
    clients.put(CLIENT)
    woken: list[tuple[str, str]] = []
    routes = NoticeRoutes(
        authenticated=clients.gateway_of, beginning=lambda: clients.beginning, wake=lambda *key: woken.append(key)
    )
    surface = Surface(ready=lambda: True, metrics=list, routes=routes.routes())
    url = f"http://127.0.0.1:{await surface.start('127.0.0.1', 0)}/v1/notices"
    body = encode(Notice(generation=1, pod=0))

    async def post(bearer: str, content: bytes = body) -> int:
        async with http.post(url, data=content, headers={"authorization": f"Bearer {bearer}"}) as answer:
            return answer.status

    async with aiohttp.ClientSession() as http:
        assert await post("unknown") == 503, "it has just begun, and there may be gateways it does not know"
        world.clock.seconds += BEGINNING_SECONDS
        assert [await post("wrong"), await post("the-bearer", b"{"), woken] == [401, 400, []]
        assert await post("the-bearer") == 204
    assert woken == [("default", "bot")]
    await surface.stop()
