"""The real websocket client against a server that does the unusual, on both event loops."""

from __future__ import annotations

import asyncio
import struct
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from typing import Any

import pytest
import uvloop
from raw_server import BINARY, CONTINUATION, PING, PONG, TEXT, Peer, raw_server

from shard_runtime.connection.network import SystemNetwork
from shard_runtime.connection.reads import BUFFER_BYTES, BoundedReads
from shard_runtime.connection.websocket import CLOSE_SECONDS, PicowsWebSocket
from shard_runtime.ports import NetworkError, WebSocket

Run = Callable[[Coroutine[Any, Any, None]], None]
Story = Callable[[WebSocket, "Listener"], Awaitable[None]]


class Listener:
    def __init__(self) -> None:
        self.frames: list[bytes] = []
        self.closed: list[tuple[int | None, str]] = []
        self._news = asyncio.Event()

    def on_frames(self, messages: Sequence[bytes]) -> None:
        self.frames += messages
        self._news.set()

    def on_closed(self, code: int | None, reason: str) -> None:
        self.closed.append((code, reason))
        self._news.set()

    async def until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(10):
            while not condition():
                self._news.clear()
                await self._news.wait()

    async def until_closed(self) -> tuple[int | None, str]:
        await self.until(lambda: bool(self.closed))
        return self.closed[0]


@pytest.fixture(params=[asyncio.run, uvloop.run], ids=["asyncio", "uvloop"])
def run(request: pytest.FixtureRequest) -> Run:
    return request.param  # type: ignore[no-any-return]


def play(run: Run, handler: Callable[[Peer], Awaitable[None]], story: Story, *, early: bytes = b"") -> None:
    async def main() -> None:
        problems: list[str] = []
        asyncio.get_running_loop().set_exception_handler(lambda _, context: problems.append(str(context)))
        async with raw_server(handler, early=early) as url:
            listener, network = Listener(), SystemNetwork()
            socket = await network.connect(url, listener, timeout=5)
            await story(socket, listener)
            socket.abort()
            if not listener.closed:
                await listener.until_closed()
            await asyncio.sleep(0)
            await network.close()
        assert len(listener.closed) == 1, "on_closed is called exactly once"
        assert not problems

    run(main())


def test_messages_in_fragments_with_control_frames_between_them(run: Run) -> None:
    async def handler(peer: Peer) -> None:
        peer.frame(TEXT, b"whole")
        peer.frame(TEXT, b"in ", fin=False)
        peer.frame(PING, b"are you there")
        peer.frame(CONTINUATION, b"three ", fin=False)
        peer.frame(CONTINUATION, b"parts")
        peer.frame(BINARY, b"\x00", fin=False)
        peer.frame(CONTINUATION, b"\x01")
        peer.frame(TEXT, b"")
        assert await peer.receive() == (PONG, b"are you there")
        peer.close(4000)
        assert await peer.receive_close() == 4000

    async def story(socket: WebSocket, listener: Listener) -> None:
        await listener.until_closed()
        assert listener.frames == [b"whole", b"in three parts", b"\x00\x01", b""]

    play(run, handler, story)


def test_a_message_does_not_wait_for_what_follows_a_ping(run: Run) -> None:
    async def handler(peer: Peer) -> None:
        peer.frame(TEXT, b"news")
        peer.frame(PING, b"")
        assert await peer.receive() == (PONG, b"")
        await peer.ended()

    async def story(socket: WebSocket, listener: Listener) -> None:
        await listener.until(lambda: bool(listener.frames))
        assert listener.frames == [b"news"]

    play(run, handler, story)


def test_a_message_of_megabytes_arrives_whole(run: Run) -> None:
    big = b"x" * (24 << 20)

    async def handler(peer: Peer) -> None:
        peer.frame(TEXT, big)
        peer.frame(TEXT, b"small")
        await peer.writer.drain()
        await peer.ended()

    async def story(socket: WebSocket, listener: Listener) -> None:
        await listener.until(lambda: len(listener.frames) == 2)
        assert listener.frames == [big, b"small"]

    play(run, handler, story)


