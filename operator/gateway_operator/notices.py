"""``POST /v1/notices``: a pod says that the operator had better look at its gateway now, and not in half a minute."""

from __future__ import annotations

from collections.abc import Callable

import msgspec
from aiohttp import web

from shard_runtime.contract import Notice, Problem, decode, encode

GatewayKey = tuple[str, str]


class NoticeRoutes:
    """For runtime pods alone."""

    def __init__(
        self,
        *,
        authenticated: Callable[[str], GatewayKey | None],
        beginning: Callable[[], bool],
        wake: Callable[[str, str], None],
    ) -> None:
        """*authenticated* names the gateway of a bearer token; *beginning*: there may be gateways not known yet; *wake*
        has a pass over a gateway made soon."""
        self._authenticated = authenticated
        self._beginning = beginning
        self._wake = wake

    def routes(self) -> list[web.RouteDef]:
        return [web.post("/v1/notices", self._take)]

    async def _take(self, request: web.Request) -> web.Response:
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        gateway = self._authenticated(token.strip()) if scheme.lower() == "bearer" else None
        if gateway is None:
            if self._beginning():
                return _problem(503, "The operator has just begun and does not know the gateway yet.")
            return _problem(401, "The bearer token is missing or wrong.")
        try:
            decode(await request.read(), Notice)
        except msgspec.DecodeError as error:
            return _problem(400, f"The request is not a Notice: {error}.")
        self._wake(*gateway)
        return web.Response(status=204)


def _problem(status: int, sentence: str) -> web.Response:
    return web.Response(status=status, body=encode(Problem(error=sentence)), content_type="application/json")
