"""HTTP over real sockets: reuse, redirects, time-outs, environment."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
from aiohttp import web

from shard_runtime.connection.network import SystemNetwork
from shard_runtime.ports import NetworkError


class Server:
    def __init__(self) -> None:
        self.url = ""
        self.peers: list[object] = []
        self.requests: list[web.Request] = []
        self.bodies: list[bytes] = []

    async def handle(self, request: web.Request) -> web.StreamResponse:
        self.peers.append(request.transport.get_extra_info("peername") if request.transport else None)
        self.requests.append(request)
        self.bodies.append(await request.read())
        match request.path:
            case "/redirect":
                raise web.HTTPFound("/elsewhere")
            case "/slow":
                await asyncio.sleep(30)
            case "/partial":
                response = web.StreamResponse(headers={"Content-Length": "100"})
                await response.prepare(request)
                await response.write(b"half")
                assert request.transport is not None
                request.transport.abort()
                return response
            case "/cookie":
                cookie = web.Response(text="have one")
                cookie.set_cookie("a", "b")
                return cookie
        return web.Response(text="fine", headers={"X-Answer": "42"}, status=201)


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    server = Server()
    application = web.Application()
    application.router.add_route("*", "/{path:.*}", server.handle)
    runner = web.AppRunner(application, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    server.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    yield server
    await runner.cleanup()


@pytest.fixture
async def network() -> AsyncIterator[SystemNetwork]:
    network = SystemNetwork()
    yield network
    await network.close()


async def test_a_request_and_its_answer(server: Server, network: SystemNetwork) -> None:
    answer = await network.request(
        "POST", f"{server.url}/x?y=1", headers={"Authorization": "Bearer t"}, body=b"[1]", timeout=5
    )
    assert (answer.status, answer.body, answer.headers["x-answer"]) == (201, b"fine", "42")
    [request] = server.requests
    assert (request.method, request.path_qs, server.bodies) == ("POST", "/x?y=1", [b"[1]"])
    assert request.headers["Authorization"] == "Bearer t"
    assert request.headers["User-Agent"].startswith("DiscordBot (")


async def test_connections_are_reused_and_cookies_are_not_kept(server: Server, network: SystemNetwork) -> None:
    for path in ("/cookie", "/cookie", "/x"):
        await network.request("GET", server.url + path, headers={}, timeout=5)
    assert len(set(server.peers)) == 1
    assert all("Cookie" not in request.headers for request in server.requests)


async def test_redirects_are_answers(server: Server, network: SystemNetwork) -> None:
    answer = await network.request("POST", f"{server.url}/redirect", headers={}, body=b"x", timeout=5)
    assert answer.status == 302
    assert len(server.requests) == 1


async def test_no_answer_half_an_answer_and_nobody_there_are_one_error(server: Server, network: SystemNetwork) -> None:
    with pytest.raises(NetworkError, match=r"127\.0\.0\.1:\d+: no answer within 0\.2 s"):
        await network.request("GET", f"{server.url}/slow?token=secret", headers={}, timeout=0.2)
    with pytest.raises(NetworkError) as half:
        await network.request("GET", f"{server.url}/partial?token=secret", headers={}, timeout=5)
    with pytest.raises(NetworkError) as nobody:
        await network.request("GET", "http://127.0.0.1:1/?token=secret", headers={}, timeout=5)
    with pytest.raises(NetworkError) as no_url:
        await network.request("GET", "nonsense", headers={}, timeout=5)
    for error in (half, nobody, no_url):
        assert "secret" not in str(error.value)


async def test_proxies_of_the_environment_are_not_used(
    server: Server, network: SystemNetwork, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    assert (await network.request("GET", f"{server.url}/x", headers={}, timeout=5)).status == 201
