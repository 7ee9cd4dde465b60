"""The HTTP client against a server that answers byte for byte as told."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest

from shard_runtime.connection import http_client
from shard_runtime.connection.network import SystemNetwork
from shard_runtime.ports import NetworkError, Response

FINE = b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\nX-Answer: 42\r\n\r\nfine"


class Server:
    """Answers each request with the next of *pieces*, one write for each piece; None ends the connection."""

    def __init__(self) -> None:
        self.url = ""
        self.heads: list[bytes] = []
        self.bodies: list[bytes] = []
        self.connections = 0
        self.open = 0
        self.pieces: list[list[bytes | None]] = []
        self.closed = asyncio.Event()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self.open += 1
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                self.heads.append(head)
                size = next((line for line in head.split(b"\r\n") if line.startswith(b"Content-Length:")), b":0")
                self.bodies.append(await reader.readexactly(int(size.partition(b":")[2])))
                for piece in self.pieces.pop(0) if self.pieces else [FINE]:
                    if piece is None:
                        return
                    writer.write(piece)
                    await writer.drain()
                    await asyncio.sleep(0.01)  # so that pieces arrive as pieces
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()
            self.open -= 1
            self.closed.set()


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    server = Server()
    listening = await asyncio.start_server(server.serve, "127.0.0.1", 0)
    server.url = f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}"
    yield server
    listening.close()


@pytest.fixture
async def network() -> AsyncIterator[SystemNetwork]:
    network = SystemNetwork()
    yield network
    await network.close()


Ask = Callable[..., Awaitable[Response]]


@pytest.fixture
def ask(server: Server, network: SystemNetwork) -> Ask:
    async def ask(*pieces: bytes | None, method: str = "POST", body: bytes = b"x", timeout: float = 5) -> Response:
        server.pieces.append(list(pieces) or [FINE])
        return await network.request(method, server.url + "/e", headers={"X-A": "b"}, body=body, timeout=timeout)

    return ask


async def test_a_request_is_written_as_it_is(server: Server, ask: Ask) -> None:
    await ask(body=b"[1]")
    assert server.heads[0].startswith(b"POST /e HTTP/1.1\r\nHost: 127.0.0.1:")
    assert b"\r\nX-A: b\r\nUser-Agent: DiscordBot (" in server.heads[0]
    assert server.heads[0].endswith(b"\r\nContent-Length: 3\r\n\r\n")
    assert server.bodies == [b"[1]"]


@pytest.mark.parametrize(
    "pieces",
    [
        [FINE],
        [FINE[:20], FINE[20:]],
        [bytes((byte,)) for byte in FINE],
        [b"HTTP/1.1 100 Continue\r\n\r\n" + FINE],
        [
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nX-Answer: 42\r\n\r\n",
            b"3\r\nfin\r\n",
            b"1\r\ne\r\n0\r\n\r\n",
        ],
        [b"HTTP/1.1 200 OK\r\nX-Answer: 42\r\n\r\nfi", b"ne", None],
        [b"HTTP/1.0 200 OK\r\nContent-Length: 4\r\nX-Answer: 42\r\n\r\nfine", None],
        [FINE.replace(b"X-Answer", b"Connection: close\r\nX-Answer")],
    ],
    ids=["whole", "two pieces", "bytes", "after 100", "chunked", "until the end", "HTTP/1.0", "last one"],
)
async def test_every_form_of_an_answer_reads_the_same(server: Server, ask: Ask, pieces: list[bytes | None]) -> None:
    for _ in range(2):
        answer = await ask(*pieces)
        assert (answer.status, answer.headers["x-answer"], answer.body) == (200, "42", b"fine")


@pytest.mark.parametrize(
    ("answer", "reused"),
    [
        (b"HTTP/1.1 204 No Content\r\n\r\n", True),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", True),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", True),
        (b"HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n", False),
        (b"HTTP/1.1 204 No Content\r\n\r\nHTTP/1.1 204 No Content\r\n\r\n", False),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nxHTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n", False),
    ],
    ids=["204", "empty", "chunked", "close", "one answer too many", "another's answer"],
)
async def test_a_connection_is_used_again_only_when_it_is_clean(
    server: Server, ask: Ask, answer: bytes, reused: bool
) -> None:
    assert (await ask(answer)).status in (200, 204)
    assert (await ask()).body == b"fine"
    assert server.connections == (1 if reused else 2)


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\nContent-Length: 5\r\n\r\nfine",
        b"HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\nfine",
        b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\nbad header\r\n\r\nfine",
        b"HTTP/1.1 2 OK\r\n\r\n",
        b"\x00\xff nonsense\r\n\r\n",
    ],
)
async def test_nonsense_is_no_answer(server: Server, ask: Ask, answer: bytes) -> None:
    with pytest.raises(NetworkError):
        await ask(answer, None)
    assert (await ask()).body == b"fine"


async def test_a_head_has_no_body(server: Server, ask: Ask) -> None:
    answer = await ask(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\n", method="HEAD", body=b"")
    assert (answer.status, answer.body) == (200, b"")
    assert (await ask()).body == b"fine"


async def test_what_broke_off_is_an_error_and_is_not_sent_again(server: Server, ask: Ask) -> None:
    with pytest.raises(NetworkError, match="before the answer was whole"):
        await ask(None)
    with pytest.raises(NetworkError):
        await ask(FINE[:-1], None)
    assert len(server.heads) == 2


async def test_a_connection_that_the_server_ended_is_not_used_again(
    server: Server, ask: Ask, network: SystemNetwork
) -> None:
    await ask(FINE, None)
    async with asyncio.timeout(5):
        while network._http._open:  # noqa: ASYNC110 - the end of it arrives
            await asyncio.sleep(0.001)
    assert (await ask()).body == b"fine"
    assert server.connections == 2


async def test_a_request_that_was_given_up_takes_its_connection_along(server: Server, ask: Ask) -> None:
    with pytest.raises(NetworkError, match=r"no answer within 0\.05 s"):
        await ask(b"HTTP/1.1 200 OK\r\n", b"", b"", b"", b"", b"", b"", b"", b"", b"", b"", FINE, timeout=0.05)
    assert (await ask()).body == b"fine"
    assert server.connections == 2


async def test_each_request_has_its_own_time(server: Server, ask: Ask) -> None:
    """Whatever those before it on the same connection were allowed, and while others may take longer."""
    assert (await ask(timeout=60)).body == b"fine"
    with pytest.raises(NetworkError, match=r"no answer within 0\.05 s"):
        await ask(b"", timeout=0.05)
    long = asyncio.create_task(ask(b"", timeout=0.1))
    short = asyncio.create_task(ask(b"", timeout=0.05))
    for late, seconds in ((short, "0.05"), (long, "0.1")):
        with pytest.raises(NetworkError, match=f"no answer within {seconds} s"):
            await late
    assert (await ask(timeout=0.05)).body == b"fine"


async def test_no_timer_is_left_when_the_client_is_closed(ask: Ask, network: SystemNetwork) -> None:
    await ask(timeout=60)
    await network.close()
    assert network._http._deadlines._timer is None


async def test_unused_connections_are_closed(server: Server, ask: Ask, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_client, "IDLE_SECONDS", 0.05)
    await ask()
    async with asyncio.timeout(5):
        await server.closed.wait()
    assert (await ask()).body == b"fine"
    assert server.connections == 2


async def test_requests_at_the_same_time_have_connections_of_their_own(server: Server, ask: Ask) -> None:
    answers = await asyncio.gather(*(ask() for _ in range(5)))
    assert [answer.body for answer in answers] == [b"fine"] * 5
    assert server.connections == 5


@pytest.mark.parametrize("value", ["a\r\nX-Evil: 1", "a\nb", "a\rb", "a\0b", "\u20ac"])
async def test_a_header_cannot_hold_another(server: Server, network: SystemNetwork, value: str) -> None:
    with pytest.raises(NetworkError) as error:
        await network.request("GET", server.url, headers={"X-A": value}, timeout=5)
    assert "Evil" not in str(error.value)
    assert server.heads == []


async def test_a_url_cannot_hold_another_request(server: Server, network: SystemNetwork) -> None:
    await network.request("GET", f"{server.url}/a b\u00e9?c=d e", headers={}, timeout=5)
    assert server.heads[0].startswith(b"GET /a%20b%C3%A9?c=d%20e HTTP/1.1\r\n")


async def test_a_user_in_the_url_is_sent_as_authorization_and_named_nowhere(
    server: Server, network: SystemNetwork
) -> None:
    url = server.url.replace("://", "://me:p%40ss@")
    await network.request("GET", url, headers={}, timeout=5)
    assert b"\r\nAuthorization: Basic bWU6cEBzcw==\r\n" in server.heads[0]
    server.pieces.append([None])
    with pytest.raises(NetworkError) as error:
        await network.request("GET", url, headers={}, timeout=5)
    assert "ss" not in str(error.value).partition(":")[0]


async def test_an_answer_without_end_is_refused(server: Server, ask: Ask, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_client, "LONGEST_ANSWER", 1000)
    with pytest.raises(NetworkError, match="more than 1000 bytes"):
        await ask(b"HTTP/1.1 200 OK\r\n\r\n", *[b"x" * 400] * 4)


async def test_close_ends_what_is_under_way(server: Server, ask: Ask, network: SystemNetwork) -> None:
    asking = asyncio.create_task(ask(b"HTTP/1.1 200 OK\r\n", b"", b"", b"", b"", b"", b"", b"", b"", b"", FINE))  # type: ignore[arg-type]
    async with asyncio.timeout(5):
        while not server.heads:  # noqa: ASYNC110 - the server has no event for it
            await asyncio.sleep(0.001)
    await network.close()
    with pytest.raises(NetworkError):
        await asking
