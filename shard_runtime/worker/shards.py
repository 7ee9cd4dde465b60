"""The shards of a worker: each in a task of its own, begun again when a new token may help."""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Final

from gateway_hooks import Hooks, HookUseError
from shard_runtime import contract
from shard_runtime.connection.address import GatewayAddress
from shard_runtime.connection.inflate import NONE
from shard_runtime.contract import ShardState
from shard_runtime.logs import event_log
from shard_runtime.measures import Measures
from shard_runtime.outbound import NoSessionError
from shard_runtime.ports import Chance, Clock, Network
from shard_runtime.protocol.close_codes import TOKEN_REFUSED
from shard_runtime.protocol.send_budget import Command
from shard_runtime.shard import Permits, SavedSession, Shard, ShardOptions, ShardSink
from shard_runtime.shard_meter import ShardMeter

STOP_SECONDS: Final = 5.0
SPAWN: Final = "spawn_shards"
CREATE: Final = "create_shard"

SMALLEST_REPLAY: Final = 100
LARGEST_REPLAY: Final = 3500
REPLAY_PER_GUILD: Final = 75
PACE_SECONDS: Final = 5.0


class Shards:
    """Runs the shards with ids *ids* once :meth:`start` is called."""

    def __init__(
        self,
        *,
        ids: list[int],
        config: contract.RuntimeConfig,
        token: Callable[[], str],
        sink: ShardSink,
        permits: Permits,
        clock: Clock,
        chance: Chance,
        network: Network,
        log: logging.Logger,
        hooks: Hooks | None = None,
    ) -> None:
        self._hooks = hooks
        self._by_hooks = hooks is not None and (SPAWN in hooks or CREATE in hooks)
        self._spawning: asyncio.Task[None] | None = None
        self._held_back: dict[int, SavedSession] = {}
        """Sessions of shards that are yet to be made."""
        self._ids = ids
        self._options = ShardOptions(
            shard_count=config.layout.count,
            intents=config.intents,
            compression=config.compression,
            identify=config.identify,
            api_url=config.api_url,
            gateway_url=config.gateway_url,
        )
        self._address = GatewayAddress(network=network, api_url=config.api_url, gateway_url=config.gateway_url)
        self._token = token
        self._sink = sink
        self._permits = permits
        self._clock = clock
        self._chance = chance
        self._network = network
        self._log = log
        self._meter = ShardMeter()
        self._shards: dict[int, Shard] = {}
        self._tasks: dict[int, asyncio.Task[None]] = {}
        self._used: dict[int, str] = {}
        """The token that each shard used last."""
        self._new_token = asyncio.Event()
        self._ended = False
        self._probed = False
        self._paces: dict[int, float] = {}
        """Events per second of each shard."""
        self._counted: dict[int, int] = {}
        self._counted_at = float("-inf")

    @property
    def started(self) -> bool:
        return bool(self._shards) or self._spawning is not None

    def start(self, saved: Mapping[int, SavedSession], *, tasks: asyncio.TaskGroup, only_saved: bool = False) -> None:
        """Run the shards in *tasks*, those in *saved* by resuming; with *only_saved* no others."""
        if self._spawning is not None:
            return
        wanted = [shard for shard in self._ids if shard not in self._shards and (not only_saved or shard in saved)]
        if self._by_hooks and wanted:
            self._held_back = {shard: saved[shard] for shard in wanted if shard in saved}
            self._spawning = tasks.create_task(self._spawn(wanted, tasks), name="hook: spawn_shards")
            return
        for shard in wanted:
            self._begin(shard, self._make(shard, saved.get(shard)), tasks)

    def _make(self, shard: int, saved: SavedSession | None) -> Shard:
        return Shard(
            shard_id=shard,
            options=self._options,
            token=partial(self._hand_out, shard),
            sink=self._sink,
            permits=self._permits,
            clock=self._clock,
            chance=self._chance,
            network=self._network,
            log=event_log(self._log),
            saved=saved,
            address=self._address,
            meter=self._meter,
            hooks=self._hooks,
        )

    def _begin(self, shard: int, made: Shard, tasks: asyncio.TaskGroup) -> None:
        self._held_back.pop(shard, None)
        self._shards[shard] = made
        made.probe(self._probed)
        self._tasks[shard] = tasks.create_task(self._keep(made), name=f"shard {shard}")

    async def _spawn(self, wanted: list[int], tasks: asyncio.TaskGroup) -> None:
        """Begin *wanted* in the order that the hook likes; what it leaves out begins when it has returned."""

        async def some(shards: Iterable[int]) -> None:
            for shard in shards:
                if shard not in wanted:
                    raise HookUseError(f"asked for shard {shard}, of {wanted[0]} to {wanted[-1]}")
                if shard not in self._shards and not self._ended:
                    self._begin(shard, await self._create(shard), tasks)

        assert self._hooks is not None
        if SPAWN in self._hooks:
            await self._hooks.call(SPAWN, some, list(wanted))
        await some(wanted)

    async def _create(self, shard: int) -> Shard:
        async def default(wanted: int) -> Shard:
            return self._make(shard, self._held_back.get(shard))

        assert self._hooks is not None
        if CREATE not in self._hooks:
            return await default(shard)
        return await self._hooks.call(CREATE, default, shard, check=_shard)

    def _hand_out(self, shard: int) -> str:
        token = self._used[shard] = self._token()
        return token

    async def _keep(self, shard: Shard) -> None:
        while True:
            await shard.run()
            if self._ended:
                return
            status = shard.status()
            self._log.error("Shard %d has stopped: %s", status.id, status.problem)
            if status.close_code != TOKEN_REFUSED:
                return  # trying again would not help; the status shows the problem
            while self._token() == self._used.get(status.id):
                self._new_token.clear()
                await self._new_token.wait()
            self._log.info("Shard %d tries again with a new token.", status.id)

    def token_changed(self) -> None:
        """Let shards whose token was refused try again."""
        self._new_token.set()

    async def stop(self, *, end_session: bool) -> None:
        """Close all connections: with 1000, which ends the sessions, or with 4000, which keeps them."""
        self._ended = True
        if self._spawning is not None:
            self._spawning.cancel()
        if not self._shards:
            return
        stops = [asyncio.create_task(shard.stop(end_session=end_session)) for shard in self._shards.values()]
        _, late = await asyncio.wait(stops, timeout=STOP_SECONDS)
        for task in (*late, *self._tasks.values()):
            task.cancel()
        await asyncio.gather(*stops, *self._tasks.values(), return_exceptions=True)
        for stop in stops:
            if not stop.cancelled() and (error := stop.exception()) is not None:
                self._log.error("A shard did not stop in order: %s", error)

    async def command(self, shard: int, command: Command) -> None:
        """Send *command* on the session of *shard*; see :meth:`shard_runtime.shard.Shard.command`."""
        held = self._shards.get(shard)
        if held is None:
            raise NoSessionError(f"Shard {shard} has no session.")
        await held.command(command)

    def pause_reading(self, paused: bool) -> None:
        """Stop reading the live sessions' sockets, or go on; see :meth:`shard_runtime.shard.Shard.pause_reading`."""
        for shard in self._shards.values():
            shard.pause_reading(paused)

    def kept(self) -> dict[int, contract.Kept]:
        """What the sessions have for the bot besides events, of those that have something."""
        found = {shard: held.kept for shard, held in self._shards.items()}
        return {shard: kept for shard, kept in found.items() if kept != contract.NOTHING_KEPT}

    def awaited(self) -> int:
        """Requests on the sessions without a complete answer."""
        return sum(held.awaited() for held in self._shards.values())

    def probe(self, wanted: bool) -> None:
        """Make sure often that the sessions are there, or no more; see :meth:`shard_runtime.shard.Shard.probe`."""
        if wanted != self._probed:
            self._probed = wanted
            for shard in self._shards.values():
                shard.probe(wanted)

    def replay_events(self, shard: int) -> int:
        """How many events Discord keeps for a resume of *shard*, as far as is known (docs/protocol.md)."""
        held = self._shards.get(shard)
        guilds = 0 if held is None else held.guilds
        return max(SMALLEST_REPLAY, min(LARGEST_REPLAY, guilds * REPLAY_PER_GUILD))

    def replay_seconds(self) -> float:
        """How long the replay buffers would last at the pace of the last seconds; that of the busiest shard counts."""
        return min(
            (self.replay_events(shard) / pace for shard, pace in self._paces.items() if pace > 0), default=math.inf
        )

    def look_at_pace(self) -> None:
        """Remember how fast events come; to be called again and again."""
        now = self._clock.monotonic()
        seconds = now - self._counted_at
        if seconds < PACE_SECONDS:
            return
        counted = {number: shard.sequence for number, shard in self._shards.items()}
        self._paces = {
            number: max(0, sequence - self._counted.get(number, sequence)) / seconds
            for number, sequence in counted.items()
        }
        self._counted, self._counted_at = counted, now

    def resuming(self, shard: int) -> bool:
        """Whether Discord is sending *shard* what it missed."""
        held = self._shards.get(shard)
        return held is not None and held.status().state is ShardState.RESUMING

    def statuses(self) -> list[contract.ShardStatus]:
        """One for each id, also before the start."""
        return [
            contract.ShardStatus(id=shard, state=ShardState.STOPPED if self._ended else ShardState.CONNECTING)
            if (held := self._shards.get(shard)) is None
            else held.status()
            for shard in self._ids
        ]

    @property
    def received_bytes(self) -> int:
        """On the wire, since the start."""
        return self._meter.wire + self._received_by_these()

    def _received_by_these(self) -> int:
        """Bytes that the meter has not been told of: of the shards as they are."""
        return sum(shard.received_bytes for shard in self._shards.values())

    def measures(self) -> Measures:
        """What all shards together have measured."""
        return self._meter.measures(wire=self._received_by_these(), compressed=self._options.compression != NONE)

    def handed_over(self) -> dict[str, int]:
        """By session, the last sequence that was handed to the sink."""
        return {
            session.session_id: session.sequence if (held := self._shards.get(shard)) is None else held.sequence
            for shard, session in self.saved().items()
        }

    def away(self) -> list[int]:
        """Shards without a live session: one that is to be resumed may turn out to be lost."""
        return [status.id for status in self.statuses() if status.state is not ShardState.READY]

    def hurry(self) -> None:
        """Make sure now that all sessions are there; see :meth:`shard_runtime.shard.Shard.hurry`."""
        for shard in self._shards.values():
            shard.hurry()

    def heard_since(self, moment: int) -> bool:
        """Whether every session is live, and has had everything that Discord had sent it by *moment* (unix
        milliseconds). Shards that have stopped for good do not count."""
        seconds = (self._clock.unix_milliseconds() - moment) / 1000
        return all(
            status.state is ShardState.READY and status.behind_seconds is not None and status.behind_seconds <= seconds
            for status in self.statuses()
            if status.state is not ShardState.STOPPED
        )

    def saved(self) -> dict[int, SavedSession]:
        """The sessions as another process would resume them."""
        found: dict[int, SavedSession | None] = {shard: held.saved() for shard, held in self._shards.items()}
        found |= self._held_back
        return {shard: session for shard, session in found.items() if session is not None}


def _shard(found: object) -> Shard:
    if not isinstance(found, Shard):
        raise HookUseError(f"returned {type(found).__name__} and not a shard_runtime.shard.Shard")
    return found
