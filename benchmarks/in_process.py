"""A receiver without a network, for what is measured inside one process: each answer comes at once."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

from shard_runtime.ports import FrameListener, Response, WebSocket


class Receiver:
    """Answers every request with :attr:`status`."""

    def __init__(self, status: int) -> None:
        self.status = status

    async def connect(self, url: str, listener: FrameListener, *, timeout: float) -> WebSocket:
        raise NotImplementedError

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
        await asyncio.sleep(0)
        return Response(self.status, {}, b"")


def messages(count: int) -> list[bytes]:
    """*count* payloads of about 0.9 KB, each of a guild of its own."""
    body = '"content":"' + "x" * 700 + '","channel_id":"1","author":{"id":"2","username":"someone"}'
    return [
        f'{{"t":"MESSAGE_CREATE","s":{n},"op":0,"d":{{"id":"{n}","guild_id":"{n << 22}",{body}}}}}'.encode()
        for n in range(1, count + 1)
    ]
