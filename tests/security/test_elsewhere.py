"""Nobody who answers a request of ours decides where the next one goes, and a signature is not good for ever."""

from __future__ import annotations

import base64
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Final

import pytest
import pytest_asyncio
from aiohttp import web
from gateway_operator.http_client import AiohttpClient
from standardwebhooks import Webhook
from standardwebhooks.webhooks import WebhookVerificationError

from shard_runtime.connection.network import SystemNetwork
from shard_runtime.signatures import Signer

REDIRECTS: Final = (301, 302, 303, 307, 308)
SECRET: Final = "whsec_" + base64.b64encode(bytes(range(32))).decode()
WINDOW_SECONDS: Final = 300
"""Of the published library, and what docs/receiver.md tells others to keep to."""


@dataclass
class Elsewhere:
    """Where a redirect leads, and who redirects there."""

    redirecting: str = ""
    asked: list[tuple[str, dict[str, str]]] = field(default_factory=list)
    redirected: int = 0


@pytest_asyncio.fixture
async def elsewhere() -> AsyncIterator[Elsewhere]:
    found = Elsewhere()

    async def take(request: web.Request) -> web.Response:
        found.asked.append((request.path, dict(request.headers)))
        return web.Response(text="thank you")

    async def redirect(request: web.Request) -> web.Response:
        found.redirected += 1
        return web.Response(status=int(request.match_info["status"]), headers={"location": f"{there}/stolen"})

    runners = []
    urls = []
    for handler, path in ((take, "/stolen"), (redirect, "/{status}")):
        app = web.Application()
        app.router.add_route("*", path, handler)
        runner = web.AppRunner(app)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        runners.append(runner)
        urls.append(f"http://127.0.0.1:{runner.addresses[0][1]}")
        there = urls[0]
    found.redirecting = urls[1]
    yield found
    for runner in runners:
        await runner.cleanup()


@pytest.mark.parametrize("status", REDIRECTS)
@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_a_pod_follows_no_redirect(elsewhere: Elsewhere, status: int, method: str) -> None:
    """Neither a receiver's, with events, nor the operator's or a sibling's, with a bearer token."""
    network = SystemNetwork()
    try:
        answer = await network.request(
            method, f"{elsewhere.redirecting}/{status}", headers={"authorization": "Bearer x"}, body=b"[]", timeout=5
        )
    finally:
        await network.close()
    assert answer.status == status
    assert (elsewhere.redirected, elsewhere.asked) == (1, [])


@pytest.mark.parametrize("status", REDIRECTS)
@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_the_operator_follows_no_redirect(elsewhere: Elsewhere, status: int, method: str) -> None:
    """Neither Discord's, with the bot's token, nor a pod's, with its bearer token."""
    async with AiohttpClient() as http:
        answer = await http.request(
            method, f"{elsewhere.redirecting}/{status}", headers={"authorization": "Bot x"}, body=b"", timeout=5
        )
    assert answer.status == status
    assert (elsewhere.redirected, elsewhere.asked) == (1, [])


def signed(at: datetime, *, id: str = "session:1", body: bytes = b"[]") -> dict[str, str]:
    return dict(Signer(SECRET).headers(id=id, seconds=int(at.timestamp()), body=body))


@pytest.mark.parametrize("age", [-WINDOW_SECONDS + 30, 0, WINDOW_SECONDS - 30])
def test_a_signature_is_good_within_the_window(age: int) -> None:
    assert Webhook(SECRET).verify(b"[]", signed(datetime.now(UTC) - timedelta(seconds=age))) == []


@pytest.mark.parametrize("age", [-WINDOW_SECONDS - 30, WINDOW_SECONDS + 30, 86_400])
def test_a_recorded_request_is_refused_once_the_window_is_over(age: int) -> None:
    with pytest.raises(WebhookVerificationError, match="timestamp"):
        Webhook(SECRET).verify(b"[]", signed(datetime.now(UTC) - timedelta(seconds=age)))


def test_a_recorded_request_cannot_be_made_younger() -> None:
    recorded = signed(datetime.now(UTC) - timedelta(days=1))
    younger = {**recorded, "webhook-timestamp": str(int(datetime.now(UTC).timestamp()))}
    with pytest.raises(WebhookVerificationError, match="signature"):
        Webhook(SECRET).verify(b"[]", younger)


def test_within_the_window_the_id_tells_a_replay_from_a_new_batch() -> None:
    """A replay has the id of what was acknowledged; the id is signed, so it cannot be made another."""
    recorded = signed(datetime.now(UTC))
    assert recorded["webhook-id"] == "session:1"
    with pytest.raises(WebhookVerificationError, match="signature"):
        Webhook(SECRET).verify(b"[]", {**recorded, "webhook-id": "session:2"})
