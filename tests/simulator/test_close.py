"""The closing handshake over a real socket, from both sides."""

from __future__ import annotations

import asyncio
import socket as sockets

import aiohttp
import pytest
from aiohttp import WSMsgType

from discord_simulator.server import run_server


@pytest.mark.parametrize("code", [1000, 1001, 3024, 4000, 4999])
async def test_a_clients_close_code_comes_back_to_it(code):
    async with run_server() as (server, port), aiohttp.ClientSession() as http:
        socket = await http.ws_connect(f"http://127.0.0.1:{port}/?v=10&encoding=json")
        await socket.receive()
        await socket.close(code=code)
        assert socket.close_code == code
        assert server.gateway.truth.counters.closed_by_client == {str(code): 1}
        assert not server.gateway.connections


async def test_a_close_without_a_code_is_answered(eventually):
    async with run_server() as (server, port), aiohttp.ClientSession() as http:
        socket = await http.ws_connect(f"http://127.0.0.1:{port}/?v=10&encoding=json", autoclose=False)
        await socket.receive()
        socket._response.connection.transport.write(b"\x88\x80\x00\x00\x00\x00")  # an empty close frame, masked
        message = await socket.receive()
        assert (message.type, message.data) == (WSMsgType.CLOSE, 1000)
        await socket.close()
        await eventually(lambda: not server.gateway.connections)


async def test_a_close_by_the_server_has_its_code_and_ends_the_connection(eventually):
    async with run_server() as (server, port), aiohttp.ClientSession() as http:
        socket = await http.ws_connect(f"http://127.0.0.1:{port}/?v=10&encoding=json")
        await socket.receive()
        (connection,) = server.gateway.connections
        server.gateway.close(connection, 4321)
        message = await socket.receive()
        assert (message.type, message.data) == (WSMsgType.CLOSE, 4321)
        assert socket.close_code == 4321
        await eventually(lambda: not server._owners)


async def test_a_client_that_still_sends_reads_the_code_of_a_close():
    """A busy client writes a heartbeat before it reads: nothing may reset the connection under it."""
    loop = asyncio.get_running_loop()
    async with run_server() as (server, port):
        with sockets.create_connection(("127.0.0.1", port)) as client:
            client.setblocking(False)
            head = "GET /?v=10&encoding=json HTTP/1.1\r\nHost: h\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            head += "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: MDEyMzQ1Njc4OWFiY2RlZg==\r\n\r\n"
            await loop.sock_sendall(client, head.encode())
            received = b""
            while b"heartbeat_interval" not in received:
                received += await loop.sock_recv(client, 65536)
            (connection,) = server.gateway.connections
            server.gateway.close(connection, 4321)
            for _ in range(2):
                await asyncio.sleep(0.05)
                await loop.sock_sendall(client, b"\x81\x82\x00\x00\x00\x00{}")
            received = await loop.sock_recv(client, 65536)
            assert received.endswith(b"\x88\x02" + (4321).to_bytes(2, "big"))
            await loop.sock_sendall(client, b"\x88\x82\x00\x00\x00\x00" + (4321).to_bytes(2, "big"))
            assert await loop.sock_recv(client, 65536) == b""
        assert not server._owners
