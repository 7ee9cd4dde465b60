"""What the sessions of a generation take on from those that they take over from: calls and presences.

A voice connection hangs off the gateway session that asked for it, and ends with it. So each call is joined again from
the session that has its guild now: Discord answers with a new voice state and a new voice server, which the bot gets
like any other, and the call has moved before the old session ends. A presence that the bot had set by a command lives
in its session only, too; the new session takes over that of the first old one whose guilds it has.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Collection, Mapping
from typing import Final

from shard_runtime import contract
from shard_runtime.contract import ShardLayout, overlapping_shards, shard_of_guild
from shard_runtime.outbound import BusyError, NoSessionError
from shard_runtime.ports import Clock
from shard_runtime.protocol.errands import present, rejoin
from shard_runtime.protocol.send_budget import Command

TRY_SECONDS: Final = 30.0
"""How long a session may be away, or Discord's limits leave no room, before a call is given up."""
AGAIN_SECONDS: Final = 1.0


class Inheritance:
    """Of one worker."""

    def __init__(
        self,
        *,
        shards: Collection[int],
        count: int,
        predecessor: ShardLayout,
        send: Callable[[int, Command], Awaitable[None]],
        kept: Callable[[], Mapping[int, contract.Kept]],
        clock: Clock,
        log: logging.Logger,
    ) -> None:
        """*shards* of *count* are the worker's. *send* puts a command on the session of a shard; *kept* says what the
        worker's sessions have already, which the bot may have asked for in the meantime."""
        self._shards = frozenset(shards)
        self._count = count
        self._predecessor = predecessor
        self._send = send
        self._kept = kept
        self._clock = clock
        self._log = log
        self._waiting: list[tuple[int, Command, float]] = []
        """Shard, command, and until when it is tried."""
        self._taken = asyncio.Event()

    @property
    def pending(self) -> int:
        """Commands that are not sent yet."""
        return len(self._waiting)

    def take(self, kept: Mapping[int, contract.Kept]) -> None:
        """Old sessions are sealed, and had *kept* (by shard)."""
        until = self._clock.monotonic() + TRY_SECONDS
        for old_shard, found in sorted(kept.items()):
            for call in found.calls:
                shard = shard_of_guild(call.guild, self._count)
                if shard in self._shards:
                    self._waiting.append((shard, rejoin(call), until))
            if found.presence is not None:
                self._waiting += [
                    (shard, present(found.presence), until)
                    for shard in sorted(self._shards)
                    if old_shard == min(overlapping_shards(shard, self._count, self._predecessor), default=None)
                ]
        self._taken.set()

    async def run(self) -> None:
        """Send what is taken, for ever."""
        while True:
            await self._taken.wait()
            self._taken.clear()
            while self._waiting:
                if not await self._send_one(*self._waiting[0]):
                    await self._clock.sleep(AGAIN_SECONDS)

    async def _send_one(self, shard: int, command: Command, until: float) -> bool:
        """Whether the first of those that wait is done with; else it is the last now."""
        try:
            if not self._is_there(shard, command):
                await self._send(shard, command)
        except (BusyError, NoSessionError) as error:
            if self._clock.monotonic() < until:
                self._waiting.append(self._waiting.pop(0))
                return False
            self._log.error("A call or presence of the old generation is not taken over: %s", error)
        self._waiting.pop(0)
        return True

    def _is_there(self, shard: int, command: Command) -> bool:
        """Whether the bot has set as much on the new session by itself."""
        kept = self._kept().get(shard, contract.NOTHING_KEPT)
        if kept.presence is not None and command.payload.startswith(b'{"op":3'):
            return True
        return any(rejoin(call).payload == command.payload for call in kept.calls)