@pytest.mark.parametrize(("code", "answer"), [(4004, 4004), (4999, 4999), (1000, 4000), (1001, 4000)])
def test_close_codes_of_the_peer_are_told_and_answered_without_ending_the_session(
    run: Run, code: int, answer: int
) -> None:
    answered: list[int] = []

    async def handler(peer: Peer) -> None:
        peer.frame(TEXT, b"last words")
        peer.close(code, "because")
        answered.append(await peer.receive_close())

    async def story(socket: WebSocket, listener: Listener) -> None:
        assert await listener.until_closed() == (code, "because")
        assert listener.frames == [b"last words"]

    play(run, handler, story)
    assert answered == [answer]


def test_a_close_frame_without_a_code_and_a_drop_look_alike(run: Run) -> None:
    async def empty_close(peer: Peer) -> None:
        peer.frame(0x8, b"")
        await peer.ended()

    async def drop(peer: Peer) -> None:
        peer.writer.transport.abort()

    async def story(socket: WebSocket, listener: Listener) -> None:
        assert (await listener.until_closed())[0] is None

    play(run, empty_close, story)
    play(run, drop, story)


def test_our_close_sends_its_code_and_ends(run: Run) -> None:
    codes: list[int] = []

    async def handler(peer: Peer) -> None:
        codes.append(await peer.receive_close())
        peer.close(codes[0])
        await peer.ended()

    async def story(socket: WebSocket, listener: Listener) -> None:
        socket.send(b'{"op":1}')
        socket.close(4000)
        socket.close(4001)
        await listener.until_closed()
        socket.close(4002)
        socket.send(b"into the void")
        socket.pause_reading()
        socket.resume_reading()

    play(run, handler, story)
    assert codes == [4000]


def test_a_peer_that_ignores_our_close_is_dropped(run: Run) -> None:
    async def handler(peer: Peer) -> None:
        await peer.ended()

    async def story(socket: WebSocket, listener: Listener) -> None:
        start = asyncio.get_running_loop().time()
        socket.close(4000)
        await listener.until_closed()
        assert CLOSE_SECONDS - 0.1 <= asyncio.get_running_loop().time() - start < CLOSE_SECONDS + 2

    play(run, handler, story)


def test_frames_sent_with_the_handshake_are_not_lost(run: Run) -> None:
    async def handler(peer: Peer) -> None:
        await peer.ended()

    async def story(socket: WebSocket, listener: Listener) -> None:
        assert listener.frames == [b"hello"]

    play(run, handler, story, early=bytes([0x81, 5]) + b"hello")


@pytest.mark.parametrize(
    "broken",
    [b"\x83\x00", b"\xff\xff\xff\xff", b"\x81\x80\x00\x00\x00\x00", struct.pack(">BBQ", 0x81, 0x7F, 1 << 40)],
    ids=["reserved opcode", "garbage", "masked", "a terabyte"],
)
def test_a_peer_that_breaks_the_protocol_ends_only_its_connection(run: Run, broken: bytes) -> None:
    async def handler(peer: Peer) -> None:
        peer.writer.write(broken)
        await peer.ended()

    async def story(socket: WebSocket, listener: Listener) -> None:
        assert (await listener.until_closed())[0] is None

    play(run, handler, story)


def test_pausing_leaves_what_comes_with_the_peer(run: Run) -> None:
    """The peer's writes stall once the buffers between us are full, and go on when reading does."""
    sent = 0

    async def handler(peer: Peer) -> None:
        nonlocal sent
        peer.writer.transport.set_write_buffer_limits(high=0)
        for _ in range(400):
            peer.frame(BINARY, b"x" * 100_000)
            await peer.writer.drain()
            sent += 1
        await peer.ended()

    async def story(socket: WebSocket, listener: Listener) -> None:
        await listener.until(lambda: len(listener.frames) >= 1)
        socket.pause_reading()
        before = -1
        while sent != before:  # the peer stalls
            before = sent
            await asyncio.sleep(0.3)
        received = len(listener.frames)
        assert sent < 400
        await asyncio.sleep(0.2)
        assert len(listener.frames) == received
        socket.resume_reading()
        await listener.until(lambda: len(listener.frames) == 400)

    play(run, handler, story)


