"""Serves the operator's HTTP: probes and metrics for anyone, whatever else other parts add for those with a token."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Iterable
from typing import Final

from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError

from gateway_operator.web.metrics import CONTENT_TYPE, Metric, render

log = logging.getLogger(__name__)

LONGEST_BODY_BYTES: Final = 256 << 10
SHUTDOWN_SECONDS: Final = 2.0

OPEN: Final = frozenset({"/livez", "/readyz", "/metrics"})
"""Paths that answer without a token."""

Metrics = Callable[[], Iterable[Metric]]


class Surface:
    """One listening socket for the life of the operator."""

    def __init__(self, *, ready: Callable[[], bool], metrics: Metrics, routes: Iterable[web.RouteDef] = ()) -> None:
        self._ready = ready
        self._metrics = metrics
        self._app = web.Application(client_max_size=LONGEST_BODY_BYTES)
        self._app.add_routes(
            [
                web.get("/livez", self._livez),
                web.get("/readyz", self._readyz),
                web.get("/metrics", self._show_metrics),
                *routes,
            ]
        )
        self._runner: web.AppRunner | None = None

    @property
    def routes(self) -> list[tuple[str, str]]:
        """Every call there is, as its method and its path, or an example of it."""
        return [
            (route.method, re.sub(r"\{[^}]*\}", "1", route.resource.canonical))
            for route in self._app.router.routes()
            if route.resource is not None
        ]

    async def start(self, host: str, port: int) -> int:
        """Listen; port 0 takes a free one. Returns the port. Raises ``OSError``."""
        self._runner = web.AppRunner(
            self._app, access_log=None, shutdown_timeout=SHUTDOWN_SECONDS, logger=_requests_log()
        )
        await self._runner.setup()
        site = web.TCPSite(self._runner, host, port)
        await site.start()
        bound: int = self._runner.addresses[0][1]
        return bound

    async def stop(self) -> None:
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    async def _livez(self, _request: web.Request) -> web.Response:
        return web.Response(text="ok\n")

    async def _readyz(self, _request: web.Request) -> web.Response:
        ready = self._ready()
        return web.Response(status=200 if ready else 503, text="ok\n" if ready else "starting\n")

    async def _show_metrics(self, _request: web.Request) -> web.Response:
        return web.Response(text=render(self._metrics()), headers={"content-type": CONTENT_TYPE})


def _requests_log() -> logging.Logger:
    """Where aiohttp reports failed requests.

    It would print of a malformed one the line at fault, which may be the one with the token, and a trace for everybody
    who speaks no HTTP.
    """
    logger = logging.getLogger(f"{__name__}.requests")
    if not logger.filters:
        logger.addFilter(_failed_here)
    return logger


def _failed_here(record: logging.LogRecord) -> bool:
    error = record.exc_info[1] if record.exc_info else None
    return not isinstance(error, HttpProcessingError)
