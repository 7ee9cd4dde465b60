"""The little of Discord's HTTP API that the control plane needs: the session start limit, and whose token it is.

Source: https://discord.com/developers/docs/events/gateway#get-gateway-bot and
https://discord.com/developers/docs/resources/application#get-current-application. The token travels in one header and
appears in no error.
"""

from __future__ import annotations

import enum
import hashlib
from typing import Final
from urllib.parse import urlsplit

import msgspec

from gateway_operator.ports import HttpClient, HttpError, HttpResponse

TIMEOUT_SECONDS: Final = 5.0
USER_AGENT: Final = "DiscordBot (https://github.com/discord-gateway-operator, 0.1.0)"


class Trouble(enum.Enum):
    UNREACHABLE = "unreachable"
    TOKEN_REFUSED = "token refused"


class DiscordApiError(Exception):
    """A call failed; the text is a sentence for a person."""

    def __init__(self, sentence: str, *, trouble: Trouble, retry_after_seconds: float = 0.0) -> None:
        super().__init__(sentence)
        self.trouble = trouble
        self.retry_after_seconds = retry_after_seconds


class SessionStartLimit(msgspec.Struct, frozen=True, kw_only=True):
    """Discord's own names; ``reset_after`` in milliseconds."""

    total: int
    remaining: int
    reset_after: int
    max_concurrency: int


class GatewayBot(msgspec.Struct, frozen=True, kw_only=True):
    """Answer of ``GET /gateway/bot``."""

    url: str
    shards: int
    session_start_limit: SessionStartLimit


class _Application(msgspec.Struct, frozen=True):
    id: str


class DiscordApi:
    """Calls of one operator to whatever API each gateway names."""

    def __init__(self, http: HttpClient) -> None:
        self._http = http

    async def gateway_bot(self, *, api_url: str, token: str) -> GatewayBot:
        """Read the recommended shards and the session start limit. Raises :class:`DiscordApiError`."""
        answer = await self._get(api_url, "/gateway/bot", token)
        if answer.status != 200:
            raise _refusal(answer, f"{_host(api_url)} answered {answer.status} to GET /gateway/bot.")
        try:
            bot = msgspec.json.decode(answer.body, type=GatewayBot)
        except msgspec.DecodeError as error:
            raise DiscordApiError(
                f"{_host(api_url)} answered GET /gateway/bot with something else than Discord would: {error}.",
                trouble=Trouble.UNREACHABLE,
            ) from None
        if bot.session_start_limit.max_concurrency < 1:
            raise DiscordApiError(f"{_host(api_url)} says max_concurrency is below 1.", trouble=Trouble.UNREACHABLE)
        return bot

    async def application(self, *, api_url: str, token: str) -> str:
        """Return what names the application across rotations of its token: its id.

        An API without the call (a proxy, a simulator) gets a hash of the token, which is as good until it rotates.
        Raises :class:`DiscordApiError`.
        """
        answer = await self._get(api_url, "/applications/@me", token)
        if answer.status == 200:
            try:
                return msgspec.json.decode(answer.body, type=_Application).id
            except msgspec.DecodeError:
                return token_fingerprint(token)
        if answer.status in (403, 404, 405, 501):
            return token_fingerprint(token)
        raise _refusal(answer, f"{_host(api_url)} answered {answer.status} to GET /applications/@me.")

    async def _get(self, api_url: str, path: str, token: str) -> HttpResponse:
        headers = {"authorization": f"Bot {token}", "user-agent": USER_AGENT}
        try:
            return await self._http.request("GET", api_url.rstrip("/") + path, headers=headers, timeout=TIMEOUT_SECONDS)
        except HttpError as error:
            raise DiscordApiError(f"{error}.", trouble=Trouble.UNREACHABLE) from None


def token_fingerprint(token: str) -> str:
    """A name for a token that does not give it away."""
    return "token-" + hashlib.sha256(b"discord-gateway-operator\0" + token.encode()).hexdigest()[:16]


def _refusal(answer: HttpResponse, sentence: str) -> DiscordApiError:
    if answer.status == 401:
        return DiscordApiError(
            f"{sentence} The bot token is wrong or was reset; put the present one into the Secret.",
            trouble=Trouble.TOKEN_REFUSED,
        )
    try:
        retry_after = float(answer.headers.get("retry-after", "0"))
    except ValueError:
        retry_after = 0.0
    return DiscordApiError(sentence, trouble=Trouble.UNREACHABLE, retry_after_seconds=min(max(retry_after, 0.0), 600.0))


def _host(api_url: str) -> str:
    return urlsplit(api_url).netloc.rpartition("@")[2]
