"""All of the operator but where its events come from, put together once for Kubernetes and for ``dgw local``."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from aiohttp import web

from gateway_hooks import Hooks
from gateway_operator.checkpoints import CheckpointRoutes
from gateway_operator.cluster.port import Cluster
from gateway_operator.discord_api import DiscordApi
from gateway_operator.identify.clients import GateClients
from gateway_operator.identify.server import GateRoutes
from gateway_operator.identify.shared import SharedGate
from gateway_operator.notices import NoticeRoutes
from gateway_operator.planning.actions import Plan
from gateway_operator.ports import Chance, Clock, HttpClient
from gateway_operator.reconcile.act import Actor
from gateway_operator.reconcile.discord import DiscordReader
from gateway_operator.reconcile.fleet import Fleet
from gateway_operator.reconcile.measures import PREFIX, Measures
from gateway_operator.reconcile.pods import PodCalls
from gateway_operator.reconcile.reconciler import GatewayKey, Reconciler
from gateway_operator.reconcile.statuses import StatusWriter
from gateway_operator.resources.settings import RuntimeSettings
from gateway_operator.web.metrics import Metric, Sample


@dataclass(frozen=True, slots=True, kw_only=True)
class ControlPlane:
    """The parts, wired."""

    fleet: Fleet
    clients: GateClients
    gate: GateRoutes
    checkpoints: CheckpointRoutes
    notices: NoticeRoutes
    measures: Measures
    statuses: StatusWriter
    clock: Clock
    cluster: Cluster
    leading: Callable[[], bool]
    hooks: Hooks | None = None

    @classmethod
    def assemble(
        cls,
        *,
        cluster: Cluster,
        http: HttpClient,
        clock: Clock,
        chance: Chance,
        settings: Callable[[], RuntimeSettings],
        incarnation: str,
        silent_start: bool = True,
        pace: float = 1.0,
        on_pass: Callable[[GatewayKey, Plan], None] | None = None,
        leading: Callable[[], bool] = lambda: True,
        hooks: Hooks | None = None,
    ) -> ControlPlane:
        """*incarnation* is new with each life of the operator. *silent_start* False: no operator gave identify permits
        before this one, so that its gate need not wait for those it does not know of.
        """
        pods = PodCalls(http)
        clients = GateClients(clock=clock, incarnation=incarnation, silent=silent_start)
        measures = Measures()
        statuses = StatusWriter(cluster=cluster, clock=clock)
        reconciler = Reconciler(
            cluster=cluster,
            pods=pods,
            actor=Actor(cluster=cluster, pods=pods),
            discord=DiscordReader(api=DiscordApi(http), clock=clock, chance=chance),
            clients=clients,
            clock=clock,
            settings=settings,
            measures=measures,
            statuses=statuses,
            pace=pace,
            on_pass=on_pass,
            hooks=hooks,
        )
        fleet = Fleet(reconciler=reconciler, cluster=cluster, chance=chance, measures=measures)
        return cls(
            fleet=fleet,
            clients=clients,
            gate=GateRoutes(clients=clients, on_refused=fleet.wake, shared=SharedGate(http)),
            checkpoints=CheckpointRoutes(
                clock=clock, authenticated=clients.gateway_of, beginning=lambda: clients.beginning
            ),
            notices=NoticeRoutes(
                authenticated=clients.gateway_of, beginning=lambda: clients.beginning, wake=fleet.wake
            ),
            measures=measures,
            statuses=statuses,
            clock=clock,
            cluster=cluster,
            leading=leading,
            hooks=hooks,
        )

    def begin(self, *, incarnation: str) -> None:
        """A term of leadership begins: nothing is known, and the gate is silent for as long as it must be."""
        self.clients.begin(incarnation=incarnation)
        self.checkpoints.forget()

    def routes(self) -> list[web.RouteDef]:
        """What runtime pods may call."""
        return [*self.gate.routes(), *self.checkpoints.routes(), *self.notices.routes()]

    def metrics(self) -> Iterable[Metric]:
        """All of the operator's metrics."""
        yield Metric.single(PREFIX + "leader", "gauge", "1 while this operator leads.", float(self.leading()))
        yield Metric.single(PREFIX + "gateways", "gauge", "Gateways looked after.", float(len(self.fleet.gateways)))
        yield from self.measures.metrics(self.clock.monotonic())
        errors = {} if self.hooks is None else self.hooks.errors
        yield Metric(
            PREFIX + "hook_errors_total",
            "counter",
            "Handlers that failed, so that the default ran.",
            [Sample(count, {"hook": name}) for name, count in sorted(errors.items())],
            ("hook",),
        )
        yield Metric.single(PREFIX + "permits_total", "counter", "Identify permits given.", float(self.clients.permits))
        calls = [
            Sample(count, {"verb": verb, "outcome": outcome})
            for (verb, outcome), count in sorted(self.cluster.calls.items())
        ]
        yield Metric(
            PREFIX + "api_calls_total", "counter", "Calls to the API server, by outcome.", calls, ("verb", "outcome")
        )
