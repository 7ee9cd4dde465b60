"""Over real sockets: REST, websocket frames of every compression, closes, control, and the program itself."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import sys
import zlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import pytest
import zstandard
from aiohttp import WSMsgType

from discord_simulator.intents import ALL
from discord_simulator.server import Server, run_server
from discord_simulator.settings import DEFAULT_TOKEN, Settings
from discord_simulator.verdict import fetch_truth

AUTHORISED = {"Authorization": f"Bot {DEFAULT_TOKEN}"}


class Inflater:
    """A client's side of each compression."""

    def __init__(self, compress: str | None) -> None:
        self._zlib = zlib.decompressobj() if compress == "zlib-stream" else None
        self._zstd = zstandard.ZstdDecompressor().decompressobj() if compress == "zstd-stream" else None
        self._kept = b""
        self.messages = 0
        """Messages of a zlib-stream."""

    def payload(self, message: aiohttp.WSMessage) -> dict[str, Any] | None:
        """What *message* carries; None where it is the part of a payload."""
        if message.type is WSMsgType.TEXT:
            assert self._zlib is None
            assert self._zstd is None
            return json.loads(message.data)
        assert message.type is WSMsgType.BINARY, message
        if self._zstd is not None:
            return json.loads(self._zstd.decompress(message.data))
        if self._zlib is not None:
            self.messages += 1
            self._kept += message.data
            if not self._kept.endswith(b"\x00\x00\xff\xff"):
                return None
            data, self._kept = self._kept, b""
            return json.loads(self._zlib.decompress(data))
        return json.loads(zlib.decompress(message.data))


class Client:
    def __init__(self, websocket: aiohttp.ClientWebSocketResponse, compress: str | None) -> None:
        self.socket = websocket
        self.inflater = Inflater(compress)

    async def receive(self) -> dict[str, Any]:
        while (payload := self.inflater.payload(await self.socket.receive())) is None:
            pass
        return payload

    async def until(self, name: str) -> list[dict[str, Any]]:
        payloads = [await self.receive()]
        while payloads[-1]["t"] != name:
            payloads.append(await self.receive())
        return payloads

    async def identify(self, shard: list[int], **more: object) -> dict[str, Any]:
        d = {"token": DEFAULT_TOKEN, "intents": ALL, "shard": shard, "properties": {}, **more}
        await self.socket.send_json({"op": 2, "d": d})
        return (await self.until("READY"))[-1]["d"]


@asynccontextmanager
async def _simulator(**settings: Any) -> AsyncIterator[tuple[Server, str, aiohttp.ClientSession]]:
    async with run_server(settings=Settings(**settings)) as (server, port), aiohttp.ClientSession() as http:
        yield server, f"http://127.0.0.1:{port}", http


@asynccontextmanager
async def _connected(http: aiohttp.ClientSession, url: str, compress: str | None = None) -> AsyncIterator[Client]:
    query = "?v=10&encoding=json" + (f"&compress={compress}" if compress else "")
    async with http.ws_connect(url + query, max_msg_size=0) as websocket:
        yield Client(websocket, compress)


@pytest.mark.parametrize("prefix", ["/api/v10", "/api", ""])
async def test_gateway_bot_answers_as_discord_does(prefix):
    async with _simulator(guilds=2500, identify_total=50, max_concurrency=2) as (_, base, http):
        async with http.get(f"{base}{prefix}/gateway/bot", headers=AUTHORISED) as response:
            assert (response.status, response.content_type) == (200, "application/json")
            assert await response.json() == {
                "url": base.replace("http", "ws"),
                "shards": 3,
                "session_start_limit": {"total": 50, "remaining": 50, "reset_after": 0, "max_concurrency": 2},
            }
        for headers in ({}, {"Authorization": "Bot wrong"}, {"Authorization": DEFAULT_TOKEN}):
            async with http.get(f"{base}{prefix}/gateway/bot", headers=headers) as response:
                assert response.status == 401
                assert await response.json() == {"message": "401: Unauthorized", "code": 0}
        async with http.get(f"{base}{prefix}/gateway") as response:
            assert await response.json() == {"url": base.replace("http", "ws")}
        async with http.get(f"{base}{prefix}/users/@me", headers=AUTHORISED) as response:
            assert (await response.json())["id"] == "1100000000000000000"
        async with http.get(f"{base}{prefix}/nothing", headers=AUTHORISED) as response:
            assert response.status == 404


