"""The operator as one process of the virtual world: loops, gate and HTTP, told of changes as kopf would tell."""

from __future__ import annotations

import asyncio
import random
import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from aiohttp import web
from gateway_operator.api.generation import GATEWAY_LABEL
from gateway_operator.cluster.port import GATEWAY, POD, STATEFUL_SET, Manifest
from gateway_operator.cluster.processes.objects import ObjectStore
from gateway_operator.control_plane import ControlPlane
from gateway_operator.ports import HttpError, HttpResponse
from gateway_operator.resources.settings import RuntimeSettings
from system.cluster import ApiFaults, ClusterOfProcess
from system.trace import Trace
from virtual.network import NetworkOfProcess, Request
from virtual.world import Process, World

from shard_runtime import contract
from shard_runtime.ports import Clock, NetworkError, Response

HOST: Final = "operator.test"
NODE: Final = "operator"
URL: Final = f"http://{HOST}"
START_SECONDS: Final = (0.3, 1.0)
NEWS_SECONDS: Final = (0.01, 0.2)
"""How long a watch takes to tell of a change."""


@dataclass(frozen=True, slots=True)
class OperatorClock:
    """:class:`gateway_operator.ports.Clock` on the runtime's."""

    clock: Clock

    def monotonic(self) -> float:
        return self.clock.monotonic()

    def unix(self) -> float:
        return self.clock.unix_milliseconds() / 1000


@dataclass(frozen=True, slots=True)
class OperatorHttp:
    """:class:`gateway_operator.ports.HttpClient` on the virtual network."""

    network: NetworkOfProcess

    async def request(
        self, method: str, url: str, *, headers: Mapping[str, str], body: bytes = b"", timeout: float
    ) -> HttpResponse:
        try:
            answer = await self.network.request(method, url, headers=headers, body=body, timeout=timeout)
        except NetworkError as error:
            raise HttpError(str(error)) from None
        return HttpResponse(status=answer.status, body=answer.body, headers=answer.headers)


@dataclass(slots=True)
class _Life:
    """One process of the operator."""

    process: Process
    cluster: ClusterOfProcess | None = None
    """None, as the plane, until it is up."""
    plane: ControlPlane | None = None

    def end(self) -> None:
        """As ``kill -9`` does."""
        self.process.kill()
        if self.plane is not None and self.cluster is not None:
            self.cluster.die()
            # nothing it does has an effect any more; this only ends its tasks
            task = asyncio.get_running_loop().create_task(self.plane.fleet.stop(), name="end of a dead operator")
            task.add_done_callback(lambda done: done.cancelled() or done.result())
            self.plane = self.cluster = None


