"""The delivery of one worker: from a session's dispatch to the receiver's acknowledgement.

:meth:`Delivery.accept` is on the path of every event, so it does little: no I/O, no parsing, no task. Everything else
happens once for a batch. Lanes come in sets: while the number of lanes or their ordering changes, new events queue in
the lanes of the next set, which begins to send only when the one before is drained, so an event never overtakes an
older one of its shard.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Collection, Iterator, Mapping

from shard_runtime import contract
from shard_runtime.delivery.batches import Origin
from shard_runtime.delivery.dead_letters import DeadLetters, NoDeadLetters
from shard_runtime.delivery.events import EVENT_OVERHEAD, Event
from shard_runtime.delivery.lanes import Lane, Outlet
from shard_runtime.delivery.ledger import Ledger
from shard_runtime.delivery.receiver import Receiver
from shard_runtime.handover.keys import stream_of
from shard_runtime.ports import Chance, Clock, Network
from shard_runtime.signatures import Signer

FULL = "queue full"
TOO_LARGE = "larger than forward.queue.maxBytes"

LANE_RESTART_SECONDS = 1.0


class Delivery:
    """Queue, lanes and acknowledgement. All methods are for the event loop's own thread.

    ``forward.queue.overflow`` ``Pause`` needs a hand on the sockets and is not known here; it acts as ``DropOldest``.
    """

    def __init__(
        self,
        *,
        origin: Origin,
        forward: contract.ForwardConfig,
        network: Network,
        clock: Clock,
        chance: Chance,
        log: Callable[..., None],
        dead_letters: DeadLetters | None = None,
    ) -> None:
        """*log* is called as ``log(level, sentence)`` with a level of :mod:`logging`, so ``Logger.log`` will do.

        Without *dead_letters*, a payload that the receiver refuses alone is tried until it is taken.
        """
        self._clock = clock
        self._monotonic = clock.monotonic
        self._log = log
        self._ledger = Ledger()
        self._sessions = self._ledger.sessions
        self._empty = asyncio.Event()
        self._receiver = Receiver(forward=forward, network=network, clock=clock, log=log)
        self._outlet = Outlet(
            forward=forward,
            headers=origin.headers(),
            receiver=self._receiver,
            ledger=self._ledger,
            dead_letters=dead_letters or NoDeadLetters(),
            clock=clock,
            chance=chance,
            log=log,
            settled=self._settled,
        )
        self._sets: deque[list[Lane]] = deque([self._new_lanes(forward)])
        self._apply(forward)

    # --- Sessions and watermarks

    def session_started(self, session_id: str, sequence: int) -> None:
        """A new session, whose first dispatch (READY) has *sequence*: its watermark starts below."""
        self._ledger.begin(session_id, sequence - 1)

    def resume_session(self, session_id: str, watermark: int) -> None:
        """A session from an earlier life of the process, of which everything up to *watermark* is done."""
        self._ledger.begin(session_id, watermark)

    def forget_session(self, session_id: str) -> None:
        """The session is over: its watermark is of no use any more. What is queued of it is still delivered."""
        self._ledger.forget(session_id)

    def watermark(self, session_id: str) -> int | None:
        """The highest sequence with every lower one finished; None for a session that is not known."""
        session = self._sessions.get(session_id)
        return None if session is None or session.forgotten else session.watermark.value

    # --- Events

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
        """Take over a dispatch: it is delivered and acknowledged, or excluded, or dropped and counted.

        *payload* is the whole payload as Discord sent it. *guild* may be left 0 where it is not known: it is looked up
        when it is needed. Nothing may be accepted twice; the session machine takes care of that.
        """
        session = self._sessions.get(session_id)
        if session is None:
            session = self._ledger.session_for(session_id, sequence)
        if session.shard != shard:
            session.bind(shard)
        ledger = self._ledger
        if self._passes is not None and not self._passes(name):
            ledger.excluded += 1
            ledger.finish(session, sequence)
            return
        if (
            ledger.queued >= self._max_events
            or ledger.bytes + len(payload) + EVENT_OVERHEAD > self._max_bytes
            or self._max_age is not None
        ):
            refused = self._make_room(len(payload) + EVENT_OVERHEAD)
            if refused is not None:
                ledger.accepted += 1
                ledger.count_drop(name, refused)
                ledger.finish(session, sequence)
                return
        if self._by_guild and not guild:
            guild = stream_of(name, payload)
        event = Event(session, sequence, name, payload, guild, self._monotonic(), maybe_duplicate)
        ledger.enqueue(event)
        lane = self._lanes[(guild >> 22 if self._by_guild else shard) % len(self._lanes)]
        lane.queue.append(event)
        if lane.idle:
            lane.wake()

    def skip(self, session_id: str, sequence: int) -> None:
        """*sequence* has nothing to deliver (RESUMED, excluded, trimmed in standby, skipped by the handover)."""
        session = self._sessions.get(session_id)
        if session is not None:
            session.watermark.finish(sequence)

    def drop(self, session_id: str, sequence: int, name: str, reason: str) -> None:
        """*sequence* is given up before it was accepted (what a handover held beyond its bound): counted as a drop."""
        self._ledger.count_drop(name, reason)
        self.skip(session_id, sequence)

    # --- Running

    async def run(self) -> None:
        """Deliver until cancelled. What is queued or in flight then stays so, and another ``run`` goes on with it."""
        while True:
            async with asyncio.TaskGroup() as tasks:
                for number, lane in enumerate(self._sets[0]):
                    tasks.create_task(self._keep_running(lane), name=f"delivery lane {number}")
            self._sets.popleft()  # lanes end only when closed, and are closed only when there is a next set

    async def _keep_running(self, lane: Lane) -> None:
        while True:
            try:
                await lane.run()
                return
            except Exception as error:  # noqa: BLE001 - outermost ladder of a lane: its events must not die with it
                self._log(
                    logging.ERROR,
                    f"A delivery lane failed ({type(error).__name__}: {error}); it goes on with the same batch in "
                    f"{LANE_RESTART_SECONDS:g} s.",
                )
                await self._clock.sleep(LANE_RESTART_SECONDS)

    async def drain(self, timeout: float) -> bool:
        """Wait at most *timeout* seconds until nothing is queued or in flight; False if something still is."""
        if self._ledger.queued:
            self._empty.clear()
            try:
                async with asyncio.timeout(timeout):
                    await self._empty.wait()
            except TimeoutError:
                return not self._ledger.queued
        return True

    def reconfigure(self, forward: contract.ForwardConfig) -> None:
        """Use *forward* from now on.

        A batch that is formed already keeps its body and id, but may follow a new URL. The filter decides about what
        is accepted from now on; what was accepted before is owed. A change of the lanes takes effect when the present
        ones are drained.
        """
        before = self._outlet.forward
        self._apply(forward)
        if (before.lanes, before.ordering) != (forward.lanes, forward.ordering):
            old = self._sets[-1]
            self._sets.append(self._new_lanes(forward))
            self._lanes = self._sets[-1]
            for lane in old:
                lane.close()
        self._make_room(0)

    def sign_with(self, signer: Signer | None) -> None:
        """Sign requests, also retries of what is in flight, or no more."""
        self._receiver.signer = signer

    def _apply(self, forward: contract.ForwardConfig) -> None:
        self._outlet.forward = forward
        self._receiver.reconfigure(forward)
        self._passes = _filter(forward.events)
        self._max_events = max(1, forward.queue.max_events)
        self._max_bytes = max(1, forward.queue.max_bytes)
        self._max_age = forward.queue.max_age_seconds
        self._keep_oldest = forward.queue.overflow == "DropNewest"
        self._by_guild = forward.ordering == "guild"
        self._lanes = self._sets[-1]

    def _new_lanes(self, forward: contract.ForwardConfig) -> list[Lane]:
        return [Lane(self._outlet) for _ in range(max(1, forward.lanes))]

    # --- Bounds

    def _make_room(self, size: int) -> str | None:
        """Make room for *size* bytes (0: for nothing, only keep to the bounds); the reason if there is none.

        What is in flight counts, but is never dropped.
        """
        ledger = self._ledger
        if size > self._max_bytes:
            return TOO_LARGE
        if self._max_age is not None:
            before = self._monotonic() - self._max_age
            for lane in self._all_lanes():
                lane.expire(before)
        wanted = 1 if size else 0
        while ledger.queued + wanted > self._max_events or ledger.bytes + size > self._max_bytes:
            if self._keep_oldest and wanted:
                return FULL
            waiting = [lane for lane in self._all_lanes() if lane.queue]
            if not waiting:
                return FULL
            if self._keep_oldest:
                ledger.drop(max(waiting, key=lambda lane: lane.queue[-1].accepted_at).queue.pop(), FULL)
            else:
                ledger.drop(min(waiting, key=lambda lane: lane.queue[0].accepted_at).queue.popleft(), FULL)
        self._settled()
        return None

    def _settled(self) -> None:
        if not self._ledger.queued:
            self._empty.set()

    def _all_lanes(self) -> Iterator[Lane]:
        for lanes in self._sets:
            yield from lanes

    # --- What is to be seen

    def track_guilds(self, wanted: bool) -> None:
        """Count unacknowledged events by guild, beginning with what is queued; costs nothing while off."""
        if not wanted:
            self._ledger.track_guilds(None)
        elif self._ledger.guilds is None:
            self._ledger.track_guilds(event for lane in self._all_lanes() for event in lane.events())

    def unacknowledged(self, guild: int) -> int:
        """Queued and in-flight events of *guild*, 0 for those without one. Needs :meth:`track_guilds`."""
        guilds = self._ledger.guilds
        return 0 if guilds is None else guilds.get(guild, 0)

    def unacknowledged_guilds(self) -> Collection[int]:
        """Guilds with queued or in-flight events. Needs :meth:`track_guilds`."""
        return self._ledger.unacknowledged_guilds()

    @property
    def queued(self) -> int:
        """Events that are queued or in flight."""
        return self._ledger.queued

    def queued_of(self, shard: int) -> int:
        """Those of one shard."""
        return self._ledger.queued_of(shard)

    @property
    def oldest_seconds(self) -> float:
        """Age of the oldest event that is queued or in flight; 0 if there is none."""
        oldest = [event.accepted_at for lane in self._all_lanes() if (event := lane.oldest()) is not None]
        return self._monotonic() - min(oldest) if oldest else 0.0

    @property
    def receiver(self) -> contract.ReceiverStatus:
        return self._receiver.status

    @property
    def dropped(self) -> Mapping[tuple[str, str], int]:
        """Drops by event name and reason."""
        return self._ledger.dropped

    @property
    def counters(self) -> dict[str, int]:
        """Totals since the start."""
        ledger = self._ledger
        return {
            "accepted": ledger.accepted,
            "acknowledged": ledger.acknowledged,
            "dropped": ledger.dropped.total(),
            "deadLettered": ledger.dead_lettered,
            "maybeDuplicate": ledger.marked,
            "excluded": ledger.excluded,
            "requests": self._outlet.requests,
            "retried": self._outlet.retried,
        }


def _filter(events: contract.EventFilter) -> Callable[[str], bool] | None:
    """Whether a dispatch name is forwarded; None when all are. ``exclude`` wins over ``include``."""
    include, exclude = frozenset(events.include), frozenset(events.exclude)
    if include:
        return (include - exclude).__contains__
    if exclude:
        return lambda name: name not in exclude
    return None
