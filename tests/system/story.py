"""The whole system in one process, on virtual time and a virtual network, from one seed.

Reconcile loop, planner and identify gate; a cluster with nodes; pods with supervisor and workers; the simulated
Discord; the bot. A story is a coroutine that makes things happen to a :class:`System`; :func:`run_story` runs it and
gives an :class:`Outcome`. Whatever the story, a part that ends by an exception of its own fails the run.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from random import Random
from typing import Any, Final

from gateway_operator.cluster.port import GATEWAY, SECRET, Manifest
from gateway_operator.cluster.processes.objects import ObjectStore
from system import bot, discord
from system.bot import Bot
from system.cluster import is_record
from system.control_plane import Operator
from system.discord import Discord
from system.nodes import SKEW_SECONDS, Nodes
from system.promises import Copy, delivered_by, unexplained_duplicates
from system.running_pod import RunningPod
from system.trace import Trace
from virtual.world import World, run_world

from discord_simulator.settings import DEFAULT_TOKEN, Settings
from discord_simulator.truth import Counters
from discord_simulator.verdict import Verdict, judge
from shard_runtime import contract

NAMESPACE: Final = "default"
NAME: Final = "bot"
COUNT: Final = 8
"""Shards of the first generation."""
RATE: Final = 60.0
"""Events per second."""
OVERLAP_SECONDS: Final = 5

GATEWAY_MANIFEST: Final[Manifest] = {
    "apiVersion": GATEWAY.api_version,
    "kind": GATEWAY.kind,
    "metadata": {"name": NAME, "namespace": NAMESPACE},
    "spec": {
        "tokenSecretRef": {"name": NAME, "key": "token"},
        "apiURL": discord.API,
        "intents": [
            "GUILDS",
            "GUILD_MESSAGES",
            "GUILD_MESSAGE_REACTIONS",
            "GUILD_MESSAGE_TYPING",
            "GUILD_WEBHOOKS",
            "GUILD_INTEGRATIONS",
            "DIRECT_MESSAGES",
        ],
        # 8 shards are two pods of two workers, 16 are four
        "shards": {"count": COUNT, "perWorker": 2, "workersPerPod": 2},
        "forward": {"url": bot.URL},
        "reshard": {"overlapSeconds": OVERLAP_SECONDS},
    },
}

SIMULATED: Final = Settings(guilds=48, guild_bytes=300, message_bytes=200, max_concurrency=16, digests=True)


class System:
    """See the module. Begins with a cluster that has the Secret and nothing else, and the bot up."""

    def __init__(
        self,
        world: World,
        *,
        settings: Settings = SIMULATED,
        manifest: Manifest = GATEWAY_MANIFEST,
        rate: float = RATE,
        delay_milliseconds: float = 300,
        by_guild: bool = False,
        skew_seconds: float = SKEW_SECONDS,
        operator_skew_seconds: float = 0.0,
    ) -> None:
        self.world = world
        self.rate = rate
        """Events per second, once :meth:`load` was called."""
        self.wanted_count: int = manifest["spec"]["shards"]["count"]
        """Of shards, as was asked for last."""
        self.grows = False
        """More may be right, too: the bot has grown."""
        self.on_record: Callable[[contract.Record], None] = lambda record: None
        """Called when a record was written."""
        self._manifest = manifest
        self.trace = Trace()
        self.chance = world.chance
        self._uids = Random(f"uids/{world.seed}")
        self.store = ObjectStore(new_uid=self._new_uid, unix=lambda: world.clock.unix_milliseconds() / 1000)
        self.store.subscribe(self._on_object)
        self.discord = Discord(world, settings=settings)
        self.discord.fault("delay", milliseconds=[0, delay_milliseconds], perGuild=by_guild)
        self.bot = Bot(world, self.trace)
        self.nodes = Nodes(world, self.store, self.trace, skew_seconds=skew_seconds)
        self.operator = Operator(
            world,
            self.store,
            self.trace,
            permitted=self.discord.identifies.permitted,
            skew_seconds=operator_skew_seconds,
        )
        self.records: list[contract.Record] = []
        """Every version of the record."""
        self._status: dict[str, Any] = {}
        self._record_written = asyncio.Event()
        self.store.create(
            {
                "apiVersion": SECRET.api_version,
                "kind": SECRET.kind,
                "metadata": {"name": NAME, "namespace": NAMESPACE},
                "stringData": {"token": DEFAULT_TOKEN},
            }
        )

    def _new_uid(self) -> str:
        return f"uid-{self._uids.getrandbits(64):016x}"

    def _on_object(self, manifest: Manifest) -> None:
        if manifest["kind"] == GATEWAY.kind:
            self._status = manifest.get("status") or {}
        elif is_record(manifest):
            record = contract.decode(manifest["data"]["record.json"], contract.Record)
            if self.records and self.records[-1] == record:
                return
            self.records.append(record)
            self.trace.note("record", manifest["data"]["record.json"])
            self.on_record(record)
            self._record_written.set()

    # --- What a person does -------------------------------------------------------------------------------------------

    def apply(self) -> None:
        self.store.create(self._manifest)

    def patch_count(self, count: int) -> None:
        self.wanted_count = count
        self.patch({"shards": {"count": count}})

    def patch(self, spec: dict[str, Any]) -> None:
        """Merge *spec* into the gateway's."""
        self.trace.note("a person", f"wants {spec}")

        def merge(into: dict[str, Any], patch: dict[str, Any]) -> None:
            for name, value in patch.items():
                if isinstance(value, dict):
                    merge(into.setdefault(name, {}), value)
                else:
                    into[name] = value

        self.store.change(GATEWAY, NAMESPACE, NAME, lambda gateway: merge(gateway["spec"], spec))

    def patch_template(self, **fields: object) -> None:
        self.trace.note("a person", f"changes the template: {fields}")
        self.store.change(
            GATEWAY, NAMESPACE, NAME, lambda gateway: gateway["spec"].setdefault("template", {}).update(fields)
        )

    # --- What happens to the network ----------------------------------------------------------------------------------

    def cut(self, a: str, b: str) -> None:
        """Nothing gets through between two machines until :meth:`heal`."""
        self.trace.note("network", f"is cut between {a} and {b}")
        self.world.network.links.cut(a, b)

    def isolate(self, node: str) -> None:
        self.trace.note("network", f"is cut around {node}")
        self.world.network.links.isolate(node)

    def mend(self, a: str, b: str) -> None:
        """Undo one :meth:`cut`."""
        self.trace.note("network", f"is whole between {a} and {b}")
        self.world.network.links.mend(a, b)

    def rejoin(self, node: str) -> None:
        """Undo one :meth:`isolate`."""
        self.trace.note("network", f"has {node} back")
        self.world.network.links.rejoin(node)

    def reset(self, a: str, b: str) -> None:
        """Connections between two machines end at once, and both ends know."""
        self.trace.note("network", f"resets connections between {a} and {b}")
        self.world.network.reset(a, b)

    def heal(self) -> None:
        self.trace.note("network", "is whole again")
        self.world.network.links.heal()

    # --- What can be seen ---------------------------------------------------------------------------------------------

    @property
    def status(self) -> dict[str, Any]:
        return self._status

    @property
    def record(self) -> contract.Record | None:
        return self.records[-1] if self.records else None

    def pods(self, generation: int) -> list[RunningPod]:
        prefix = f"{NAME}-g{generation}-"
        return [pod for pod in self.nodes.running if pod.name.startswith(prefix)]

    def pod_statuses(self) -> list[contract.PodStatus]:
        """Of all pods that have a supervisor, as of its last look."""
        lives = [pod.life for pod in self.nodes.running if pod.life is not None and not pod.life.ended.is_set()]
        return [life.pod.last_status() for life in lives if life.pod is not None]

    def shards_ready(self, generation: int) -> int:
        return sum(
            shard.state is contract.ShardState.READY
            for status in self.pod_statuses()
            if status.generation == generation
            for shard in status.shards
        )

    def sessions_connected(self, generation: int) -> int:
        """In truth, as Discord sees it."""
        held_by = self.discord.held_by
        return sum(
            session.connection is not None and f"-g{generation}-" in held_by.get(session.id, "")
            for session in self.discord.gateway.sessions.all()
        )

    def at_rest(self, *, generation: int, shards: int) -> bool:
        """Generation *generation* is the only one, and READY: as the status says, and in truth."""
        numbers = [found["number"] for found in self.status.get("generations") or []]
        told = self.status.get("readyShards") == self.status.get("shards")
        return numbers == [generation] and told and self.shards_ready(generation) == shards

    def handed_over(self, generation: int) -> bool:
        """All pods of *generation* are up and say that their handover is complete."""
        statuses = [status for status in self.pod_statuses() if status.generation == generation]
        complete = [status.handover is not None and status.handover.complete for status in statuses]
        return len(complete) == len(self.pods(generation)) > 0 and all(complete)

    def drained(self) -> bool:
        """Nothing is on its way from Discord, held, or queued."""
        statuses = self.pod_statuses()
        held = any(status.handover is not None and not status.handover.complete for status in statuses)
        queued = sum(status.queued for status in statuses)
        return len(statuses) == len(self.nodes.running) and not held and queued + self.discord.summary.lagging == 0

    # --- Waiting ------------------------------------------------------------------------------------------------------

    async def sleep(self, seconds: float) -> None:
        await self.world.clock.sleep(seconds)

    async def until(self, what: str, condition: Callable[[], bool], *, within: float) -> None:
        """Let time pass until *condition* holds; looks often, so that little time passes after it does."""
        self.trace.note("story", f"waits until {what}")
        deadline = self.world.clock.monotonic() + within
        while not condition():
            assert not self.trace.failures, self.trace.failures
            assert self.world.clock.monotonic() < deadline, f"not within {within:g} s: {what}"
            await asyncio.sleep(0.05)

    async def until_record(self, condition: Callable[[contract.Record], bool], *, within: float) -> None:
        """Go on in the moment in which a record is written that *condition* holds for."""
        async with asyncio.timeout(within):
            while self.record is None or not condition(self.record):
                self._record_written.clear()
                await self._record_written.wait()

    async def settle(self, *, within: float = 60.0) -> None:
        """Stop the load and wait until everything sent has gone its way."""
        self.discord.load(0)
        await self.sleep(2)  # a supervisor looks at its workers once a second
        await self.until("everything is drained", self.drained, within=within)
        await self.sleep(2)
        await self.until("everything stays drained", self.drained, within=within)


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    seed: int
    verdict: Verdict
    unexplained: tuple[Copy, ...]
    """Duplicates that nothing excuses, see :mod:`system.promises`."""
    first_generation_lane_violations: int
    """Deliveries of a session out of its order, in the generation that takes over from nobody. One that takes over
    releases guild by guild, so there only the order within a guild is promised."""
    counters: Counters
    records: tuple[contract.Record, ...]
    shards: int
    """Of the active generation, READY."""
    marked: int
    """Deliveries that came as ``maybeDuplicate``."""
    pods: tuple[str, ...]
    """That still run."""
    digest: str
    trace: tuple[str, ...]
    seconds: float
    """Of virtual time."""


