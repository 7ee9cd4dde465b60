"""The hook ``handle_payload``: every event that is to be delivered passes it, in the order of its shard.

It stands between what decides that an event is delivered (the handover, the role) and the queue, so it sees each of
them once, and what it does cannot disturb a handover. What ``forward.events`` leaves out passes by the hook, in its
turn. An event that waits here is not accepted yet: its sequence holds the watermark back, so a crash brings it again.
What the hook does not pass on is finished as if the filter had left it out.

A shard's events wait for each other, not for those of other shards. When many wait, reading rests.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter, deque
from collections.abc import Callable, Collection
from typing import Any, Final

import msgspec

from gateway_hooks import Hooks, HookUseError
from shard_runtime.delivery import Delivery
from shard_runtime.delivery.events import EVENT_OVERHEAD
from shard_runtime.delivery.forwarding import CANNOT_BE_TAKEN
from shard_runtime.handover.keys import stream_of

NAME: Final = "handle_payload"

MOST_EVENTS: Final = 1000
MOST_BYTES: Final = 16 << 20
"""More than one of them waiting, and reading rests until half of it is left."""

TRY_AGAIN_SECONDS: Final = 1.0

TURN_EVENTS: Final = 64
"""After so many of a shard, others have their turn."""


class PayloadEvent(msgspec.Struct, frozen=True, kw_only=True):
    """What the hook gets; ``msgspec.structs.replace(event, payload=...)`` gives the default another payload."""

    shard: int
    session: str
    sequence: int
    name: str
    """Discord's, such as ``MESSAGE_CREATE``."""
    payload: bytes
    """The whole payload as Discord sent it, JSON."""
    guild: int = 0
    """0 where it belongs to none, or where nobody has looked yet."""
    maybe_duplicate: bool = False


