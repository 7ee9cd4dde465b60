"""Who may vouch for the receiver: a self-made authority, over real sockets."""

from __future__ import annotations

import asyncio
import random
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from aiohttp import web

from shard_runtime.connection.clock import SystemClock
from shard_runtime.connection.network import SystemNetwork
from shard_runtime.contract import ForwardConfig
from shard_runtime.delivery import Delivery, Origin
from shard_runtime.ports import NetworkError

CERTIFICATES = Path(__file__).parent / "certificates"
"""Made by ``make.sh`` there: *authority* signed *receiver* (for loopback) and *elsewhere*; *stranger* signed none."""


def pem(name: str) -> str:
    return (CERTIFICATES / f"{name}.pem").read_text()


@dataclass
class Bot:
    url: str
    bodies: list[bytes] = field(default_factory=list)
    connections: set[object] = field(default_factory=set)


@asynccontextmanager
async def receiver(certificate: str) -> AsyncIterator[Bot]:
    async def take(request: web.Request) -> web.Response:
        assert request.transport is not None
        bot.connections.add(request.transport.get_extra_info("peername"))
        bot.bodies.append(await request.read())
        return web.Response(status=204)

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(CERTIFICATES / f"{certificate}.pem", CERTIFICATES / f"{certificate}.key")
    application = web.Application()
    application.router.add_post("/events", take)
    runner = web.AppRunner(application, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context).start()
    bot = Bot(f"https://127.0.0.1:{runner.addresses[0][1]}/events")
    try:
        yield bot
    finally:
        await runner.cleanup()


@pytest.fixture
async def network() -> AsyncIterator[SystemNetwork]:
    made = SystemNetwork()
    yield made
    await made.close()


async def post(network: SystemNetwork, bot: Bot, authorities: str | None) -> int:
    answer = await network.request("POST", bot.url, headers={}, body=b"[]", timeout=5, authorities=authorities)
    return answer.status


async def test_only_the_given_authorities_are_believed(network: SystemNetwork) -> None:
    async with receiver("receiver") as bot:
        for wrong in (None, pem("stranger")):
            with pytest.raises(NetworkError, match="its certificate is not accepted: unable to get local issuer"):
                await post(network, bot, wrong)
        assert await post(network, bot, pem("authority")) == 204
        assert await post(network, bot, pem("stranger") + pem("authority")) == 204
        assert len(bot.bodies) == 2, "nothing was sent to a server that was not believed"


async def test_a_certificate_for_another_host_is_refused(network: SystemNetwork) -> None:
    async with receiver("elsewhere") as bot:
        with pytest.raises(NetworkError, match="its certificate is not accepted: IP address mismatch"):
            await post(network, bot, pem("authority"))
        assert not bot.bodies


async def test_a_kept_connection_serves_only_those_who_believe_the_same(network: SystemNetwork) -> None:
    async with receiver("receiver") as bot:
        for _ in range(3):
            assert await post(network, bot, pem("authority")) == 204
        assert len(bot.connections) == 1, "it is kept"
        with pytest.raises(NetworkError, match="not accepted"):
            await post(network, bot, pem("stranger"))
        assert await post(network, bot, pem("authority")) == 204
        assert len(bot.connections) == 1


async def test_an_unusable_bundle_is_an_error_with_a_sentence(network: SystemNetwork) -> None:
    async with receiver("receiver") as bot:
        with pytest.raises(NetworkError):
            await post(network, bot, "no certificate")


async def until(true: Callable[[], bool]) -> None:
    for _ in range(1000):
        if true():
            return
        await asyncio.sleep(0.01)
    raise AssertionError("not within 10 s")


async def test_events_wait_for_the_right_authority_and_are_delivered_once_it_is_given(network: SystemNetwork) -> None:
    async with receiver("receiver") as bot:
        logged: list[str] = []
        delivery = Delivery(
            origin=Origin(gateway="bot", generation=1, shards=1),
            forward=ForwardConfig(url=bot.url, ca_bundle=pem("stranger")),
            network=network,
            clock=SystemClock(),
            chance=random.Random(1),
            log=lambda level, sentence: logged.append(sentence),
        )
        running = asyncio.create_task(delivery.run())
        try:
            delivery.session_started("s", 1)
            delivery.accept(0, "s", 1, "READY", b'{"op":0,"s":1,"t":"READY","d":{}}')
            await until(lambda: not delivery.receiver.reachable)
            assert "its certificate is not accepted" in str(delivery.receiver.problem)
            assert not bot.bodies and delivery.watermark("s") == 0
            delivery.reconfigure(ForwardConfig(url=bot.url, ca_bundle=pem("authority")))
            assert await delivery.drain(10)
            assert len(bot.bodies) == 1 and delivery.watermark("s") == 1
            assert delivery.receiver.reachable
        finally:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)