Story = Callable[[System], Awaitable[None]]


def run_story(story: Story, *, seed: int, settings: Settings = SIMULATED) -> Outcome:
    """Run *story* in a fresh system. On a failure the trace is printed; the seed is in the failure's text."""

    async def run(world: World) -> Outcome:
        system = System(world, settings=settings)
        hear_lost_exceptions(system.trace)
        nodes = asyncio.create_task(system.nodes.run(), name="nodes")
        with system.trace.hears("gateway_operator", who="operator"):
            try:
                system.operator.start()
                await story(system)
                assert not nodes.done(), nodes
                assert not system.trace.failures, system.trace.failures
            except (AssertionError, TimeoutError) as error:
                print("\n".join(system.trace.lines))
                raise AssertionError(f"seed {seed}: {error}") from error
        received = system.bot.received()
        active = 0 if system.record is None or system.record.active is None else system.record.active
        system.trace.record(repr(system.discord.counters).encode())
        truth = system.discord.truth()
        return Outcome(
            seed=seed,
            verdict=judge(truth, received),
            unexplained=unexplained_duplicates(truth, received),
            first_generation_lane_violations=judge(
                truth, delivered_by(received, 1), include=lambda session: session.count == COUNT
            ).lane_violations,
            counters=system.discord.counters,
            records=tuple(system.records),
            shards=system.shards_ready(active),
            marked=len(received.marked),
            pods=tuple(pod.name for pod in system.nodes.running),
            digest=system.trace.digest(),
            trace=tuple(system.trace.lines),
            seconds=world.clock.monotonic(),
        )

    return run_world(run, seed=seed)


def hear_lost_exceptions(trace: Trace) -> None:
    """What a task or a callback raised and nobody took: known at once, not only at the end of the run."""
    loop = asyncio.get_running_loop()
    before = loop.get_exception_handler()

    def lost(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        trace.fail("lost exception", f"{context.get('message')}: {context.get('exception')!r}")
        if before is not None:
            before(loop, context)

    loop.set_exception_handler(lost)