async def test_the_websocket_url_follows_the_host_that_the_client_used():
    async with _simulator() as (_, base, http):
        headers = AUTHORISED | {"Host": "discord.default.svc:8080"}
        async with http.get(f"{base}/gateway/bot", headers=headers) as response:
            assert (await response.json())["url"] == "ws://discord.default.svc:8080"


@pytest.mark.parametrize(("compress", "parts"), [(None, 1), ("zstd-stream", 1), ("zlib-stream", 1), ("zlib-stream", 4)])
async def test_a_session_over_a_socket_with_resume(compress, parts):
    async with _simulator(guilds=30, guild_bytes=90_000, zlib_parts=parts) as (_, base, http):
        async with _connected(http, base, compress) as client:
            assert (await client.receive())["op"] == 10
            ready = await client.identify([0, 1])
            guilds = [await client.receive() for _ in range(30)]
            assert {p["t"] for p in guilds} == {"GUILD_CREATE"}
            assert len({p["d"]["id"] for p in guilds}) == 30
            assert len(json.dumps(guilds[0])) > 1 << 16
            await client.socket.send_json({"op": 1, "d": 31})
            assert (await client.receive())["op"] == 11
            if compress == "zlib-stream":
                whole = 1 + 1 + 30 + 1  # HELLO, READY, the guilds, the acknowledgement
                assert (client.inflater.messages == whole) if parts == 1 else (client.inflater.messages > 1.5 * whole)
            await client.socket.close(code=4000)
        event = {"name": "TYPING_START", "d": {"guild_id": guilds[0]["d"]["id"]}, "guild": guilds[0]["d"]["id"]}
        async with http.post(f"{base}/control/events", json=event) as response:
            assert (await response.json())["sent"] == 1
        assert ready["resume_gateway_url"].startswith(base.replace("http", "ws") + "/")
        async with _connected(http, ready["resume_gateway_url"], compress) as client:
            await client.receive()
            d = {"token": DEFAULT_TOKEN, "session_id": ready["session_id"], "seq": 31}
            await client.socket.send_json({"op": 6, "d": d})
            payloads = await client.until("RESUMED")
            assert [(p["t"], p["s"]) for p in payloads] == [("TYPING_START", 32), ("RESUMED", 33)]


async def test_payload_compression_sends_large_payloads_as_blobs():
    async with _simulator(guilds=1) as (_, base, http), _connected(http, base) as client:
        await client.receive()
        await client.identify([0, 1], compress=True)
        message = await client.socket.receive()
        assert message.type is WSMsgType.BINARY
        assert json.loads(zlib.decompress(message.data))["t"] == "GUILD_CREATE"
        await client.socket.send_json({"op": 1, "d": 2})
        assert (await client.socket.receive()).type is WSMsgType.TEXT


async def test_an_unknown_compression_is_refused_before_the_upgrade():
    async with _simulator() as (_, base, http):
        with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
            await http.ws_connect(f"{base}/?v=10&compress=lz4")
        assert refused.value.status == 400


@pytest.mark.parametrize("code", [1000, 4000, 4014])
async def test_a_close_reaches_the_client_with_its_code(code):
    async with _simulator(guilds=1) as (server, base, http), _connected(http, base) as client:
        await client.receive()
        await client.identify([0, 1])
        await client.receive()
        async with http.post(f"{base}/control/faults", json={"action": "close", "code": code}) as response:
            assert await response.json() == {"affected": 1}
        message = await client.socket.receive()
        assert (message.type, message.data) == (WSMsgType.CLOSE, code)
        assert len(server.gateway.sessions) == (0 if code == 4014 else 1)


async def test_a_drop_has_no_close_frame():
    async with _simulator(guilds=1) as (_, base, http), _connected(http, base) as client:
        await client.receive()
        await client.identify([0, 1])
        await client.receive()
        async with http.post(f"{base}/control/faults", json={"action": "drop"}) as response:
            assert await response.json() == {"affected": 1}
        message = await client.socket.receive()
        assert message.type in (WSMsgType.CLOSED, WSMsgType.ERROR)
        assert client.socket.close_code == 1006


async def test_a_drop_is_a_reset_of_the_tcp_connection():
    async with _simulator(guilds=1) as (server, base, http):
        port = int(base.rpartition(":")[2])
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(
            b"GET /?v=10&encoding=json HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
        )
        await reader.readuntil(b"\r\n\r\n")
        identify = b'{"op":2,"d":{"token":"%b","intents":1,"properties":{}}}' % DEFAULT_TOKEN.encode()
        no_mask = bytes(4)
        writer.write(bytes((0x81, 0x80 | len(identify))) + no_mask + identify)
        await reader.readuntil(b'"t":"GUILD_CREATE"')
        async with http.post(f"{base}/control/faults", json={"action": "drop"}) as response:
            assert await response.json() == {"affected": 1}
        with pytest.raises(ConnectionResetError):
            while await reader.read(1 << 16):
                pass
        writer.close()
        assert server.gateway.truth.counters.closed_by_server == {"dropped": 1}


