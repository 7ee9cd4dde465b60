"""The real network: websockets by picows, HTTP by aiohttp."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Mapping
from typing import Final
from urllib.parse import urlsplit

import aiohttp

from shard_runtime.connection.websocket import open_websocket
from shard_runtime.ports import FrameListener, NetworkError, Response, WebSocket

LONGEST_ANSWER: Final = 128 << 20
"""Bytes; the windows of a handover are the largest answers."""

USER_AGENT: Final = "DiscordBot (https://github.com/discordgateway/discord-gateway-operator, 0.1.0)"
"""Discord's form; it may refuse clients without one. https://discord.com/developers/docs/reference#user-agent"""


class SystemNetwork:
    """:class:`~shard_runtime.ports.Network` of the machine. Connections are reused; the environment names no proxy."""

    def __init__(self, *, context: ssl.SSLContext | None = None, user_agent: str = USER_AGENT) -> None:
        """*context* replaces the system's certificate authorities."""
        self._context = context
        self._user_agent = user_agent
        self._session: aiohttp.ClientSession | None = None

    async def connect(self, url: str, listener: FrameListener, *, timeout: float) -> WebSocket:
        context = self._tls() if url.startswith("wss:") else None
        return await open_websocket(url, listener, timeout=timeout, context=context, user_agent=self._user_agent)

    async def request(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str],
        body: bytes = b"",
        timeout: float,
    ) -> Response:
        try:
            async with self._http().request(
                method,
                url,
                headers=headers,
                data=body or None,
                allow_redirects=False,
                timeout=aiohttp.ClientTimeout(total=timeout),
            ) as answer:
                received = await _bounded(answer.content)
                fields = {name.lower(): value for name, value in answer.headers.items()}
                return Response(status=answer.status, headers=fields, body=received)
        except (aiohttp.ClientError, OSError, ValueError) as error:
            raise NetworkError(f"{_host(url)}: {_sentence(error, timeout)}") from None

    async def close(self) -> None:
        """End idle and open HTTP connections; websockets are closed by those who opened them."""
        if self._session is not None:
            await self._session.close()
            self._session = None

    def _tls(self) -> ssl.SSLContext:
        if self._context is None:
            self._context = ssl.create_default_context()
        return self._context

    def _http(self) -> aiohttp.ClientSession:
        if self._session is None:
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=0, ssl=self._context or True),
                cookie_jar=aiohttp.DummyCookieJar(),
                headers={"User-Agent": self._user_agent},
                trust_env=False,
            )
        return self._session


async def _bounded(stream: aiohttp.StreamReader) -> bytes:
    received = bytearray()
    async for chunk in stream.iter_any():
        received += chunk
        if len(received) > LONGEST_ANSWER:
            raise NetworkError(f"an answer of more than {LONGEST_ANSWER} bytes")
    return bytes(received)


def _host(url: str) -> str:
    return urlsplit(url).netloc.rpartition("@")[2] or "no host"


def _sentence(error: Exception, timeout: float) -> str:
    """Why, without what a URL or a header may hold."""
    if isinstance(error, asyncio.TimeoutError):
        return f"no answer within {timeout:g} s"
    if isinstance(error, OSError):
        return error.strerror or type(error).__name__
    return type(error).__name__
