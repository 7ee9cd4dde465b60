"""What calls that runtime pods make of the operator have in common: the token that names the caller, and answers."""

from __future__ import annotations

from aiohttp import web

from shard_runtime.contract import Problem, Wire, encode


def bearer_of(request: web.Request) -> str:
    """The bearer token that came with *request*; empty where there is none."""
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    return token.strip() if scheme.lower() == "bearer" else ""


def answer(status: int, message: Wire, headers: dict[str, str] | None = None) -> web.Response:
    """*message* as the JSON that pods read."""
    return web.Response(status=status, body=encode(message), content_type="application/json", headers=headers)


def problem(status: int, sentence: str) -> web.Response:
    """What was wrong, for the person who reads the pod's log."""
    return answer(status, Problem(error=sentence))


def stranger(*, beginning: bool) -> web.Response:
    """To a caller that no gateway's token names; *beginning*: there may be gateways not known yet."""
    if beginning:
        return problem(503, "The operator has just begun and does not know the gateway yet.")
    return problem(401, "The bearer token is missing or wrong.")
