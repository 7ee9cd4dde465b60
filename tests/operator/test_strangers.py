"""Every call of the operator but probes and metrics needs a gateway's token: whatever calls there are."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Final

import aiohttp
import pytest
from gateway_operator import logs
from gateway_operator.__main__ import surface_of
from gateway_operator.http_client import AiohttpClient
from gateway_operator.identify.clients import BEGINNING_SECONDS, GateClient
from gateway_operator.identify.relay import Relay
from gateway_operator.identify.shared import gate_key
from gateway_operator.local.control import ControlRoutes
from gateway_operator.local.patching import PATH
from gateway_operator.local.run import surface_of as local_surface_of
from gateway_operator.web.surface import OPEN, Surface

from shard_runtime.contract import Checkpoint, PermitOutcome, PermitRequest, PermitResult, encode

if TYPE_CHECKING:
    from conftest import World

RIGHT: Final = "the-right-bearer"
CONTROL: Final = "the-control-token"
BODIES: Final = (
    b"",
    b"{}",
    b"nonsense",
    encode(PermitRequest(namespace="default", gateway="bot", generation=1, shard=0, pod_uid="pod")),
    encode(PermitResult(outcome=PermitOutcome.READY, sent_milliseconds_ago=0)),
    encode(Checkpoint(generation=1, count=1, pod=0, pod_uid="pod", made_at=0, sessions=[])),
)
WRONG: Final[tuple[dict[str, str], ...]] = (
    {},
    {"authorization": "Bearer another"},
    {"authorization": "Bearer "},
    {"authorization": RIGHT},
    {"authorization": f"Basic {RIGHT}"},
    {"authorization": f"Bearer {RIGHT}x"},
    {"authorization": f"Bearer {RIGHT[:-1]}"},
    {"authorization": "Bot token-1"},
)


@pytest.fixture(params=["cluster", "local"])
async def operator(world: World, request: pytest.FixtureRequest) -> AsyncIterator[tuple[Surface, str]]:
    """The whole surface of an operator that leads, past its beginning, and knows one gateway; or of ``dgw local``."""
    plane = world.operator()
    plane.begin(incarnation="t")
    world.clock.seconds += BEGINNING_SECONDS + 1
    plane.clients.put(
        GateClient(
            namespace="default",
            gateway="bot",
            bearer=RIGHT,
            bot_token="token-1",
            application="app",
            active=1,
            target=None,
            reserve=0,
            gate_key=gate_key("token-1"),
        )
    )
    async with AiohttpClient() as http:
        relay = Relay(http=http, leading=lambda: True, leader_address=lambda: None)
        control = ControlRoutes(store=world.store, token=CONTROL, on_patched=lambda _: None)
        surface = (
            surface_of(plane, relay, ready=lambda: True)
            if request.param == "cluster"
            else local_surface_of(plane, control)
        )
        port = await surface.start("127.0.0.1", 0)
        yield surface, f"http://127.0.0.1:{port}"
        await surface.stop()


async def test_every_call_without_the_right_token_is_refused(operator: tuple[Surface, str]) -> None:
    surface, url = operator
    guarded = [(method, path) for method, path in surface.routes if path not in OPEN]
    assert len(guarded) >= 4
    async with aiohttp.ClientSession() as session:
        for method, path in guarded:
            for headers in WRONG:
                for body in BODIES:
                    async with session.request(method, url + path, data=body, headers=headers) as answer:
                        assert answer.status == 401, (method, path, headers, body)
                        assert RIGHT not in await answer.text()
            # other operators show that they have the bot's own token
            token = gate_key("token-1") if path.startswith("/v1/gate/") else CONTROL if path == PATH else RIGHT
            async with session.request(method, url + path, headers={"authorization": f"Bearer {token}"}) as answer:
                assert answer.status != 401, "the right one gets further"


async def test_what_is_open_takes_only_get(operator: tuple[Surface, str]) -> None:
    surface, url = operator
    assert {path for _, path in surface.routes} > OPEN
    async with aiohttp.ClientSession() as session:
        for path in sorted(OPEN):
            async with session.post(url + path, data=b"{}") as answer:
                assert answer.status == 405
            async with session.get(url + path) as answer:
                assert answer.status == 200
                assert RIGHT not in await answer.text()


async def test_a_token_in_a_broken_request_does_not_get_into_the_log(
    operator: tuple[Surface, str], caplog: pytest.LogCaptureFixture
) -> None:
    _, url = operator
    reader, writer = await asyncio.open_connection("127.0.0.1", int(url.rpartition(":")[2]))
    with caplog.at_level(logging.DEBUG):
        writer.write(f"GET /v1/permits HTTP/1.1\r\nhost: a\r\nauthorization: Bearer {RIGHT}\x00\r\n\r\n".encode())
        assert (await reader.read()).split(b" ")[1] == b"400"
        writer.close()
    assert RIGHT not in caplog.text


BEARER: Final = "kJ8_sdf-3JKLsdf98sdfjkl2KJLsdf8sdfjkl-sdf98"
BOT: Final = "MTIzNDU2Nzg5MDEyMzQ1Njc4.GabcDe.abcdefghijklmnopqrstuvwxyz0123456789AB"


@pytest.mark.parametrize(
    ("line", "clean"),
    [
        (f"header Bearer {BEARER} refused", "header Bearer [redacted] refused"),
        (f"{{'authorization': 'Bot {BOT}'}}", "{'authorization': 'Bot [redacted]'}"),
        (f"url https://x/{BOT}/y", "url https://x/[redacted]/y"),
    ],
)
def test_the_log_knows_tokens_by_their_looks(line: str, clean: str) -> None:
    assert logs.redacted(line) == clean


@pytest.mark.parametrize(
    "line",
    [
        "Bot my-bot: the pass failed",
        "http://gateways-operator.discord-gateway-system.svc:8080",
        "my-bot-g1-0.my-bot-pods.default.svc.cluster.local is a pod",
        "the bearer token is missing",
    ],
)
def test_what_is_no_token_stays_in_the_log(line: str) -> None:
    assert logs.redacted(line) == line