class HookedDelivery(Delivery):
    """A delivery that takes events over by way of the hook."""

    def __init__(self, *, hooks: Hooks, pause: Callable[[bool], None], **options: Any) -> None:
        super().__init__(pause=pause, **options)
        self._hooks = hooks
        self._pause_reading = pause
        self._waiting: dict[int, deque[tuple[PayloadEvent, float]]] = {}
        """By shard, with the moments when they came."""
        self._handling: dict[int, asyncio.Task[None]] = {}
        self._waiting_events = 0
        self._waiting_bytes = 0
        self._resting_for_hook = False
        self._none_waits = asyncio.Event()
        self._guilds_waiting: Counter[int] | None = None

    # --- In

    def accept(
        self,
        shard: int,
        session_id: str,
        sequence: int,
        name: str,
        payload: bytes,
        *,
        guild: int = 0,
        maybe_duplicate: bool = False,
    ) -> None:
        if shard not in self._handling and self._is_left_out(name):  # nothing waits that it would overtake
            super().accept(shard, session_id, sequence, name, payload, guild=guild, maybe_duplicate=maybe_duplicate)
            return
        event = PayloadEvent(
            shard=shard,
            session=session_id,
            sequence=sequence,
            name=name,
            payload=payload,
            guild=guild,
            maybe_duplicate=maybe_duplicate,
        )
        self._waiting.setdefault(shard, deque()).append((event, self._monotonic()))
        self._count(event, 1)
        if shard not in self._handling:
            self._handling[shard] = asyncio.create_task(self._handle(shard), name=f"{NAME} of shard {shard}")
        if self._waiting_events > MOST_EVENTS or self._waiting_bytes > MOST_BYTES:
            self._resting_for_hook = True
            self._pause_reading(True)

    def accept_run(self, shard: int, session_id: str, sequence: int, names: list[str], payloads: list[bytes]) -> None:
        for number, (name, payload) in enumerate(zip(names, payloads, strict=True), sequence):
            self.accept(shard, session_id, number, name, payload)

    # --- Through

    async def _handle(self, shard: int) -> None:
        waiting, turn = self._waiting[shard], 0
        try:
            while waiting:
                event, _ = waiting[0]
                await self._try(event)
                waiting.popleft()
                self._count(event, -1)
                turn += 1
                if turn % TURN_EVENTS == 0:
                    await asyncio.sleep(0)
        finally:
            del self._handling[shard]
            if not self._waiting_events:
                self._none_waits.set()

    async def _try(self, event: PayloadEvent) -> None:
        """Pass *event* on; one that our own side cannot take, also on another try, costs no other."""
        for last in (False, True):
            try:
                await self._pass_on(event)
            except Exception as error:  # noqa: BLE001 - outermost ladder of a shard's events behind the hook
                problem = f"{event.name} of shard {event.shard} cannot be queued ({type(error).__name__}: {error})."
                self._log(logging.ERROR, problem)
                if last:
                    self.drop(event.session, event.sequence, event.name, CANNOT_BE_TAKEN)
                else:
                    await self._clock.sleep(TRY_AGAIN_SECONDS)
            else:
                return

    async def _pass_on(self, event: PayloadEvent) -> None:
        taken = False

        async def default(chosen: PayloadEvent) -> None:
            nonlocal taken
            payload = chosen.payload if isinstance(chosen, PayloadEvent) else None
            if not isinstance(payload, bytes):
                self._hooks.misused(NAME, "gave default something else than an event with bytes as its payload")
                payload = event.payload
            taken = True
            super(HookedDelivery, self).accept(
                event.shard,
                event.session,
                event.sequence,
                event.name,
                payload,
                guild=event.guild,
                maybe_duplicate=event.maybe_duplicate,
            )

        if self._is_left_out(event.name):
            await default(event)
            return
        if self._was_taken(event):
            return
        await self._hooks.call(NAME, default, event, check=_nothing)
        if not taken:
            self._ledger.excluded += 1
            self.skip(event.session, event.sequence)

    def _was_taken(self, event: PayloadEvent) -> bool:
        """Whether an earlier life has passed *event* through the hook, and has finished it or left it on disk."""
        session = self._sessions.get(event.session)
        if session is None or session.bound == event.shard:
            return False
        return self._is_known(session, event.shard, event.sequence)

    def _is_left_out(self, name: str) -> bool:
        return self._passes is not None and not self._passes(name)

    def _count(self, event: PayloadEvent, change: int) -> None:
        self._waiting_events += change
        self._waiting_bytes += change * (len(event.payload) + EVENT_OVERHEAD)
        if self._guilds_waiting is not None:
            guild = event.guild or stream_of(event.name, event.payload)
            self._guilds_waiting[guild] += change
        if self._resting_for_hook and self._waiting_events * 2 <= MOST_EVENTS and self._waiting_bytes * 2 <= MOST_BYTES:
            self._resting_for_hook = False
            if not self._is_paused():
                self._pause_reading(False)

    def _is_paused(self) -> bool:
        return self._resting_for_hook or super()._is_paused()

    # --- What is owed counts what waits here

    async def drain(self, timeout: float) -> bool:
        loop = asyncio.get_running_loop()
        until = loop.time() + timeout
        if self._waiting_events:
            self._none_waits.clear()
            try:
                async with asyncio.timeout(timeout):
                    await self._none_waits.wait()
            except TimeoutError:
                return False
        return await super().drain(max(0.0, until - loop.time()))

    def track_guilds(self, wanted: bool) -> None:
        super().track_guilds(wanted)
        if not wanted:
            self._guilds_waiting = None
        elif self._guilds_waiting is None:
            events = [event for waiting in self._waiting.values() for event, _ in waiting]
            self._guilds_waiting = Counter(event.guild or stream_of(event.name, event.payload) for event in events)

    def unacknowledged(self, guild: int) -> int:
        waiting = 0 if self._guilds_waiting is None else self._guilds_waiting[guild]
        return super().unacknowledged(guild) + waiting

    def unacknowledged_guilds(self) -> Collection[int]:
        waiting = Counter[int]() if self._guilds_waiting is None else self._guilds_waiting
        return {*super().unacknowledged_guilds(), *(guild for guild, count in waiting.items() if count > 0)}

    @property
    def queued(self) -> int:
        return super().queued + self._waiting_events

    def queued_of(self, shard: int) -> int:
        return super().queued_of(shard) + len(self._waiting.get(shard, ()))

    @property
    def oldest_seconds(self) -> float:
        oldest = min((waiting[0][1] for waiting in self._waiting.values() if waiting), default=None)
        return max(super().oldest_seconds, 0.0 if oldest is None else self._monotonic() - oldest)

    def close(self) -> None:
        for task in self._handling.values():
            task.cancel()
        super().close()


def _nothing(found: object) -> None:
    if found is not None:
        raise HookUseError(f"returned {type(found).__name__} and not None")
