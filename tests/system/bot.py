"""The receiver on the virtual network: a bot that can be away, slow or failing, and whose log outlives it."""

from __future__ import annotations

import asyncio
from typing import Final

from system.trace import Trace
from virtual.network import Request
from virtual.world import World

from discord_simulator import wire
from discord_simulator.inbox import Behaviour, Inbox
from discord_simulator.receipts import Receipts, Received
from shard_runtime.ports import Response

HOST: Final = "bot.test"
NODE: Final = "bot"
URL: Final = f"http://{HOST}/events"


class Bot:
    """Starts at once."""

    def __init__(self, world: World, trace: Trace) -> None:
        self._world = world
        self._trace = trace
        self._log: list[bytes] = []
        self._inbox = self._new_inbox()
        self.start()

    def _new_inbox(self) -> Inbox:
        receipts = Receipts(append=self._append)
        receipts.read_back(self._log)
        return Inbox(receipts=receipts, unix_milliseconds=self._world.clock.unix_milliseconds, digests=True)

    def _append(self, line: bytes) -> None:
        self._log.append(line)
        self._trace.record(line)

    def start(self) -> None:
        self._trace.note(NODE, "listens")
        self._inbox = self._new_inbox()
        self._world.network.serve(HOST, node=NODE, http=self._http)

    def stop(self) -> None:
        """In one moment: requests in flight have no answer, and are recorded only if they were answered."""
        self._trace.note(NODE, "is away")
        self._world.network.crash_servers(NODE)

    def behave(self, behaviour: Behaviour) -> None:
        self._trace.note(NODE, f"behaves as {behaviour}")
        self._inbox.behaviour = behaviour

    def received(self) -> Received:
        return self._inbox.receipts.received()

    @property
    def deliveries(self) -> int:
        return self._inbox.receipts.totals.events

    async def _http(self, request: Request) -> Response:
        inbox = self._inbox
        received = wire.Request(
            method=request.method, path=request.path, query=request.query, headers=request.headers, body=request.body
        )
        planned = inbox.arrived(received)
        if planned.hangs:
            await asyncio.get_running_loop().create_future()
        await asyncio.sleep(planned.after_seconds)
        answer = inbox.finish(received, planned, answerable=True)
        return Response(status=answer.status, headers=dict(answer.headers), body=answer.body)
