"""Where a connection goes."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

import pytest

from shard_runtime.connection.address import GatewayAddress
from shard_runtime.ports import FrameListener, NetworkError, Response, WebSocket


class OneAnswer:
    """A network that answers every request alike."""

    def __init__(self, status: int, body: bytes) -> None:
        self.answer = Response(status=status, headers={}, body=body)
        self.urls: list[str] = []

    async def connect(self, url: str, listener: FrameListener, *, timeout: float) -> WebSocket:
        raise NotImplementedError

    async def request(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str],
        body: bytes = b"",
        timeout: float,
        authorities: str | None = None,
    ) -> Response:
        self.urls.append(url)
        await asyncio.sleep(0)
        return self.answer


async def test_discord_is_asked_once_by_all_and_again_after_a_failure() -> None:
    network = OneAnswer(200, b'{"url":"wss://gateway.discord.gg/","new":1}')
    address = GatewayAddress(network=network, api_url="https://discord.com/api/v10/", gateway_url=None)
    assert set(await asyncio.gather(*(address.url() for _ in range(50)))) == {"wss://gateway.discord.gg/"}
    assert network.urls == ["https://discord.com/api/v10/gateway"]
    address.doubt()
    network.answer = Response(status=200, headers={}, body=b'{"url":"wss://other.discord.gg/"}')
    assert await address.url() == await address.url() == "wss://other.discord.gg/"
    assert len(network.urls) == 2


async def test_while_the_api_is_away_the_known_url_has_to_do() -> None:
    network = OneAnswer(200, b'{"url":"wss://gateway.discord.gg/"}')
    address = GatewayAddress(network=network, api_url="https://discord.com/api/v10", gateway_url=None)
    await address.url()
    network.answer = Response(status=500, headers={}, body=b"")
    for asked in (2, 3):
        address.doubt()
        assert await address.url() == "wss://gateway.discord.gg/"
        assert len(network.urls) == asked


async def test_a_given_url_is_used_without_asking() -> None:
    network = OneAnswer(500, b"")
    address = GatewayAddress(network=network, api_url="https://x/api/v10", gateway_url="ws://127.0.0.1:9")
    assert await address.url() == "ws://127.0.0.1:9"
    assert network.urls == []


@pytest.mark.parametrize(
    ("status", "body"), [(401, b"{}"), (500, b""), (200, b"<html>"), (200, b"{}"), (200, b'{"url":"\xff"}')]
)
async def test_an_answer_that_is_none_is_an_error_that_names_the_host(status: int, body: bytes) -> None:
    address = GatewayAddress(network=OneAnswer(status, body), api_url="https://api.test/v10", gateway_url=None)
    with pytest.raises(NetworkError, match=r"api\.test"):
        await address.url()


@pytest.mark.parametrize(
    ("api", "base", "compression", "expected"),
    [
        ("https://d/api/v10", "wss://g.gg/", "zstd-stream", "wss://g.gg/?v=10&encoding=json&compress=zstd-stream"),
        ("https://d/api/v10", "wss://g.gg", "none", "wss://g.gg/?v=10&encoding=json"),
        ("https://d/api/v9/", "wss://g.gg", "none", "wss://g.gg/?v=9&encoding=json"),
        ("https://d/api", "wss://g.gg", "none", "wss://g.gg/?v=10&encoding=json"),
        ("https://d/api/v10", "ws://h:1/p?x=1&v=8", "none", "ws://h:1/p?x=1&v=10&encoding=json"),
    ],
)
def test_every_connection_carries_the_same_query(api: str, base: str, compression: str, expected: str) -> None:
    address = GatewayAddress(network=OneAnswer(200, b""), api_url=api, gateway_url=None)
    assert address.connection_url(base, compression=compression) == expected
