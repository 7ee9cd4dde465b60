"""Keeps what pods that stop leave of their sessions, until the pods that replace them ask for it.

In memory: a leader that is new knows nothing, and then the siblings of the pod do.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from typing import Final

import msgspec
from aiohttp import web

from gateway_operator.pod_calls import answer, bearer_of, problem, stranger
from gateway_operator.ports import Clock
from shard_runtime.contract import Checkpoint, CheckpointBook, decode

GatewayKey = tuple[str, str]

MOST_SHARDS: Final = 1024
"""Of one pod's checkpoint: a pod holds at most 16,000 shards, one that makes sense a hundred."""


class CheckpointRoutes:
    """``POST /v1/checkpoints`` and ``GET /v1/checkpoints/{generation}/{pod}``, for runtime pods alone."""

    def __init__(
        self, *, clock: Clock, authenticated: Callable[[str], GatewayKey | None], beginning: Callable[[], bool]
    ) -> None:
        """*authenticated* names the gateway of a bearer token; *beginning*: there may be gateways not known yet."""
        self._clock = clock
        self._authenticated = authenticated
        self._beginning = beginning
        self._books: defaultdict[GatewayKey, CheckpointBook] = defaultdict(CheckpointBook)

    def routes(self) -> list[web.RouteDef]:
        return [
            web.post("/v1/checkpoints", self._put),
            web.get("/v1/checkpoints/{generation}/{pod}", self._get),
        ]

    def forget(self) -> None:
        """Another operator may have led meanwhile, and been told of later ones."""
        self._books.clear()

    async def _put(self, request: web.Request) -> web.Response:
        gateway = self._gateway(request)
        if gateway is None:
            return stranger(beginning=self._beginning())
        try:
            checkpoint = decode(await request.read(), Checkpoint)
        except msgspec.DecodeError as error:
            return problem(400, f"The request is not a Checkpoint: {error}.")
        if len(checkpoint.sessions) > MOST_SHARDS:
            return problem(413, f"A checkpoint has at most {MOST_SHARDS} sessions.")
        self._books[gateway].put(self._clock.monotonic(), checkpoint)
        return web.Response(status=204)

    async def _get(self, request: web.Request) -> web.Response:
        gateway = self._gateway(request)
        if gateway is None:
            return stranger(beginning=self._beginning())
        generation, pod, found = request.match_info["generation"], request.match_info["pod"], None
        if gateway in self._books and generation.isdecimal() and pod.isdecimal():
            found = self._books[gateway].get(self._clock.monotonic(), int(generation), int(pod))
        return problem(404, "Nothing is kept of that pod.") if found is None else answer(200, found)

    def _gateway(self, request: web.Request) -> GatewayKey | None:
        token = bearer_of(request)
        return self._authenticated(token) if token else None
