"""Requests that two programs could read differently, or that never end, are refused by pod and operator alike.

Over raw sockets, with the right token: what is refused is the request, not the caller. After a refusal the connection
ends, so what follows in it is never read as another request.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Final

import pytest
import pytest_asyncio
from aiohttp import web
from gateway_operator.web.surface import Surface
from runtime.served import OPERATOR, serving

from shard_runtime import contract
from shard_runtime.admin.heads import flaw

INNER: Final = b"GET /metrics HTTP/1.1\r\nhost: smuggled\r\n\r\n"
STATUS: Final = re.compile(rb"HTTP/1\.[01] (\d{3}) [^\r\n]*\r\n[a-z-]+:", re.IGNORECASE)


@dataclass
class Target:
    """A surface with one call that takes a body."""

    name: str
    port: int
    call: bytes
    """Method and path of it."""
    bodies: list[bytes] = field(default_factory=list)
    """Bodies that came through."""
    largest_body: int = 0

    async def send(self, data: bytes, *, first: bool = False) -> tuple[list[int], bool]:
        """Statuses of all answers (or of the *first*), and whether the connection was ended by the other side."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        received, ended = b"", False
        try:
            async with asyncio.timeout(10):
                writer.write(data)
                while not (first and STATUS.search(received)) and (piece := await reader.read(65536)):
                    received += piece
                ended = not (first and STATUS.search(received))
        except TimeoutError:
            pass
        except ConnectionError:
            ended = True
        finally:
            writer.transport.abort()
        return [int(status) for status in STATUS.findall(received)], ended

    def request(self, headers: bytes, body: bytes = b"") -> bytes:
        token = f"authorization: Bearer {OPERATOR}\r\n".encode()
        return self.call + b" HTTP/1.1\r\nhost: a\r\n" + token + headers + b"\r\n" + body


@pytest_asyncio.fixture(params=["pod", "operator"])
async def target(request: pytest.FixtureRequest) -> AsyncIterator[Target]:
    if request.param == "pod":
        async with serving() as served:
            yield Target("pod", served.port, b"PUT /v1/forward", largest_body=4096)
            assert served.pod.record is None
        return
    bodies: list[bytes] = []

    async def take(call: web.Request) -> web.Response:
        bodies.append(await call.read())
        return web.Response(status=204)

    surface = Surface(ready=lambda: True, metrics=list, routes=[web.post("/v1/permits", take)])
    port = await surface.start("127.0.0.1", 0)
    yield Target("operator", port, b"POST /v1/permits", bodies, largest_body=256 << 10)
    await surface.stop()


def chunked(*chunks: bytes) -> bytes:
    return b"".join(b"%x\r\n%b\r\n" % (len(chunk), chunk) for chunk in chunks) + b"0\r\n\r\n"


TE: Final = b"transfer-encoding: chunked\r\n"
SMUGGLED: Final[dict[str, tuple[bytes, bytes]]] = {
    # headers, body
    "length-then-chunks": (b"content-length: 5\r\n" + TE, b"0\r\n\r\n" + INNER),
    "chunks-then-length": (TE + b"content-length: 5\r\n", b"0\r\n\r\n" + INNER),
    "two-lengths": (b"content-length: 2\r\ncontent-length: %d\r\n" % (2 + len(INNER)), b"{}" + INNER),
    "the-same-length-twice": (b"content-length: 2\r\ncontent-length: 2\r\n", b"{}" + INNER),
    "a-list-of-lengths": (b"content-length: 2, 2\r\n", b"{}" + INNER),
    "a-signed-length": (b"content-length: +2\r\n", b"{}" + INNER),
    "a-negative-length": (b"content-length: -2\r\n", b"{}" + INNER),
    "a-length-with-underscore": (b"content-length: 1_0\r\n", b"{}" + INNER),
    "a-hexadecimal-length": (b"content-length: 0x2\r\n", b"{}" + INNER),
    "an-empty-length": (b"content-length: \r\n", b"{}" + INNER),
    "space-before-the-colon": (b"transfer-encoding : chunked\r\n", b"0\r\n\r\n" + INNER),
    "space-before-the-name": (b" transfer-encoding: chunked\r\n", b"0\r\n\r\n" + INNER),
    "another-encoding": (b"transfer-encoding: xchunked\r\n", b"0\r\n\r\n" + INNER),
    "two-encodings": (b"transfer-encoding: chunked, identity\r\n", b"0\r\n\r\n" + INNER),
    "the-encoding-twice": (TE + TE, b"0\r\n\r\n" + INNER),
    "folded-header": (b"x: y\r\n z\r\ncontent-length: 2\r\n", b"{}" + INNER),
    "folded-encoding": (b"transfer-encoding:\r\n chunked\r\n", b"0\r\n\r\n" + INNER),
    "folded-length": (b"content-length:\r\n\t2\r\n", b"{}" + INNER),
    "bare-lf": (b"x: y\ncontent-length: 2\r\n", b"{}" + INNER),
    "bare-lf-ends-the-head": (b"content-length: 2\r\n\n", b"{}" + INNER),
    "bare-cr": (b"x: y\rtransfer-encoding: chunked\r\ncontent-length: 2\r\n", b"{}" + INNER),
    "nul": (b"x: a\0b\r\ncontent-length: 2\r\n", b"{}" + INNER),
    "chunk-size-ends-with-lf": (TE, b"2\n{}\n0\n\n" + INNER),
    "chunk-longer-than-said": (TE, b"2\r\n{}XX0\r\n\r\n" + INNER),
    "chunk-size-with-prefix": (TE, b"0x2\r\n{}\r\n0\r\n\r\n" + INNER),
    "chunk-size-past-all-bounds": (TE, b"fffffffffffffffffffff\r\n{}\r\n0\r\n\r\n" + INNER),
    "two-hosts": (b"host: b\r\ncontent-length: 2\r\n", b"{}" + INNER),
}


