"""The identify gate over HTTP: ``POST /v1/permits`` and ``POST /v1/permits/{id}/result``, for runtime pods alone."""

from __future__ import annotations

from collections.abc import Callable

import msgspec
from aiohttp import web

from gateway_operator.identify.clients import GateClient, GateClients
from gateway_operator.identify.gate import Refused
from shard_runtime.contract import PermitRequest, PermitResult, PermitWait, Problem, Wire, decode, encode


class GateRoutes:
    """The gate's calls; every one needs the bearer token of a gateway."""

    def __init__(self, *, clients: GateClients, on_refused: Callable[[str, str], None]) -> None:
        """*on_refused* hears the namespace and name of a gateway whose bot token Discord refused."""
        self._clients = clients
        self._on_refused = on_refused

    def routes(self) -> list[web.RouteDef]:
        return [web.post("/v1/permits", self._request), web.post("/v1/permits/{id}/result", self._result)]

    async def _request(self, request: web.Request) -> web.Response:
        client = self._authenticated(request)
        try:
            wish = decode(await request.read(), PermitRequest)
        except msgspec.DecodeError as error:
            if client is None:
                return _unauthorized()
            return _answer(400, Problem(error=f"The request is not a PermitRequest: {error}."))
        if client is None:
            unknown_yet = self._clients.may_be_unknown_yet(wish.namespace, wish.gateway)
            return _beginning() if unknown_yet else _unauthorized()
        if (wish.namespace, wish.gateway) != (client.namespace, client.gateway):
            return _answer(401, Problem(error="The bearer token is another gateway's."))
        answer = self._clients.request(client, wish)
        if isinstance(answer, Refused):
            return _answer(409, Problem(error=answer.reason))
        if isinstance(answer, PermitWait):
            seconds = max(1, -(-answer.retry_after_milliseconds // 1000))
            return _answer(429, answer, {"retry-after": str(seconds)})
        return _answer(200, answer)

    async def _result(self, request: web.Request) -> web.Response:
        client = self._authenticated(request)
        if client is None:
            return _beginning() if self._clients.beginning else _unauthorized()
        try:
            result = decode(await request.read(), PermitResult)
        except msgspec.DecodeError as error:
            return _answer(400, Problem(error=f"The request is not a PermitResult: {error}."))
        if self._clients.result(client, request.match_info["id"], result):
            self._on_refused(client.namespace, client.gateway)
        return web.Response(status=204)

    def _authenticated(self, request: web.Request) -> GateClient | None:
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        return self._clients.authenticated(token.strip()) if scheme.lower() == "bearer" else None


def _beginning() -> web.Response:
    return _answer(503, Problem(error="The operator has just begun and does not know the gateway yet."))


def _unauthorized() -> web.Response:
    return _answer(401, Problem(error="The bearer token is missing or wrong."))


def _answer(status: int, message: Wire, headers: dict[str, str] | None = None) -> web.Response:
    return web.Response(status=status, body=encode(message), content_type="application/json", headers=headers)
