"""``POST /v1/notices``: a pod says that the operator had better look at its gateway now, and not in half a minute."""

from __future__ import annotations

from collections.abc import Callable

import msgspec
from aiohttp import web

from gateway_operator.pod_calls import bearer_of, problem, stranger
from shard_runtime.contract import Notice, decode

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
        token = bearer_of(request)
        gateway = self._authenticated(token) if token else None
        if gateway is None:
            return stranger(beginning=self._beginning())
        try:
            decode(await request.read(), Notice)
        except msgspec.DecodeError as error:
            return problem(400, f"The request is not a Notice: {error}.")
        self._wake(*gateway)
        return web.Response(status=204)
