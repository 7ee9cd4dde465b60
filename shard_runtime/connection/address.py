"""Where Discord's gateway is.

`GET /gateway` needs no token. Its answer is asked for again when a connection cannot be made with it, but used for as
long as there is no other: in an outage the API may be away while the gateway is not.
https://discord.com/developers/docs/events/gateway#connecting
"""

from __future__ import annotations

import asyncio
import contextlib
import re
from typing import Final
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

import msgspec

from shard_runtime.connection.inflate import query_value
from shard_runtime.ports import Network, NetworkError

REQUEST_SECONDS: Final = 10.0
NEWEST_VERSION: Final = "10"


class _Gateway(msgspec.Struct, frozen=True):
    url: str


class GatewayAddress:
    """The main gateway URL, asked for once; the shards of a worker may share one."""

    def __init__(self, *, network: Network, api_url: str, gateway_url: str | None) -> None:
        """*gateway_url*, where given, is used without asking the API."""
        self._network = network
        self._api_url = api_url.rstrip("/")
        self._fixed = gateway_url
        self._known: str | None = None
        self._doubtful = False
        self._asking = asyncio.Lock()

    async def url(self) -> str:
        """The main URL without query. Raises :class:`~shard_runtime.ports.NetworkError`."""
        if self._fixed is not None:
            return self._fixed
        async with self._asking:
            if self._known is None:
                self._known = await self._ask()
            elif self._doubtful:
                with contextlib.suppress(NetworkError):
                    self._known = await self._ask()
            self._doubtful = False
            return self._known

    def doubt(self) -> None:
        """Ask again next time: a connection with the known URL did not come about."""
        self._doubtful = True

    def connection_url(self, base: str, *, compression: str) -> str:
        """*base* with the query that every connection of a session carries; a query of its own is kept."""
        parts = urlsplit(base)
        query = dict(parse_qsl(parts.query, keep_blank_values=True))
        version = re.search(r"/v(\d+)$", self._api_url)
        query |= {"v": version[1] if version else NEWEST_VERSION, "encoding": "json"}
        if (compress := query_value(compression)) is not None:
            query["compress"] = compress
        return urlunsplit((parts.scheme, parts.netloc, parts.path or "/", urlencode(query), ""))

    async def _ask(self) -> str:
        url = f"{self._api_url}/gateway"
        answer = await self._network.request("GET", url, headers={}, timeout=REQUEST_SECONDS)
        host = urlsplit(url).netloc
        if answer.status != 200:
            raise NetworkError(f"{host}: GET /gateway answered {answer.status}")
        try:
            return msgspec.json.decode(answer.body, type=_Gateway).url
        except (msgspec.DecodeError, UnicodeDecodeError):
            raise NetworkError(f"{host}: GET /gateway answered something that is not Discord's") from None
