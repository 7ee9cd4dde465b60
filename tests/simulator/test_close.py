"""The closing handshake over a real socket, from both sides."""

from __future__ import annotations

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
