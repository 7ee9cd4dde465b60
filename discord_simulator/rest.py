"""Discord's REST paths that a gateway client needs before it connects, and little more.

``GET /gateway``, ``/gateway/bot``, ``/users/@me`` and ``/applications/@me`` below ``/api/v10``, ``/api`` or nothing.
Source: Discord, "Get Gateway Bot"; docs/protocol.md, "HTTP bootstrap".
"""

from __future__ import annotations

import re
from typing import Final

import msgspec

from discord_simulator.compression import Encoder, encoder
from discord_simulator.gateway import Gateway
from discord_simulator.guilds import application_body, own_user_body
from discord_simulator.wire import Answer, Request, answer

_PREFIX: Final = re.compile(r"^(/api(/v\d+)?)?(?=/)")


class _SessionStartLimit(msgspec.Struct):
    total: int
    remaining: int
    reset_after: int
    max_concurrency: int


class _GatewayBot(msgspec.Struct):
    url: str
    shards: int
    session_start_limit: _SessionStartLimit


class _DiscordError(msgspec.Struct):
    message: str
    code: int = 0


def websocket_url(request: Request) -> str:
    """Where this client reaches us by websocket: the host it used for HTTP, as a Service may stand between."""
    scheme = "wss" if request.headers.get("x-forwarded-proto") == "https" else "ws"
    return f"{scheme}://{request.headers.get('host', '127.0.0.1')}"


def admit(gateway: Gateway, request: Request) -> Encoder | Answer:
    """Whether a websocket may be opened: the encoder of its messages, or the answer that refuses the upgrade."""
    if gateway.faults.strikes("refuseConnections"):
        gateway.truth.counters.connections_refused += 1
        return Answer(status=503, body=b"connections are refused (simulated)")
    try:
        parts = gateway.settings.zlib_parts
        return encoder(request.query.get("compress"), zlib_parts=parts, random=gateway.random)
    except ValueError as problem:
        return Answer(status=400, body=str(problem).encode())


def handle(gateway: Gateway, request: Request) -> Answer:
    """Answer one REST call."""
    if gateway.faults.strikes("apiHang"):
        return Answer(hangs=True)
    status = int(gateway.faults.value("api"))
    if status:
        headers = {"content-type": "application/json", **({"retry-after": "1"} if status == 429 else {})}
        body = msgspec.json.encode(_DiscordError(message=f"{status}: simulated"))
        return Answer(status=status, body=body, headers=headers)
    path = _PREFIX.sub("", request.path).rstrip("/")
    if request.method != "GET":
        return answer(_DiscordError(message="405: Method Not Allowed"), status=405)
    if path == "/gateway":
        return answer({"url": websocket_url(request)})
    if path not in ("/gateway/bot", "/users/@me", "/applications/@me", "/oauth2/applications/@me"):
        return answer(_DiscordError(message="404: Not Found"), status=404)
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    if scheme != "Bot" or not gateway.application.accepts(token):
        return answer(_DiscordError(message="401: Unauthorized"), status=401)
    if path == "/gateway/bot":
        return answer(_gateway_bot(gateway, request))
    if path == "/users/@me":
        return answer(own_user_body(gateway.application.id))
    return answer(application_body(gateway.application.id))


def _gateway_bot(gateway: Gateway, request: Request) -> _GatewayBot:
    budget = gateway.application.budget(gateway.now())
    recommended = gateway.settings.recommended_shards
    return _GatewayBot(
        url=websocket_url(request),
        shards=recommended if recommended is not None else max(1, -(-len(gateway.roster) // 1000)),
        session_start_limit=_SessionStartLimit(
            total=budget.total,
            remaining=budget.remaining,
            reset_after=budget.reset_after_milliseconds,
            max_concurrency=budget.max_concurrency,
        ),
    )
