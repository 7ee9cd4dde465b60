"""The real network: websockets by picows, HTTP by a client of our own."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Mapping
from typing import Final
from urllib.parse import urlsplit
from weakref import WeakSet

from shard_runtime.connection.breath import Breath
from shard_runtime.connection.http_client import HttpClient
from shard_runtime.connection.websocket import PicowsWebSocket, open_websocket
from shard_runtime.ports import FrameListener, NetworkError, Response, WebSocket

USER_AGENT: Final = "DiscordBot (https://github.com/discordgateway/discord-gateway-operator, 0.1.0)"
"""Discord's form; it may refuse clients without one. https://discord.com/developers/docs/reference#user-agent"""


class SystemNetwork:
    """:class:`~shard_runtime.ports.Network` of the machine. Connections are reused; the environment names no proxy."""

    def __init__(self, *, context: ssl.SSLContext | None = None, user_agent: str = USER_AGENT) -> None:
        """*context* replaces the system's certificate authorities."""
        self._context = context
        self._user_agent = user_agent
        self._http = HttpClient(context=context, user_agent=user_agent)
        self._breath = Breath()
        self._websockets: WeakSet[PicowsWebSocket] = WeakSet()

    async def connect(self, url: str, listener: FrameListener, *, timeout: float) -> WebSocket:
        context = self._tls() if url.startswith("wss:") else None
        websocket = await open_websocket(
            url, listener, timeout=timeout, context=context, user_agent=self._user_agent, breath=self._breath
        )
        self._websockets.add(websocket)
        return websocket

    async def request(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str],
        body: bytes = b"",
        timeout: float,
        authorities: str | None = None,
    ) -> Response:
        try:
            return await self._http.request(
                method, url, headers=headers, body=body, timeout=timeout, authorities=authorities
            )
        except NetworkError as error:
            raise NetworkError(f"{_host(url)}: {error}") from None
        except (OSError, ValueError) as error:
            raise NetworkError(f"{_host(url)}: {_sentence(error, timeout)}") from None

    def give_back_memory(self) -> None:
        """What the open connections have taken and do not need at the moment."""
        for websocket in list(self._websockets):
            websocket.give_back_memory()

    async def close(self) -> None:
        """End idle and open HTTP connections; websockets are closed by those who opened them."""
        await self._http.close()

    def _tls(self) -> ssl.SSLContext:
        if self._context is None:
            self._context = ssl.create_default_context()
        return self._context


def _host(url: str) -> str:
    try:
        return urlsplit(url).netloc.rpartition("@")[2] or "no host"
    except ValueError:
        return "no host"


def _sentence(error: Exception, timeout: float) -> str:
    """Why, without what a URL or a header may hold."""
    if isinstance(error, asyncio.TimeoutError):
        return f"no answer within {timeout:g} s"
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate is not accepted: {error.verify_message}"
    if isinstance(error, OSError):
        return error.strerror or type(error).__name__
    return type(error).__name__