class Operator:
    """The Deployment: at most one life at a time, started by the test, and beside it one that was deposed."""

    def __init__(
        self,
        world: World,
        store: ObjectStore,
        trace: Trace,
        *,
        permitted: Callable[[int, int, float], None],
        skew_seconds: float = 0.0,
    ) -> None:
        """*permitted* is told of each permit: generation, shard, and when it was given on the loop's clock.
        *skew_seconds*: by which its machine's wall clock is off."""
        self._skew_seconds = skew_seconds
        self._permitted = permitted
        self.faults = ApiFaults()
        self.lives = 0
        self.began: list[float] = []
        """When each life did."""
        self._world = world
        self._store = store
        self._trace = trace
        self._life: _Life | None = None
        self._deposed: _Life | None = None
        self._news = random.Random(f"news/{world.seed}")
        self._generations: dict[tuple[str, str], int] = {}
        store.subscribe(self._on_object)

    @property
    def alive(self) -> bool:
        return self._life is not None

    def start(self) -> None:
        assert self._life is None
        self.lives += 1
        self.began.append(asyncio.get_running_loop().time())
        life = self._life = _Life(self._world.process(NODE, skew_seconds=self._skew_seconds))
        life.process.spawn(self._start_up(life), name="start")

    async def _start_up(self, life: _Life) -> None:
        process = life.process
        await process.clock.sleep(process.chance.uniform(*START_SECONDS))
        life.cluster = ClusterOfProcess(self._store, chance=process.chance, faults=self.faults)
        life.plane = ControlPlane.assemble(
            cluster=life.cluster,
            http=OperatorHttp(process.network),
            clock=OperatorClock(process.clock),
            chance=process.chance,
            settings=lambda: RuntimeSettings(image="virtual", operator_url=URL),
            incarnation=f"life-{self.lives}",
        )
        self._world.network.serve(HOST, node=NODE, http=GateOnNetwork(life.plane, permitted=self._permitted).http)
        self._trace.note(NODE, "starts")
        for gateway in self._store.select(GATEWAY, None, {}):
            life.plane.fleet.add(gateway["metadata"]["namespace"], gateway["metadata"]["name"])

    def kill(self) -> None:
        """As ``kill -9`` does."""
        assert self._life is not None
        self._trace.note(NODE, "is killed")
        life, self._life = self._life, None
        self._world.network.crash_servers(NODE)
        life.end()

    def depose(self) -> None:
        """Another one is to lead, and the one that runs does not know, as after a pause of its machine in which its
        clocks stood still: it goes on to change the cluster. Nobody asks it for permits any more."""
        assert self._life is not None and self._deposed is None
        self._trace.note(NODE, "is deposed, and does not know")
        self._deposed, self._life = self._life, None
        self._world.network.crash_servers(NODE)

    def end_deposed(self) -> None:
        """It knows at last."""
        assert self._deposed is not None
        self._trace.note(NODE, "that was deposed ends")
        self._deposed.end()
        self._deposed = None

    def set_clock(self, skew_seconds: float) -> None:
        """Set its machine's wall clock, for lives that start from now on."""
        self._trace.note(NODE, f"has its clock {skew_seconds:+g} s off")
        self._skew_seconds = skew_seconds

    # --- Watches ------------------------------------------------------------------------------------------------------

    def _on_object(self, manifest: Manifest) -> None:
        """As ``gateway_operator.handlers``: a changed spec, StatefulSets and pods wake the gateway's loop."""
        metadata = manifest["metadata"]
        key = (metadata["namespace"], metadata["name"])
        if manifest["kind"] == GATEWAY.kind:
            if self._generations.get(key) == metadata["generation"]:
                return
            self._generations[key] = metadata["generation"]
            self._tell(*key)
        elif manifest["kind"] in (STATEFUL_SET.kind, POD.kind):
            self._tell(metadata["namespace"], metadata["labels"][GATEWAY_LABEL])

    def _tell(self, namespace: str, name: str) -> None:
        def tell() -> None:
            for life in (self._life, self._deposed):
                if life is not None and life.plane is not None:
                    life.plane.fleet.add(namespace, name)
                    life.plane.fleet.wake(namespace, name)

        asyncio.get_running_loop().call_later(self._news.uniform(*NEWS_SECONDS), tell)


class GateOnNetwork:
    """The operator's aiohttp routes behind the virtual network."""

    def __init__(self, plane: ControlPlane, *, permitted: Callable[[int, int, float], None]) -> None:
        self._permitted = permitted
        self._routes = [
            (route.method, re.compile(re.sub(r"\{(\w+)\}", r"(?P<\1>[^/]+)", route.path)), route.handler)
            for route in plane.routes()
            if isinstance(route, web.RouteDef)
        ]

    async def http(self, request: Request) -> Response:
        for method, pattern, handler in self._routes:
            found = pattern.fullmatch(request.path)
            if method == request.method and found is not None:
                handle: Callable[[Any], Awaitable[Any]] = handler
                answer = await handle(_WebRequest(request, found.groupdict()))
                body = answer.body if isinstance(answer.body, bytes) else b""
                if request.path == "/v1/permits" and answer.status == 200:
                    asked = contract.decode(request.body, contract.PermitRequest)
                    self._permitted(asked.generation, asked.shard, asyncio.get_running_loop().time())
                return Response(status=answer.status, headers={}, body=body)
        return Response(status=404, headers={}, body=b"")


class _WebRequest:
    """What the gate's handlers use of ``aiohttp.web.Request``."""

    def __init__(self, request: Request, match_info: Mapping[str, str]) -> None:
        self.headers = request.headers
        self.match_info = match_info
        self._body = request.body

    async def read(self) -> bytes:
        return self._body
