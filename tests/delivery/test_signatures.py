"""Requests are signed as Standard Webhooks says: verified with the library that receivers use."""

from __future__ import annotations

import asyncio
import base64
from datetime import UTC, datetime

import pytest
from standardwebhooks import Webhook
from standardwebhooks.webhooks import WebhookVerificationError

from shard_runtime.ports import Response
from shard_runtime.signatures import Signer, SigningSecretError
from tests.delivery.receiver import Bench, Request, acknowledge, forward, status
from tests.virtual.loop import run_virtual

FIRST = "whsec_" + base64.b64encode(bytes(range(32))).decode()
SECOND = "whsec_" + base64.b64encode(bytes(range(100, 140))).decode().rstrip("=")


def signed_again(request: Request, secret: str) -> str:
    """What the published library makes of the request; its own check of the age needs the real clock."""
    moment = datetime.fromtimestamp(int(request.headers["webhook-timestamp"]), UTC)
    return Webhook(secret).sign(request.headers["webhook-id"], moment, request.body.decode())


def test_the_published_library_verifies_a_request() -> None:
    body = '[{"shard":0,"payload":{"d":"ж"}}]'.encode()
    headers = dict(Signer(FIRST).headers(id="session:1", seconds=int(datetime.now(UTC).timestamp()), body=body))
    assert Webhook(FIRST).verify(body, headers) == [{"shard": 0, "payload": {"d": "ж"}}]
    with pytest.raises(WebhookVerificationError):
        Webhook(FIRST).verify(body + b" ", headers)
    with pytest.raises(WebhookVerificationError):
        Webhook(FIRST).verify(body, {**headers, "webhook-id": "session:2"})


def test_while_a_secret_is_replaced_both_sign() -> None:
    signer = Signer(f"{FIRST}\n{SECOND}\n")
    headers = dict(signer.headers(id="a:1", seconds=int(datetime.now(UTC).timestamp()), body=b"{}"))
    for secret in (FIRST, SECOND):
        assert Webhook(secret).verify(b"{}", headers) == {}
    with pytest.raises(WebhookVerificationError):
        Webhook("whsec_" + base64.b64encode(bytes(32)).decode()).verify(b"{}", headers)


@pytest.mark.parametrize(
    ("secret", "sentence"),
    [
        ("", "is empty"),
        ("whsec_!!!!", "is not base64"),
        ("whsec_" + base64.b64encode(bytes(8)).decode(), "a key of 8 bytes, it must have 24 to 64"),
        ("whsk_" + base64.b64encode(bytes(32)).decode(), "asymmetric"),
        (" ".join([FIRST] * 9), "9 secrets"),
    ],
)
def test_what_is_no_secret_is_refused_without_being_shown(secret: str, sentence: str) -> None:
    with pytest.raises(SigningSecretError, match=sentence) as refused:
        Signer(secret)
    assert not secret or secret not in str(refused.value)
    assert FIRST not in repr(Signer(FIRST))


def test_every_try_is_signed_with_its_own_time_and_the_same_id_and_body() -> None:
    async def story() -> None:
        bench = Bench(forward(lanes=1))
        bench.delivery.sign_with(Signer(FIRST))

        async def fails(_: Request) -> Response:
            return status(500)

        bench.receiver.answer = fails
        for _ in range(3):
            bench.accept()
        bench.start()
        await asyncio.sleep(400)
        bench.delivery.sign_with(Signer(SECOND))
        await asyncio.sleep(10)
        bench.receiver.answer = acknowledge
        assert await bench.delivery.drain(10)
        tries = bench.receiver.requests
        assert len({request.headers["webhook-id"] for request in tries}) == 1
        assert len({request.body for request in tries}) == 1
        times = [int(request.headers["webhook-timestamp"]) for request in tries]
        assert times == sorted(times)
        assert times[-1] - times[0] >= 300, "a receiver refuses a signature that is five minutes old"
        assert tries[0].headers["webhook-signature"] == signed_again(tries[0], FIRST)
        assert tries[-1].headers["webhook-signature"] == signed_again(tries[-1], SECOND)

    run_virtual(story())


def test_another_selection_of_events_has_another_id() -> None:
    """A receiver drops what has an id that it knows: after a restart other events may follow the same first one."""

    async def ids(*order: int) -> str:
        bench = Bench(forward(lanes=1))
        bench.delivery.sign_with(Signer(FIRST))
        for shard in order:
            bench.accept(shard)
        bench.start()
        assert await bench.delivery.drain(1)
        (request,) = bench.receiver.requests
        return request.headers["webhook-id"]

    async def story() -> None:
        assert await ids(0, 0, 1) == await ids(0, 0, 1)
        assert await ids(0, 0, 1) != await ids(0, 0, 2)
        assert await ids(0, 0, 1) != await ids(0, 0)

    run_virtual(story())


def test_without_a_secret_nothing_is_signed() -> None:
    async def story() -> None:
        bench = Bench(forward(lanes=1))
        bench.accept()
        bench.start()
        assert await bench.delivery.drain(1)
        assert not [name for name in bench.receiver.requests[0].headers if name.lower().startswith("webhook")]

    run_virtual(story())