@pytest.mark.parametrize(("code", "kept"), [(1000, False), (1001, False), (4000, True), (3000, True), (None, True)])
async def test_a_clients_close_code_decides_the_sessions_fate(code, kept, eventually):
    async with _simulator(guilds=1) as (server, base, http):
        async with _connected(http, base) as client:
            await client.receive()
            await client.identify([0, 1])
            if code is None:
                client.socket.get_extra_info("socket").shutdown(socket.SHUT_RDWR)
            else:
                await client.socket.close(code=code)
        await eventually(lambda: not server.gateway.connections)
        assert len(server.gateway.sessions) == int(kept)
        assert server.gateway.truth.counters.closed_by_client == {"dropped" if code is None else str(code): 1}


async def test_connections_are_refused_while_the_fault_lasts():
    async with _simulator() as (_, base, http):
        async with http.post(f"{base}/control/faults", json={"action": "refuseConnections", "seconds": 60}) as response:
            assert response.status == 200
        with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
            await http.ws_connect(f"{base}/?v=10")
        assert refused.value.status == 503


async def test_load_over_two_sets_of_sessions_arrives_whole_and_in_order(eventually):
    async with _simulator(guilds=200) as (server, base, http):
        seen: dict[str, list[int]] = {}

        async def drink(shard: int, count: int) -> None:
            async with _connected(http, base, "zstd-stream") as client:
                await client.receive()
                ready = await client.identify([shard, count])
                mine = seen.setdefault(ready["session_id"], [])
                while True:
                    payload = await client.receive()
                    if payload["t"] == "INTERACTION_CREATE":
                        return
                    mine.append(payload["s"])

        # One identify per bucket in 5 s: the second set leaves out the shards whose buckets the first one takes.
        readers = [asyncio.ensure_future(drink(shard, 4)) for shard in range(4)]
        readers += [asyncio.ensure_future(drink(shard, 16)) for shard in range(4, 16)]
        await eventually(lambda: len(server.gateway.sessions) == 16)
        async with http.post(
            f"{base}/control/load", json={"rate": 4000, "events": 4000, "burstProbability": 0}
        ) as response:
            assert response.status == 200
        await eventually(lambda: server.traffic.load is None)
        for guild in server.gateway.roster.all():
            event = {"name": "INTERACTION_CREATE", "d": {"id": "1"}, "guild": str(guild.id)}
            async with http.post(f"{base}/control/events", json=event) as response:
                assert response.status == 200
        await asyncio.gather(*readers)
        truth = await fetch_truth(base)
        for session in truth.sessions:
            mine = seen[session.id]
            assert mine == list(range(2, 2 + len(mine)))
            ends = session.sequences.index(mine[-1] + 1)
            assert set(session.sequences[:ends]) <= set(mine)


async def test_the_summary_tells_sessions_by_count_and_what_was_sent():
    async with _simulator(guilds=2) as (_, base, http), _connected(http, base) as client:
        await client.receive()
        await client.identify([1, 2])
        async with http.get(f"{base}/control/truth?summary=1") as response:
            summary = await response.json()
        assert summary["sessions"] == {"2": {"sessions": 1, "connected": 1, "shards": 1}}
        assert (summary["sent"], summary["guilds"], summary["budget"]["remaining"]) == (0, 2, 999)


async def test_the_program_prints_where_it_listens_and_ends_on_sigterm():
    command = [
        sys.executable,
        "-m",
        "discord_simulator",
        "--port",
        "0",
        "--guilds",
        "3",
        "--token",
        "t",
        "--shards",
        "7",
    ]
    process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE, env=dict(os.environ))
    assert process.stdout is not None
    try:
        url = (await process.stdout.readline()).decode().split()[-1]
        async with aiohttp.ClientSession() as http:
            async with http.get(f"{url}/gateway/bot", headers={"Authorization": "Bot t"}) as response:
                assert (await response.json())["shards"] == 7
            async with http.ws_connect(url.removesuffix("/api/v10") + "/?v=10&encoding=json") as ws:
                assert (await ws.receive_json())["op"] == 10
                process.send_signal(signal.SIGTERM)
                message = await ws.receive()
                assert (message.type, message.data) == (WSMsgType.CLOSE, 1001)
        assert await process.wait() == 0
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
