"""One pass over one gateway, and what is remembered between passes (nothing that a restart would miss)."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Final

from gateway_hooks import Hooks
from gateway_operator.api.status import Status
from gateway_operator.cluster.port import Cluster, RefusedError
from gateway_operator.identify.clients import GateClients
from gateway_operator.planning.actions import EnsureGeneration, EnsureShared, Plan, RefreshDiscord, WriteRecord
from gateway_operator.planning.news import news, unpulled
from gateway_operator.planning.observed import Observation
from gateway_operator.planning.plan import plan
from gateway_operator.ports import Clock
from gateway_operator.reconcile.act import Actor, Site
from gateway_operator.reconcile.discord import DiscordReader, Reading
from gateway_operator.reconcile.gate_desk import GateDesk
from gateway_operator.reconcile.handler_file import HandlerFile, read_handler_file
from gateway_operator.reconcile.measures import Measures
from gateway_operator.reconcile.observe import Parsed, World, read_gateway, read_world
from gateway_operator.reconcile.opinions import begin_reshard, opinion_of
from gateway_operator.reconcile.pods import PodCalls
from gateway_operator.reconcile.pulls import PullMemory, read_pulls
from gateway_operator.reconcile.rates import EventRates
from gateway_operator.reconcile.statuses import StatusWriter
from gateway_operator.reconcile.telling import Teller
from gateway_operator.reconcile.tokens import BotToken, read_bot_token
from gateway_operator.resources.settings import RuntimeSettings
from shard_runtime.contract import PodStatus

log = logging.getLogger(__name__)

GAUGE_SECONDS: Final = 60.0
"""Gauges of an unchanged gateway are written at most this often."""
GONE_SECONDS: Final = 30.0
AGAIN_LIMIT: Final = 10
"""Passes in a row that may follow each other at once; more would be a loop that makes no progress."""
BREATH_SECONDS: Final = 1.0

GatewayKey = tuple[str, str]
"""Namespace and name."""


@dataclass(slots=True)
class _Memory:
    """What one gateway's passes leave for the next."""

    since: int
    """When the gateway was first looked at, in unix milliseconds."""
    rates: EventRates = field(default_factory=EventRates)
    status: Status | None = None
    written: Status | None = None
    gauges_written: float = float("-inf")
    in_a_row: int = 0
    refused: str | None = None
    """What the API server said of an object that it did not take."""
    pulls: PullMemory = field(default_factory=PullMemory)


@dataclass(frozen=True, slots=True, kw_only=True)
class Pass:
    """The outcome of one pass."""

    wait_seconds: float
    """Until the next one, unless something changes before."""
    plan: Plan | None = field(default=None)
    """None when the gateway is gone."""


