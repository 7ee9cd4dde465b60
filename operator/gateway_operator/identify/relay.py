"""An operator that does not lead passes calls of pods on to the one that does.

The Service that pods ask may send them to any operator, and a pod should not have to know which of them leads.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from typing import Final

from aiohttp import web

from gateway_operator.ports import HttpClient, HttpError
from shard_runtime.contract import Problem, encode

log = logging.getLogger(__name__)

TIMEOUT_SECONDS: Final = 3.0
RELAYED: Final = "x-discord-gateway-relayed"
"""Marks a call that was passed on, which is not passed on again."""

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Relay:
    """Between the HTTP surface and the leader's routes."""

    def __init__(
        self, *, http: HttpClient, leading: Callable[[], bool], leader_address: Callable[[], str | None]
    ) -> None:
        self._http = http
        self._leading = leading
        self._leader_address = leader_address

    def routes(self, routes: list[web.RouteDef]) -> list[web.RouteDef]:
        """*routes*, answered by the leader wherever they are asked."""
        return [web.route(route.method, route.path, self._guard(route.handler)) for route in routes]

    def _guard(self, handler: Handler) -> Handler:
        async def guarded(request: web.Request) -> web.StreamResponse:
            return await handler(request) if self._leading() else await self._pass_on(request)

        return guarded

    async def _pass_on(self, request: web.Request) -> web.Response:
        address = self._leader_address()
        if address is None or RELAYED in request.headers:
            return _unavailable()
        headers = {
            name: value for name, value in request.headers.items() if name.lower() in ("authorization", "content-type")
        }
        try:
            answer = await self._http.request(
                request.method,
                address.rstrip("/") + request.path_qs,
                headers={**headers, RELAYED: "1"},
                body=await request.read(),
                timeout=TIMEOUT_SECONDS,
            )
        except HttpError as error:
            log.debug("the leader does not answer: %s", error)
            return _unavailable()
        kept = {name: value for name, value in answer.headers.items() if name in ("content-type", "retry-after")}
        return web.Response(status=answer.status, body=answer.body, headers=kept)


def _unavailable() -> web.Response:
    problem = Problem(error="No operator leads at the moment; ask again.")
    return web.Response(status=503, body=encode(problem), content_type="application/json", headers={"retry-after": "1"})
