"""The control plane's HTTP calls, to runtime pods and to Discord: ``ports.HttpClient`` over aiohttp."""

from __future__ import annotations

from collections.abc import Mapping
from types import TracebackType
from urllib.parse import urlsplit

import aiohttp

from gateway_operator.ports import HttpError, HttpResponse

MAX_ANSWER_BYTES = 16 << 20
"""More than any status of a pod; what is longer is refused rather than read."""

MAX_CONNECTIONS = 128


class AiohttpClient:
    """One connection pool for the life of the operator; use as an async context manager."""

    def __init__(self) -> None:
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> AiohttpClient:
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=MAX_CONNECTIONS), cookie_jar=aiohttp.DummyCookieJar()
        )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._session is not None:
            await self._session.close()

    async def request(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str],
        body: bytes = b"",
        timeout: float,
    ) -> HttpResponse:
        if self._session is None:
            raise HttpError("the HTTP client is closed")
        host = urlsplit(url).netloc.rpartition("@")[2]
        try:
            async with self._session.request(
                method,
                url,
                headers=dict(headers),
                data=body or None,
                timeout=aiohttp.ClientTimeout(total=timeout),
                allow_redirects=False,
            ) as answer:
                content = await answer.content.read(MAX_ANSWER_BYTES)
                while not answer.content.at_eof() and len(content) < MAX_ANSWER_BYTES:
                    content += await answer.content.read(MAX_ANSWER_BYTES - len(content))
                if len(content) >= MAX_ANSWER_BYTES:
                    raise HttpError(f"{host} sent an answer longer than {MAX_ANSWER_BYTES >> 20} MiB")
                return HttpResponse(
                    status=answer.status,
                    body=content,
                    headers={name.lower(): value for name, value in answer.headers.items()},
                )
        except TimeoutError:
            raise HttpError(f"{host} did not answer within {timeout:g} s") from None
        except (aiohttp.ClientError, OSError, ValueError) as error:
            raise HttpError(f"{host} cannot be reached: {_cause(error)}") from None


def _cause(error: Exception) -> str:
    """The shortest honest cause; aiohttp's own texts repeat host and SSL settings."""
    if isinstance(error, aiohttp.ClientConnectorError):
        return error.os_error.strerror or str(error.os_error)
    if isinstance(error, aiohttp.InvalidURL):
        return "the URL is not valid"
    return str(error) or type(error).__name__