def test_what_does_not_come_about_is_one_error_that_names_the_host(run: Run) -> None:
    async def main() -> None:
        network = SystemNetwork()

        async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.read()
            writer.close()

        async def refuses(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.readuntil(b"\r\n\r\n")
            writer.write(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n")
            writer.close()

        async def redirects(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.readuntil(b"\r\n\r\n")
            writer.write(b"HTTP/1.1 302 Found\r\nLocation: ws://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n")
            writer.close()

        async def drops(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.readuntil(b"\r\n\r\n")
            writer.transport.abort()

        for behaviour in (silent, refuses, redirects, drops):
            server = await asyncio.start_server(behaviour, "127.0.0.1", 0)
            host = f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
            listener = Listener()
            with pytest.raises(NetworkError, match=host) as refused:
                await network.connect(f"ws://user:secret@{host}/?key=secret", listener, timeout=0.5)
            assert "secret" not in str(refused.value)
            server.close()
        with pytest.raises(NetworkError):
            await network.connect("ws://127.0.0.1:1/", Listener(), timeout=2)
        with pytest.raises(NetworkError):
            await network.connect("not a url", Listener(), timeout=2)
        await network.close()

    run(main())


def test_a_flood_that_has_piled_up_is_read_in_pieces_and_the_buffer_stays_small(run: Run) -> None:
    events = 20_000
    piled_up = asyncio.Event()

    async def handler(peer: Peer) -> None:
        sent = 0
        while sent < events:
            peer.frame(TEXT, b"x" * 900)
            sent += 1
            if sent % 100 == 0 and not piled_up.is_set():
                try:
                    async with asyncio.timeout(0.5):
                        await peer.writer.drain()
                except TimeoutError:
                    piled_up.set()  # the kernel takes no more, since nobody reads
        piled_up.set()
        await peer.ended()

    async def story(socket: WebSocket, listener: Listener) -> None:
        socket.pause_reading()
        await piled_up.wait()
        socket.resume_reading()
        await listener.until(lambda: len(listener.frames) == events)
        assert isinstance(socket, PicowsWebSocket)
        reads = socket._transport.underlying_transport.get_protocol()  # type: ignore[union-attr]
        assert isinstance(reads, BoundedReads)
        # What is offered next is the rest of the buffer, which is all of it.
        assert len(reads._get_buffer(-1)) <= 2 * BUFFER_BYTES

    play(run, handler, story)


def test_a_message_larger_than_a_read_arrives_whole(run: Run) -> None:
    big = bytes(range(256)) * (10 * BUFFER_BYTES // 256)

    async def handler(peer: Peer) -> None:
        peer.frame(BINARY, big)
        peer.frame(TEXT, b"after")
        await peer.ended()

    async def story(socket: WebSocket, listener: Listener) -> None:
        await listener.until(lambda: len(listener.frames) == 2)
        assert listener.frames == [big, b"after"]

    play(run, handler, story)


def test_memory_given_back_in_the_middle_of_a_message_is_none_of_the_message(run: Run) -> None:
    big = bytes(range(256)) * (BUFFER_BYTES // 4 // 256)
    rest = asyncio.Event()

    async def handler(peer: Peer) -> None:
        await peer.receive()
        peer.frame(BINARY, big)
        whole = b"\x82\x7e" + struct.pack(">H", len(big)) + big
        peer.writer.write(whole[: len(whole) // 2])
        await rest.wait()
        peer.writer.write(whole[len(whole) // 2 :])
        peer.frame(TEXT, b"after")
        await peer.ended()

    async def story(socket: WebSocket, listener: Listener) -> None:
        assert isinstance(socket, PicowsWebSocket)
        socket.send(b"go on")
        for _ in range(10_000):
            if socket.received_bytes > len(big) * 3 // 2:
                break
            await asyncio.sleep(0.001)
        assert len(listener.frames) == 1
        socket.give_back_memory()
        rest.set()
        await listener.until(lambda: len(listener.frames) == 3)
        assert listener.frames == [big, big, b"after"]

    play(run, handler, story)
