"""The identify gate over HTTP: ``POST /v1/permits`` and ``POST /v1/permits/{id}/result`` for runtime pods, and the same
below ``/v1/gate`` for operators that share this gate."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import msgspec
from aiohttp import web

from gateway_operator import pod_calls
from gateway_operator.identify.asks import Answer, Ask, Refused
from gateway_operator.identify.clients import GateClient, GateClients
from gateway_operator.identify.shared import PATH, REMOTE, SharedGate, SharedRequest, SharedResult, asked
from gateway_operator.pod_calls import bearer_of, problem, stranger
from shard_runtime.contract import (
    PermitOutcome,
    PermitRequest,
    PermitResult,
    PermitWait,
    decode,
)

NO_GATE_HERE: Final = (
    "The operator that spec.identify.gateURL names has no DiscordGateway of that bot with the same token and without a "
    "gateURL of its own."
)


class GateRoutes:
    """The gate's calls; every one needs the bearer token of a gateway."""

    def __init__(
        self, *, clients: GateClients, on_refused: Callable[[str, str], None], shared: SharedGate | None = None
    ) -> None:
        """*on_refused* hears the namespace and name of a gateway whose bot token Discord refused, or whose permits the
        budget holds back; *shared* reaches the gates of other operators."""
        self._clients = clients
        self._on_refused = on_refused
        self._shared = shared

    def routes(self) -> list[web.RouteDef]:
        return [
            web.post("/v1/permits", self._request),
            web.post("/v1/permits/{id}/result", self._result),
            web.post(PATH, self._shared_request),
            web.post(PATH + "/{id}/result", self._shared_result),
        ]

    async def _request(self, request: web.Request) -> web.Response:
        client = self._authenticated(request)
        try:
            wish = decode(await request.read(), PermitRequest)
        except msgspec.DecodeError as error:
            if client is None:
                return stranger(beginning=False)
            return problem(400, f"The request is not a PermitRequest: {error}.")
        if client is None:
            unknown_yet = self._clients.may_be_unknown_yet(wish.namespace, wish.gateway)
            return stranger(beginning=unknown_yet)
        if (wish.namespace, wish.gateway) != (client.namespace, client.gateway):
            return problem(401, "The bearer token is another gateway's.")
        ask = self._clients.admit(client, wish)
        answer = await self._ask(client, ask) if isinstance(ask, Ask) else ask
        if self._clients.answered(client, answer):
            self._on_refused(client.namespace, client.gateway)
        return _of(answer)

    async def _ask(self, client: GateClient, ask: Ask) -> Answer:
        if client.gate_url is None:
            return self._clients.ask(ask)
        if self._shared is None or not client.gate_key:
            return Refused(reason="There is no bot token to ask the shared identify gate with.")
        return await self._shared.request(ask, url=client.gate_url, key=client.gate_key, gateway_uid=client.uid)

    async def _result(self, request: web.Request) -> web.Response:
        client = self._authenticated(request)
        if client is None:
            return stranger(beginning=self._clients.beginning)
        try:
            result = decode(await request.read(), PermitResult)
        except msgspec.DecodeError as error:
            return problem(400, f"The request is not a PermitResult: {error}.")
        if self._clients.result(client, request.match_info["id"], result):
            self._on_refused(client.namespace, client.gateway)
        if client.gate_url is not None and self._shared is not None:
            if result.outcome is PermitOutcome.TOKEN_REFUSED:  # says nothing of the token that the other operator has
                result = msgspec.structs.replace(result, outcome=PermitOutcome.REJECTED)
            told = await self._shared.result(
                request.match_info["id"],
                result,
                url=client.gate_url,
                key=client.gate_key,
                gateway_uid=client.uid,
            )
            if not told:
                return problem(503, "The shared identify gate does not answer; tell it again.")
        return web.Response(status=204)

    # --- Asked by other operators ------------------------------------------------------------------------------------

    async def _shared_request(self, request: web.Request) -> web.Response:
        client = self._clients.sharing(bearer_of(request))
        if client is None:
            return self._no_gate_here()
        try:
            wish = decode(await request.read(), SharedRequest)
        except msgspec.DecodeError as error:
            return problem(400, f"The request is not a SharedRequest: {error}.")
        ask = self._clients.admit_shared(client, lambda application: asked(wish, application))
        return _of(self._clients.ask(ask) if isinstance(ask, Ask) else ask)

    async def _shared_result(self, request: web.Request) -> web.Response:
        if self._clients.sharing(bearer_of(request)) is None:
            return self._no_gate_here()
        try:
            told = decode(await request.read(), SharedResult)
        except msgspec.DecodeError as error:
            return problem(400, f"The request is not a SharedResult: {error}.")
        self._clients.result_of(request.match_info["id"], told.result, REMOTE, told.gateway_uid)
        return web.Response(status=204)

    def _no_gate_here(self) -> web.Response:
        return stranger(beginning=True) if self._clients.beginning else problem(401, NO_GATE_HERE)

    def _authenticated(self, request: web.Request) -> GateClient | None:
        bearer = bearer_of(request)
        return self._clients.authenticated(bearer) if bearer else None


def _of(answer: Answer) -> web.Response:
    if isinstance(answer, Refused):
        return problem(409, answer.reason)
    if isinstance(answer, PermitWait):
        seconds = max(1, -(-answer.retry_after_milliseconds // 1000))
        return pod_calls.answer(429, answer, {"retry-after": str(seconds)})
    return pod_calls.answer(200, answer)