class Reconciler:
    """Observes, plans, applies and writes status for all gateways of one operator, one pass at a time each."""

    def __init__(
        self,
        *,
        cluster: Cluster,
        pods: PodCalls,
        actor: Actor,
        discord: DiscordReader,
        clients: GateClients,
        clock: Clock,
        settings: Callable[[], RuntimeSettings],
        measures: Measures,
        statuses: StatusWriter,
        pace: float = 1.0,
        on_pass: Callable[[GatewayKey, Plan], None] | None = None,
        hooks: Hooks | None = None,
    ) -> None:
        """*measures* is told of every pass, *on_pass* sees every plan; *pace* scales how long a pass waits while a
        gateway is not at rest."""
        self._cluster = cluster
        self._pods = pods
        self._actor = actor
        self._discord = discord
        self._gate = GateDesk(clients)
        self._clock = clock
        self._settings = settings
        self._measures = measures
        self._statuses = statuses
        self._teller = Teller(cluster=cluster, clock=clock)
        self._pace = pace
        self._on_pass = on_pass
        self._hooks = hooks
        self._memories: dict[GatewayKey, _Memory] = {}

    async def pass_over(self, namespace: str, name: str) -> Pass:
        """One pass. Raises :class:`ClusterError` where the cluster does not let it end."""
        began = self._clock.monotonic()
        gateway = await read_gateway(self._cluster, namespace, name)
        if gateway is None:
            self.forget(namespace, name)
            return Pass(wait_seconds=GONE_SECONDS)
        await self._statuses.look_again()
        key = (namespace, name)
        memory = self._memories.setdefault(key, _Memory(since=self._unix_milliseconds(), written=gateway.status))
        world = await read_world(self._cluster, self._pods, gateway.metadata, rates=self._rates_of(memory))
        token = (
            BotToken(observed=None)
            if gateway.spec is None
            else await read_bot_token(self._cluster, namespace, gateway.spec)
        )
        handlers = await read_handler_file(self._cluster, gateway.metadata, gateway.spec)
        pulls = await read_pulls(
            self._cluster, gateway.metadata, world.generations, _previous(gateway, memory), memory.pulls
        )
        reading = await self._read_discord(gateway, token)
        gauges_due = self._clock.monotonic() - memory.gauges_written >= GAUGE_SECONDS
        observation = self._observation(gateway, world, token, reading, handlers, memory, gauges_due=gauges_due)
        observation = replace(observation, pulls=pulls, opinion=await opinion_of(self._hooks, observation))
        memory.rates.keep(generation.number for generation in world.generations)
        self._gate.tell(gateway, world, token, reading)
        planned = plan(observation)
        if not gauges_due and planned.status != memory.written:
            # The status is written anyway, and gauges that were true a minute ago would only mislead beside it.
            gauges_due = True
            planned = plan(replace(observation, gauges_due=True))
        site = Site(
            gateway=gateway,
            spec=gateway.spec,
            world=world,
            settings=self._settings_of(gateway),
            token_version=token.version,
            handlers=handlers.source,
            now=observation.now,
            pulls=memory.pulls,
        )

        async def refresh() -> None:
            await self._read_discord(gateway, token, fresh=True)

        refused = None
        for action in planned.actions:
            perform = partial(self._actor.perform, action, site, refresh=refresh)
            if isinstance(action, WriteRecord):
                await begin_reshard(self._hooks, action, observation, perform)
            elif isinstance(action, EnsureShared | EnsureGeneration):
                said = await _refusal_of(perform, gateway.metadata.name)
                refused = refused or said
            else:
                await perform()
        tell_soon, memory.refused = refused != memory.refused, refused
        memory.status = planned.status
        await self._write_status(key, memory, planned.status, gauges_due=gauges_due)
        events = [*news(observation.previous, planned.status), *unpulled(planned.actions)]
        await self._teller.tell(gateway.manifest, events)
        now = self._clock.monotonic()
        self._measures.passed(key, now=now, seconds=now - began, status=planned.status, held=observation.held)
        if self._on_pass is not None:
            self._on_pass(key, planned)
        wait = self._wait(memory, planned)
        return Pass(wait_seconds=min(wait, BREATH_SECONDS) if tell_soon else wait, plan=planned)

    def forget(self, namespace: str, name: str) -> None:
        """The gateway is gone: its pods get no more permits, and nothing is remembered."""
        self._memories.pop((namespace, name), None)
        self._actor.forget(namespace, name)
        self._teller.forget(namespace, name)
        self._measures.forget((namespace, name))
        self._gate.forget(namespace, name)
        self._discord.forget(namespace, name)

    # --- Observing ---------------------------------------------------------------------------------------------------

    async def _read_discord(self, gateway: Parsed, token: BotToken, *, fresh: bool = False) -> Reading:
        if gateway.spec is None or token.value is None:
            return Reading()
        metadata = gateway.metadata
        return await self._discord.read(
            metadata.namespace, metadata.name, api_url=gateway.spec.api_url, token=token.value, fresh=fresh
        )

    def _observation(
        self,
        gateway: Parsed,
        world: World,
        token: BotToken,
        reading: Reading,
        handlers: HandlerFile,
        memory: _Memory,
        *,
        gauges_due: bool,
    ) -> Observation:
        return Observation(
            now=self._unix_milliseconds(),
            metadata=gateway.metadata,
            spec=gateway.spec,
            problems=gateway.problems if handlers.problem is None else (*gateway.problems, handlers.problem),
            record=world.record,
            generations=world.generations,
            secret=token.observed,
            discord=self._gate.discord_info(reading),
            discord_problem=self._gate.refused(gateway, token) or reading.problem,
            held=self._gate.held(gateway),
            refused=memory.refused,
            outdated=self._statuses.problem,
            previous=_previous(gateway, memory),
            watched_since=memory.since,
            gauges_due=gauges_due,
        )

    def _rates_of(self, memory: _Memory) -> Callable[[PodStatus], Mapping[int, float]]:
        now = self._clock.monotonic()
        return lambda status: memory.rates.note(now, status.generation, status.shards)

    def _unix_milliseconds(self) -> int:
        return int(self._clock.unix() * 1000)

    # --- Telling others ----------------------------------------------------------------------------------------------

    async def _write_status(self, key: GatewayKey, memory: _Memory, status: Status, *, gauges_due: bool) -> None:
        if status == memory.written:
            return
        if not await self._statuses.write(*key, status):
            return
        memory.written = status
        if gauges_due:
            memory.gauges_written = self._clock.monotonic()

    def _settings_of(self, gateway: Parsed) -> RuntimeSettings:
        metadata = gateway.metadata
        pattern = self._cluster.sibling_pattern(metadata.namespace, metadata.name)
        settings = self._settings()
        return settings if pattern is None else replace(settings, pod_url=pattern)

    def _wait(self, memory: _Memory, planned: Plan) -> float:
        if not planned.again:
            memory.in_a_row = 0
            return planned.wake_after_seconds * (self._pace if planned.wake_after_seconds < GONE_SECONDS else 1.0)
        memory.in_a_row += 1
        if memory.in_a_row > AGAIN_LIMIT or any(isinstance(action, RefreshDiscord) for action in planned.actions):
            return BREATH_SECONDS * min(self._pace, 1.0)
        return 0.0


def _previous(gateway: Parsed, memory: _Memory) -> Status:
    return gateway.status if memory.status is None else memory.status


async def _refusal_of(apply: Callable[[], Awaitable[None]], gateway: str) -> str | None:
    """Apply objects; the API server's sentence where it refuses one.

    Nothing else waits for that: what runs is kept, the status is written, and a person mends the spec.
    """
    try:
        await apply()
    except RefusedError as error:
        log.error("%s: %s", gateway, error)
        return str(error)
    return None