@pytest.mark.parametrize("name", SMUGGLED)
async def test_what_two_programs_could_read_differently_is_refused(target: Target, name: str) -> None:
    headers, body = SMUGGLED[name]
    statuses, ended = await target.send(target.request(headers, body))
    assert len(statuses) == 1, "the smuggled request is not answered"
    assert statuses[0] in (400, 501)
    assert ended
    assert not target.bodies


async def test_the_same_request_without_the_trick_is_taken(target: Target) -> None:
    """So the refusals above are about the trick."""
    body = contract.encode(contract.ForwardConfig(url="http://127.0.0.1:1/events"))
    close = b"connection: close\r\n"
    for headers, sent in ((b"content-length: %d\r\n" % len(body), body), (TE, chunked(body[:5], body[5:]))):
        statuses, ended = await target.send(target.request(headers + close, sent))
        assert statuses[0] in (200, 204), headers
        assert ended
    assert target.bodies == ([] if target.name == "pod" else [body, body])


@pytest.mark.parametrize("line_end", [b"\n", b"\r"], ids=["lf", "cr"])
async def test_a_head_without_crlf_is_refused(target: Target, line_end: bytes) -> None:
    statuses, ended = await target.send(b"GET /livez HTTP/1.1\r\nhost: a\r\n\r\n".replace(b"\r\n", line_end))
    assert statuses in ([400], [408])
    assert ended


@pytest.mark.parametrize("name", ["said", "chunked", "one-huge-chunk"])
async def test_a_body_past_the_bound_is_refused_before_it_has_come(target: Target, name: str) -> None:
    many = target.largest_body * 4
    headers, body = {
        "said": (b"content-length: %d\r\n" % (1 << 40), b"x" * 100),
        "chunked": (TE, chunked(*[b"x" * 4096] * (many // 4096))),
        "one-huge-chunk": (TE, b"%x\r\n" % (1 << 40) + b"x" * many),
    }[name]
    statuses, _ = await target.send(target.request(headers, body), first=True)
    assert statuses in ([413], []), "an answer, or the connection's end while the body is still being sent"
    assert not target.bodies


@pytest.mark.parametrize("name", ["one-header", "many-headers", "target", "method", "no-end"])
async def test_a_head_past_the_bound_is_refused(target: Target, name: str) -> None:
    data = {
        "one-header": target.request(b"x: " + b"y" * 100_000 + b"\r\n"),
        "many-headers": target.request(b"".join(b"x%d: y\r\n" % number for number in range(20_000))),
        "target": b"GET /livez?" + b"y" * 100_000 + b" HTTP/1.1\r\nhost: a\r\n\r\n",
        "method": b"G" * 100_000 + b" /livez HTTP/1.1\r\nhost: a\r\n\r\n",
        "no-end": b"GET /livez HTTP/1.1\r\nhost: a\r\nx: " + b"y" * 100_000,
    }[name]
    statuses, ended = await target.send(data)
    assert statuses in ([400], [431], [])
    assert ended


async def test_the_surface_answers_after_all_of_it(target: Target) -> None:
    for headers, body in SMUGGLED.values():
        await target.send(target.request(headers, body))
    statuses, _ = await target.send(b"GET /livez HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n")
    assert statuses == [200]


@pytest.mark.parametrize("cut", range(1, 60))
def test_a_good_head_has_no_flaw_however_it_comes(cut: int) -> None:
    head = b"PUT /v1/record HTTP/1.1\r\nHost: pod\r\nContent-Length: 12\r\n\r\n"
    assert flaw(head[:cut]) is None


def test_what_follows_a_head_is_not_judged() -> None:
    assert flaw(b"PUT / HTTP/1.1\r\ncontent-length: 9\r\n\r\n\n\n content-length: 1\0") is None
