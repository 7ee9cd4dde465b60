"""The life of an operator process: a candidate, sometimes the leader, and ready to answer all the time.

One term of leadership is one kopf thread and one set of loops. What a term knew is forgotten at its end: another
operator may act before this one leads again.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import Awaitable, Sequence
from typing import Final

from gateway_operator.cluster.port import GATEWAY, Cluster, ClusterError
from gateway_operator.control_plane import ControlPlane
from gateway_operator.handlers import Events
from gateway_operator.leadership.lease import Leadership

log = logging.getLogger(__name__)

RESOURCE_RETRY_SECONDS: Final = 3.0
KOPF_STOP_SECONDS: Final = 5.0


class Operation:
    """Runs terms until it is told to stop."""

    def __init__(
        self, *, plane: ControlPlane, cluster: Cluster, namespaces: Sequence[str], leadership: Leadership | None
    ) -> None:
        """*leadership* None: there is no other operator."""
        self._plane = plane
        self._cluster = cluster
        self._namespaces = namespaces
        self._leadership = leadership
        self._events: Events | None = None
        self._found = False
        self.stop = asyncio.Event()

    @property
    def ready(self) -> bool:
        """Whether this process does what it is here for: leading with open eyes, or waiting to."""
        if self._events is not None:
            return self._events.ready
        return self._found and self._leadership is not None

    async def run(self) -> int:
        """Run until :attr:`stop` (0), or until kopf's thread ends by itself or does not end (1)."""
        self._found = await self._resource_exists()
        await self._unless_stopped(self._plane.statuses.look())
        while not self.stop.is_set():
            if self._leadership is not None:
                await self._unless_stopped(self._leadership.acquire())
            if self.stop.is_set():
                break
            if not await self._term():
                return 1
        return 0

    async def _term(self) -> bool:
        """Lead until told to stop, or until somebody else may; False if the process had better be started anew."""
        self._plane.begin(incarnation=secrets.token_hex(4))
        events = self._events = Events(
            fleet=self._plane.fleet, loop=asyncio.get_running_loop(), namespaces=self._namespaces
        )
        lost = asyncio.ensure_future(self._lost())
        ended = asyncio.ensure_future(events.ended.wait())
        try:
            events.start()
            await self._unless_stopped(asyncio.wait((lost, ended), return_when=asyncio.FIRST_COMPLETED))
            by_itself = ended.done()
            log.info("kopf ended by itself; to be started anew" if by_itself else "the term ends")
        finally:
            for task in (lost, ended):
                task.cancel()
            await asyncio.gather(lost, ended, return_exceptions=True)
            await self._plane.fleet.stop()
            if self._leadership is not None:
                await self._leadership.release()
            await events.stop(seconds=KOPF_STOP_SECONDS)
            self._events = None
        return not by_itself and not events.alive

    async def _lost(self) -> None:
        if self._leadership is None:
            await asyncio.Event().wait()
        else:
            await self._leadership.keep()

    async def _resource_exists(self) -> bool:
        """Wait until the API server knows ``DiscordGateway``; False when told to stop before."""
        said = ""
        while not self.stop.is_set():
            try:
                await self._cluster.select(GATEWAY, self._namespaces[0] if self._namespaces else None, {})
            except ClusterError as error:
                if str(error) != said:
                    said = str(error)
                    log.warning("DiscordGateways cannot be listed yet (is the CRD installed?): %s", said)
            else:
                return True
            await self._unless_stopped(asyncio.sleep(RESOURCE_RETRY_SECONDS))
        return False

    async def _unless_stopped(self, work: Awaitable[object]) -> None:
        """Wait for *work*, or give it up when told to stop."""
        stopped, working = asyncio.ensure_future(self.stop.wait()), asyncio.ensure_future(work)
        try:
            await asyncio.wait((stopped, working), return_when=asyncio.FIRST_COMPLETED)
            if working.done():
                working.result()
        finally:
            for task in (stopped, working):
                task.cancel()
            await asyncio.gather(stopped, working, return_exceptions=True)
