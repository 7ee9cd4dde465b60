"""The pod's HTTP surface over real sockets: leave, limits, broken requests, and the calls themselves."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from runtime.served import BOT, OPERATOR, Served, record, serving, status_of

from shard_runtime import contract


@pytest_asyncio.fixture
async def served() -> AsyncIterator[Served]:
    async with serving() as found:
        yield found


async def test_probes_and_metrics_need_no_token(served: Served) -> None:
    assert (await served.call("GET", "/livez", token=None))[0] == 200
    assert (await served.call("GET", "/readyz", token=None))[0] == 503
    status, text = await served.call("GET", "/metrics", token=None)
    assert status == 200
    assert b'discord_gateway_events_accepted_total{gateway="bot",generation="1"} 7\n' in text
    assert b'discord_gateway_queue_events{gateway="bot",generation="1"} 3\n' in text


async def test_readiness_stays_after_the_first_time_all_shards_are_ready(served: Served) -> None:
    served.worker.state = contract.ShardState.READY
    assert (await served.call("GET", "/readyz", token=None))[0] == 200
    served.worker.state = contract.ShardState.RESUMING
    assert (await served.call("GET", "/readyz", token=None))[0] == 200


@pytest.mark.parametrize("token", [None, "", "wrong", OPERATOR + "x", OPERATOR[:-1]])
@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/v1/status"),
        ("GET", "/v1/record"),
        ("PUT", "/v1/record"),
        ("PUT", "/v1/forward"),
        ("POST", "/v1/handover/window"),
        ("POST", "/v1/handover/seal"),
        ("GET", "/nothing"),
    ],
)
async def test_calls_without_the_token_are_refused(served: Served, method: str, path: str, token: str | None) -> None:
    status, body = await served.call(method, path, b"{}", token=token)
    assert status == 401
    assert "bearer token" in contract.decode(body, contract.Problem).error


async def test_the_bots_token_reaches_the_status_only(served: Served) -> None:
    assert (await served.call("GET", "/v1/status", token=BOT))[0] == 200
    assert (await served.call("GET", "/v1/record", token=BOT))[0] == 401
    assert (await served.call("POST", "/v1/handover/seal", b"{}", token=BOT))[0] == 401
    assert served.pod.role is contract.Role.STANDBY


async def test_a_record_is_followed_and_an_older_one_refused_with_the_current(served: Served) -> None:
    assert (await served.call("GET", "/v1/record"))[0] == 404
    status, _ = await served.call("PUT", "/v1/record", contract.encode(record(2)))
    assert status == 200
    assert served.pod.role is contract.Role.ACTIVE
    assert served.worker.roles[-1] is contract.Role.ACTIVE

    status, body = await served.call("PUT", "/v1/record", contract.encode(record(1, active=None)))
    assert status == 409
    assert contract.decode(body, contract.Record) == record(2)
    assert contract.decode(body, contract.Problem).error
    status, body = await served.call("PUT", "/v1/record", contract.encode(record(2)))
    assert status == 200, "repeating the same record is harmless"
    status, body = await served.call("GET", "/v1/record")
    assert contract.decode(body, contract.Record) == record(2)


@pytest.mark.parametrize(
    ("method", "path", "body", "expected"),
    [
        ("PUT", "/v1/record", b"{", 400),
        ("PUT", "/v1/record", b'{"epoch": "one", "active": 1, "target": null}', 400),
        ("PUT", "/v1/record", b'"\xff"', 400),
        ("PUT", "/v1/forward", b"{}", 400),
        ("POST", "/v1/status", b"", 405),
        ("DELETE", "/v1/record", b"", 405),
        ("GET", "/v1/nothing", b"", 404),
    ],
)
async def test_what_is_not_understood_is_refused_with_a_sentence(
    served: Served, method: str, path: str, body: bytes, expected: int
) -> None:
    status, answer = await served.call(method, path, body)
    assert status == expected
    assert contract.decode(answer, contract.Problem).error.endswith(".")


async def test_a_seal_by_an_older_generation_is_refused(served: Served) -> None:
    request = contract.HandoverRequest(generation=1, count=1, shards=[0])
    status, _ = await served.call("POST", "/v1/handover/seal", contract.encode(request))
    assert status == 409
    assert served.pod.role is contract.Role.STANDBY


@pytest.mark.parametrize("length", ["content-length: 4097", "transfer-encoding: chunked"])
async def test_a_body_past_the_limit_is_refused_and_the_connection_ends(served: Served, length: str) -> None:
    head = f"PUT /v1/record HTTP/1.1\r\nhost: pod\r\nauthorization: Bearer {OPERATOR}\r\n{length}\r\n\r\n"
    chunk = b"1001\r\n" + b"x" * 4097 + b"\r\n0\r\n\r\n"
    answer = await served.raw(head.encode() + (chunk if "chunked" in length else b""))
    assert status_of(answer) == 413
    assert b"connection: close" in answer.lower()


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"nonsense\r\n\r\n", 400),
        (b"GET /livez HTTP/1.1\r\nhost: a\r\nx: " + b"y" * 100_000 + b"\r\n\r\n", 431),
        (b"GET /livez HTTP/1.1\r\n\r\n", 400),
        (b"PUT /v1/record HTTP/1.1\r\nhost: a\r\ncontent-length: -1\r\n\r\n", 400),
        (b"PUT /v1/record HTTP/1.1\r\nhost: a\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\n", 400),
        (b"GET /livez HTTP/1.1\r\nhost: a\r\ncontent-length: 3\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n", 400),
    ],
    ids=["no-http", "large-head", "no-host", "negative-length", "two-lengths", "length-and-chunks"],
)
async def test_malformed_requests_are_refused(served: Served, data: bytes, expected: int) -> None:
    answer = await served.raw(data)
    assert status_of(answer) == expected
    assert answer.count(b"content-length: ") == 1, "what follows a broken request must not be read as another"
    assert (await served.call("GET", "/livez", token=None))[0] == 200


async def test_a_refused_request_with_a_body_does_not_smuggle_a_second_one(served: Served) -> None:
    inner = f"PUT /v1/record HTTP/1.1\r\nhost: a\r\nauthorization: Bearer {OPERATOR}\r\ncontent-length: 0\r\n\r\n"
    head = f"PUT /v1/record HTTP/1.1\r\nhost: a\r\ncontent-length: {len(inner)}\r\n\r\n"
    answer = await served.raw((head + inner).encode())
    assert status_of(answer) == 401
    assert answer.count(b"content-length: ") == 1


async def test_a_client_that_stops_in_the_middle_is_cut_off(served: Served) -> None:
    head = b"PUT /v1/record HTTP/1.1\r\nhost: a\r\nauthorization: Bearer operator-secret\r\ncontent-length: 10\r\n\r\n"
    assert status_of(await served.raw(head + b"12345")) == 408
    assert status_of(await served.raw(b"GET /livez HT")) == 408


async def test_a_client_that_leaves_in_the_middle_harms_nobody(served: Served) -> None:
    await served.raw(b"PUT /v1/record HTTP/1.1\r\nhost: a\r\ncontent-le", half_close=True)
    assert (await served.call("GET", "/livez", token=None))[0] == 200


async def test_a_connection_carries_one_request_after_the_other(served: Served) -> None:
    one = b"GET /livez HTTP/1.1\r\nhost: a\r\n\r\n"
    last = b"GET /livez HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n"
    answer = await served.raw(one + one + last)
    assert answer.count(b"HTTP/1.1 200") == 3


async def test_expect_continue_is_answered(served: Served) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", served.port)
    body = contract.encode(record(5))
    writer.write(
        b"PUT /v1/record HTTP/1.1\r\nhost: a\r\nauthorization: Bearer operator-secret\r\nexpect: 100-continue\r\n"
        b"connection: close\r\ncontent-length: %d\r\n\r\n" % len(body)
    )
    assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 100")
    writer.write(body)
    assert status_of(await reader.read()) == 200
    writer.close()


async def test_the_status_is_merged_from_the_workers(served: Served) -> None:
    _, body = await served.call("GET", "/v1/status")
    status = contract.decode(body, contract.PodStatus)
    assert (status.pod_uid, status.role, status.queued, status.counters) == (
        "uid-1",
        contract.Role.STANDBY,
        3,
        {"accepted": 7},
    )
    served.pod.detach(0)
    _, body = await served.call("GET", "/v1/status")
    status = contract.decode(body, contract.PodStatus)
    assert status.shards[0].state is contract.ShardState.CONNECTING
    assert json.loads(body)["shards"][0]["problem"]
