"""The delivery of one worker: from a session's dispatch to the receiver's acknowledgement.

:meth:`Delivery.accept` is on the path of every event, so it does little: no I/O, no parsing, no task. Everything else
happens once for a batch. Lanes come in sets: while the number of lanes or their ordering changes, new events queue in
the lanes of the next set, which begins to send only when the one before is drained, so an event never overtakes an
older one of its shard.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Sequence
from typing import Final

from shard_runtime import contract
from shard_runtime.delivery.batches import Origin
from shard_runtime.delivery.bounds import Bounds
from shard_runtime.delivery.dead_letters import DeadLetters
from shard_runtime.delivery.events import EVENT_OVERHEAD, Event, Run, Session
from shard_runtime.delivery.housekeeping import Housekeeping
from shard_runtime.delivery.ledger import Ledger
from shard_runtime.delivery.outlet import Outlet
from shard_runtime.delivery.outlook import Outlook
from shard_runtime.delivery.pressure import Pressure
from shard_runtime.delivery.receiver import Receiver
from shard_runtime.delivery.recovery import Found, recover
from shard_runtime.delivery.spilling import Spiller
from shard_runtime.delivery.succession import Succession
from shard_runtime.delivery.turns import SMALLEST_DEPTH, Turns
from shard_runtime.handover.keys import stream_of
from shard_runtime.ports import Chance, Clock, Network, Spill
from shard_runtime.signatures import Signer

CANNOT_BE_TAKEN: Final = "cannot be taken over"
"""Our own side failed at the event every time."""

MOST_RUNS: Final = 256
"""Of one session that are told to another place, where what is finished in later ones is delivered again."""

SMALLEST_REPLAY: Final = 100
"""Events that Discord keeps for a resume at least (docs/protocol.md)."""


class Delivery(Outlook):
    """Queue, lanes and acknowledgement. All methods are for the event loop's own thread."""

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
        spill: Spill | None = None,
        replay_events: Callable[[int], int] = lambda shard: SMALLEST_REPLAY,
        replay_seconds: Callable[[], float] = lambda: 0.0,
        pause: Callable[[bool], None] | None = None,
        on_volume: int = 1,
    ) -> None:
        """*log* is called as ``log(level, sentence)`` with a level of :mod:`logging`, so ``Logger.log`` will do.

        Without *dead_letters*, a payload that the receiver refuses alone is tried until it is taken. Without *spill*
        the queue is in memory only; with it, what an earlier life left there is owed from the start. *replay_events*
        says of a shard how many events Discord keeps for a resume, *replay_seconds* how long that lasts now. *pause*
        stops reading from Discord, or lets it go on; without it ``Pause`` acts as ``DropOldest``. *on_volume*
        is how many deliveries have their stores on the one volume: each has its share of it.
        """
        self._origin = origin
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
            dead_letters=dead_letters,
            clock=clock,
            chance=chance,
            log=log,
            settled=self._settled,
            busy=lambda: self._house.busy.set(),
            fill=lambda lane: self._house.fill(lane),
            fill_soon=lambda lane: self._house.fill_soon(lane),
        )
        self._pressure = None if pause is None else Pressure(pause=pause, replay_seconds=replay_seconds, log=log)
        self._turns = None
        if pause is not None:
            self._turns = Turns(pause=pause, held=self._is_paused, monotonic=clock.monotonic)
        self._succession = Succession(self._outlet, shards=origin.shards, note=self._note)
        self._sets = self._succession.sets
        self._all_lanes = self._succession.lanes
        self._store = spill
        self._on_volume = on_volume
        self._spiller: Spiller | None = None
        self._bounds = Bounds(
            ledger=self._ledger,
            lanes=self._all_lanes,
            fill=lambda lane: self._house.fill(lane),
            settled=self._settled,
            pressure=self._pressure,
            spills=lambda: self._spiller is not None and self._spiller.write_problem is None,
            memory=lambda: self.memory,
            monotonic=clock.monotonic,
        )
        found = Found()
        if spill is not None:
            found = recover(store=spill, ledger=self._ledger, clock=clock, log=log)
            self._spiller = Spiller(
                store=spill,
                ledger=self._ledger,
                sets=lambda: self._sets,
                replay_events=replay_events,
                batch_events=lambda: max(1, self._outlet.forward.max_batch_events),
                next_group=found.next_group,
                clock=clock,
                log=log,
            )
            self._spiller.write_problem = found.problem
        self._house = Housekeeping(
            ledger=self._ledger,
            bounds=self._bounds,
            spiller=self._spiller,
            lanes=self._all_lanes,
            settled=self._settled,
            clock=clock,
            log=log,
        )
        self._succession.find(found, forward)
        self._apply(forward)

    # --- Sessions and watermarks

    def session_started(self, session_id: str, sequence: int) -> None:
        """A new session, whose first dispatch (READY) has *sequence*: its watermark starts below."""
        self._ledger.begin(session_id, sequence - 1)

    def resume_session(
        self, session_id: str, watermark: int, *, finished: Sequence[int] = (), unsure: Collection[int] = ()
    ) -> None:
        """A session from an earlier life of the process, of which everything up to *watermark* is done.

        Above it, what is *finished* (bounds of runs, both included) is done, too, and what it was *unsure* of is
        delivered as one that may be a duplicate.
        """
        self._ledger.begin(session_id, watermark, finished=finished, unsure=unsure)

    def forget_session(self, session_id: str) -> None:
        """The session is over: its watermark is of no use any more. What is queued of it is still delivered."""
        self._ledger.forget(session_id)

    def watermark(self, session_id: str) -> int | None:
        """The highest sequence with every lower one finished or safely on disk; None for an unknown session."""
        session = self._sessions.get(session_id)
        return None if session is None or session.forgotten else session.watermark.value

    def delivered(self, session_id: str) -> int | None:
        """The watermark without what only the disk has: from here another place has to resume."""
        session = self._sessions.get(session_id)
        if session is None or session.forgotten:
            return None
        return session.watermark.value if session.delivered is None else session.delivered.value

    def delivered_above(self, session_id: str) -> list[int]:
        """What is done with above :meth:`delivered`: bounds of the first runs of consecutive sequences."""
        session = self._sessions.get(session_id)
        if session is None or session.forgotten:
            return []
        return (session.delivered or session.watermark).export(MOST_RUNS)[1:]

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
        if session.bound != shard:
            if self._is_known(session, shard, sequence):
                return
            maybe_duplicate = maybe_duplicate or sequence in session.unsure
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
            refused = self._bounds.make_room(len(payload) + EVENT_OVERHEAD)
            if refused is not None:
                ledger.accepted += 1
                ledger.count_drop(name, refused)
                ledger.finish(session, sequence)
                return
        if self._by_guild:
            guild = guild or stream_of(name, payload)
            lane = self._sets[-1].route(shard, guild, name)
        else:
            lane = self._lanes[shard % len(self._lanes)]
        event = Event(session, sequence, name, payload, guild, self._monotonic(), maybe_duplicate)
        ledger.enqueue(event)
        lane.append(event)
        if ledger.queued - ledger.stored > self._deep:
            self._rest()

    def accept_run(self, shard: int, session_id: str, sequence: int, names: list[str], payloads: list[bytes]) -> None:
        """Take over dispatches with consecutive sequences, the first of which is *sequence*, as :meth:`accept` does.

        Both lists are the delivery's from now on.
        """
        session = self._sessions.get(session_id)
        ledger = self._ledger
        if session is None or session.bound != shard or self._each_by_itself or ledger.guilds is not None:
            run = None
        else:
            run = Run(session, sequence, names, payloads, self._monotonic())
            if (
                ledger.queued + run.count > self._max_events
                or ledger.bytes + run.size + run.count * EVENT_OVERHEAD > self._max_bytes
            ):
                run = None
        if run is None:
            for number, (name, payload) in enumerate(zip(names, payloads, strict=True), sequence):
                self.accept(shard, session_id, number, name, payload)
            return
        ledger.enqueue_run(run)
        self._lanes[shard % len(self._lanes)].append_run(run)
        if ledger.queued - ledger.stored > self._deep:
            self._rest()

    def _is_known(self, session: Session, shard: int, sequence: int) -> bool:
        """Whether an earlier life of the process has finished *sequence*, or left it on disk."""
        if session.shard != shard:
            session.bind(shard)
        if sequence > session.known_until:
            session.bound = shard
            return False
        if session.watermark.covers(sequence):
            self._ledger.known += 1
            return True
        return False

    def skip(self, session_id: str, sequence: int) -> None:
        """*sequence* has nothing to deliver (RESUMED, excluded, trimmed in standby, skipped by the handover)."""
        session = self._sessions.get(session_id)
        if session is None:
            return
        if session.delivered is None:
            session.finish(sequence)
        else:
            session.skip_range(sequence, sequence)

    def skip_range(self, session_id: str, first: int, last: int) -> None:
        """As :meth:`skip`, for *first* to *last*, both included."""
        session = self._sessions.get(session_id)
        if session is not None:
            session.skip_range(first, last)

    def drop(self, session_id: str, sequence: int, name: str, reason: str) -> None:
        """*sequence* is given up before it was accepted (what a handover held beyond its bound): counted as a drop."""
        session = self._sessions.get(session_id)
        if session is not None and session.delivered is not None and session.watermark.covers(sequence):
            self._ledger.known += 1  # an earlier life finished it, or it is on disk, from where it is delivered
            return
        self._ledger.count_drop(name, reason)
        self.skip(session_id, sequence)

    # --- Running

    async def run(self) -> None:
        """Deliver until cancelled. What is queued or in flight then stays so, and another ``run`` goes on with it."""
        self._house.let_go_of_settled()
        self._ledger.forget_what_is_over()
        async with asyncio.TaskGroup() as tasks:
            self._house.begin(tasks)
            await self._succession.run()

    async def save(self) -> None:
        """Write what is only in memory to disk, if there is one that takes it."""
        if self._spiller is not None:
            await self._spiller.save()

    def close(self) -> None:
        """Let go of the disk; nothing may be accepted after it."""
        if self._store is not None:
            self._store.close()

    async def drain(self, timeout: float) -> bool:
        """Wait at most *timeout* seconds until nothing is queued or in flight; False if something still is."""
        if self._ledger.queued:
            self._empty.clear()
            self._outlet.hurry = True
            self._wake_lanes()
            try:
                async with asyncio.timeout(timeout):
                    await self._empty.wait()
            except TimeoutError:
                return not self._ledger.queued
            finally:
                self._outlet.hurry = False
        return True

    def reconfigure(self, forward: contract.ForwardConfig) -> None:
        """Use *forward* from now on.

        A batch that is formed already keeps its body and id, but may follow a new URL. The filter decides about what
        is accepted from now on; what was accepted before is owed. A change of the lanes takes effect when the present
        ones are drained.
        """
        before = self._outlet.forward
        if (before.lanes, before.ordering) != (forward.lanes, forward.ordering):
            self._succession.change(forward)
        self._apply(forward)
        self._bounds.make_room(0)

    def sign_with(self, signer: Signer | None) -> None:
        """Sign requests, also retries of what is in flight, or no more."""
        self._receiver.signer = signer

    def _apply(self, forward: contract.ForwardConfig) -> None:
        self._outlet.forward = forward
        self._receiver.reconfigure(forward)
        self._passes = _filter(forward.events)
        bounds = self._bounds
        volume = None if self._store is None else self._store.volume_bytes()
        bounds.apply(forward.queue, volume=None if volume is None else volume // self._on_volume)
        # copies, since every event is held against them
        self._max_events, self._max_bytes, self._max_age = bounds.max_events, bounds.max_bytes, bounds.max_age
        self._by_guild = forward.ordering == "guild"
        self._each_by_itself = self._by_guild or self._passes is not None or self._max_age is not None
        self._lanes = self._sets[-1].lanes
        # for each lane a request in flight, and another one that can follow at once
        self._deep = max(SMALLEST_DEPTH, 2 * len(self._lanes) * forward.max_batch_events)

    # --- Pace

    def _rest(self) -> None:
        if self._turns is not None:
            self._turns.rest()

    def _is_paused(self) -> bool:
        return self._pressure is not None and self._pressure.paused

    def _settled(self) -> None:
        turns = self._turns
        if turns is not None and turns.resting and self._ledger.queued - self._ledger.stored < self._deep // 2:
            turns.read()
        if not self._ledger.queued:
            self._empty.set()
        if self._sets and self._sets[0].gates:
            self._sets[0].look_at_gates()

    def _wake_lanes(self) -> None:
        """Let none wait for company."""
        for lane in self._all_lanes():
            lane.wake()

    def _note(self, name: str, value: bytes | None) -> None:
        if self._spiller is not None:
            self._spiller.notes[name] = value

    def track_guilds(self, wanted: bool) -> None:
        """Count unacknowledged events by guild, beginning with what is queued; costs nothing while off."""
        if not wanted:
            self._ledger.track_guilds(None)
        elif self._ledger.guilds is None:
            lanes = list(self._all_lanes())
            self._ledger.track_guilds(
                (event for lane in lanes for event in lane.events()), (lane.backlog for lane in lanes)
            )
            self._wake_lanes()  # somebody waits for guilds to be acknowledged


def _filter(events: contract.EventFilter) -> Callable[[str], bool] | None:
    """Whether a dispatch name is forwarded; None when all are. ``exclude`` wins over ``include``."""
    include, exclude = frozenset(events.include), frozenset(events.exclude)
    if include:
        return (include - exclude).__contains__
    if exclude:
        return lambda name: name not in exclude
    return None
