"""Where a dispatch goes, by what the worker's generation may do. The sink of all shards of a worker.

    direct       active, nothing to watch: straight into the delivery, with nothing in between
    marking      for a minute after a pod was replaced that had not seen the end of its handover: late copies are marked
    recording    active while a successor exists: its window remembers what is accepted
    holding      standby, and active until the handover from the predecessor is over: the cutover decides
    fenced       sealed or retired: nothing more is accepted, but for what a seal says had been accepted and what a
                 resume brings again because it was not delivered; and for answers to the session's own requests

The way is chosen when something changes, by replacing :attr:`Flow.dispatch`; an event passes no check of the others'.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Final

from shard_runtime.contract import ReceivedEvent
from shard_runtime.delivery import Delivery
from shard_runtime.delivery.forwarding import CANNOT_BE_TAKEN
from shard_runtime.handover.alignment import LATE_COPIES_MILLISECONDS
from shard_runtime.handover.cutover import Cutover
from shard_runtime.handover.holding import held
from shard_runtime.handover.keys import REPLIES, event_key, place_of, routed_stream, stream_of
from shard_runtime.handover.placed import Placed
from shard_runtime.handover.received import Received
from shard_runtime.handover.snapshots import StartupSnapshots
from shard_runtime.handover.steps import Step
from shard_runtime.handover.window import Window
from shard_runtime.ports import Clock
from shard_runtime.protocol.envelope import read_envelope
from shard_runtime.worker.mending import Mending

HELD_TOO_MANY: Final = "held too many"
"""Reason of drops under the bound on what a worker holds during a handover."""

UNREADABLE: Final = "unreadable"
"""Reason of drops where Discord sent the same twice, and it was no payload."""
UNKNOWN: Final = "unknown"
"""The name of such an event."""

Dispatch = Callable[[int, str, int, list[str], list[bytes]], None]
One = Callable[[int, str, int, str, bytes], None]


class Flow:
    """A :class:`shard_runtime.shard.ShardSink`."""

    def __init__(
        self,
        *,
        count: int,
        own_user: int | None,
        delivery: Delivery,
        clock: Clock,
        log: logging.Logger,
        sessions_changed: Callable[[], None],
        lost: Callable[[int, str, int], None],
        left_out: Callable[[int, int], None],
    ) -> None:
        """*count*: of the generation's shards. *sessions_changed* is called when a session began or ended; *lost* with
        shard, cause and the least number of events when one was lost that the bot had; *left_out* with shard and number
        of events that Discord left out of a session that lives."""
        self._sessions_changed = sessions_changed
        self._lost = lost
        self._left_out = left_out
        self._count = count
        self._delivery = delivery
        self._clock = clock
        self._log = log
        self._cutover: Cutover | None = None
        self._window: Window | None = None
        self._fence: dict[str, int] | None = None
        self._after: Window | None = None
        self._after_until = 0
        self._received: Received | None = None
        self._mending: Mending | None = None
        self._snapshots: dict[str, StartupSnapshots] = {}
        self._unannounced: set[str] = set()
        """Sessions that began before they were needed: neither their READY nor their snapshots are forwarded."""
        self._resuming: Callable[[int], bool] = lambda shard: False
        self._remember: Callable[[Mapping[int, Sequence[Placed]]], None] = lambda found: None
        self.own_user = own_user
        self.active = False
        """Whether a new session is the bot's business, so that its READY is forwarded."""
        self._overflowed = False
        self._late: dict[str, tuple[int, Counter[int]]] = {}
        self._late_until = 0
        self.received: dict[str, int] = {}
        """By session from an earlier life of the process, the last sequence that had come."""
        self.dispatch: Dispatch = self._nowhere
        """:meth:`shard_runtime.shard.ShardSink.dispatch`."""
        self._choose()

    # --- Which way ----------------------------------------------------------------------------------------------------

    def hold(
        self,
        cutover: Cutover,
        *,
        mending: Mending,
        resuming: Callable[[int], bool],
        remember: Callable[[Mapping[int, Sequence[Placed]]], None],
    ) -> None:
        """Let *cutover* decide from now on; *resuming* says whether a shard is being sent what it missed.

        *mending* is told of sessions that come and go, and holds back what has to wait for what was missed. *remember*
        gets the places that were found, before anything behind them is delivered.
        """
        self._cutover = cutover
        self._mending = mending
        self._resuming = resuming
        self._remember = remember
        self._choose()

    def release(self) -> None:
        """The cutover is over."""
        self._cutover = None
        self._mending = None
        self._snapshots.clear()
        self._unannounced.clear()
        self._choose()

    def record(self, window: Window | None) -> None:
        """Remember accepted events in *window*, or no more."""
        self._window = window
        self._choose()

    def fence(self, accepted: Mapping[str, int]) -> None:
        """Accept nothing more, but what a resume brings again: by session, up to the sequence in *accepted*."""
        self._fence = dict(accepted)
        self._choose()

    def follow(self, after: Window, *, until: int) -> None:
        """Remember in *after* what a fenced worker's sessions receive and do not accept, until then."""
        self._after, self._after_until = after, until

    def keep(self, received: Received | None) -> None:
        """Keep in *received* what a fenced worker's sessions receive and do not accept, or let go of it."""
        self._received = received

    @property
    def fenced(self) -> bool:
        return self._fence is not None

    def owed(self) -> bool:
        """Whether a fenced worker still waits for accepted events that a resume must bring again."""
        for session, accepted in (self._fence or {}).items():
            watermark = self._delivery.watermark(session)
            if watermark is not None and watermark < accepted:
                return True
        return False

    def expect_late(self, session_id: str, keys: Sequence[int], *, after: int) -> None:
        """Of a session that another pod had: the generation before delivered events with these *keys*, whose copies may
        come above the sequence *after*; they are marked."""
        if keys:
            self._late[session_id] = after, Counter(keys)
            self._late_until = self._clock.unix_milliseconds() + LATE_COPIES_MILLISECONDS
            self._choose()

    def _choose(self) -> None:
        if self._fence is not None:
            self.dispatch = _each(self._accept_again)
        elif self._cutover is not None:
            self.dispatch = _each(self._offer)
        elif self._window is not None:
            self.dispatch = _each(self._record_and_accept)
        elif self._late:
            self.dispatch = _each(self._accept_late)
        else:
            self.dispatch = self._delivery.accept_run

    # --- Dispatches ---------------------------------------------------------------------------------------------------

    def _nowhere(self, shard: int, session_id: str, sequence: int, names: list[str], payloads: list[bytes]) -> None:
        raise AssertionError("a dispatch before a way was chosen")

    def _accept_again(self, shard: int, session_id: str, sequence: int, name: str, payload: bytes) -> None:
        assert self._fence is not None
        if sequence <= self._fence.get(session_id, 0) or name in REPLIES:  # nobody else gets an answer to its requests
            self._delivery.accept(shard, session_id, sequence, name, payload)
        elif self._received is not None and not self._is_startup_snapshot(session_id, name, payload):
            now = self._clock.unix_milliseconds()
            guild = routed_stream(stream_of(name, payload), shard=shard, count=self._count)
            event = ReceivedEvent(
                shard=shard, session=session_id, sequence=sequence, name=name, payload=payload, arrival=now
            )
            self._received.add(guild, event)
            if self._after is not None and now <= self._after_until:
                self._after.record(place_of(name, payload, shard=shard, count=self._count), name, payload, now)
            else:
                self._after = None

    def _record_and_accept(self, shard: int, session_id: str, sequence: int, name: str, payload: bytes) -> None:
        assert self._window is not None
        place = place_of(name, payload, shard=shard, count=self._count)
        self._window.record(place, name, payload, self._clock.unix_milliseconds())
        self._delivery.accept(shard, session_id, sequence, name, payload, guild=place.guild)

    def _accept_late(self, shard: int, session_id: str, sequence: int, name: str, payload: bytes) -> None:
        after, late = self._late.get(session_id, (0, Counter[int]()))
        is_copy = False
        if late and sequence > after:
            key, _ = event_key(name, payload)
            is_copy = late[key] > 0
            late[key] -= is_copy
        self._delivery.accept(shard, session_id, sequence, name, payload, maybe_duplicate=is_copy)
        if self._clock.unix_milliseconds() > self._late_until:
            self._late.clear()
            self._choose()

    def _offer(self, shard: int, session_id: str, sequence: int, name: str, payload: bytes) -> None:
        assert self._cutover is not None and self._mending is not None
        if self._is_startup_snapshot(session_id, name, payload):
            if session_id in self._unannounced:
                self._delivery.skip(session_id, sequence)
                return
            self._mending.missed.own(shard, session_id, sequence)
        event = held(
            shard=shard,
            count=self._count,
            session=session_id,
            sequence=sequence,
            name=name,
            payload=payload,
            arrival=self._clock.unix_milliseconds(),
            replayed=self._resuming(shard),
            own_user=self.own_user,
        )
        self.apply(self._cutover.offer(event))

    def _is_startup_snapshot(self, session_id: str, name: str, payload: bytes) -> bool:
        snapshots = self._snapshots.get(session_id)
        return snapshots is not None and snapshots.is_startup_snapshot(name, payload)

    def apply(self, step: Step) -> None:
        """Carry out what the cutover decided."""
        if step.placed:
            self._remember(step.placed)
        if self._mending is not None:
            self._mending.pass_on(step)
        self.carry_out(step)

    def carry_out(self, step: Step) -> None:
        """Deliver, skip and drop as *step* says."""
        for event, marked in step.deliver:
            if self._window is not None:
                self._window.record(event.place, event.name, event.payload, self._clock.unix_milliseconds())
            self._delivery.accept(
                event.shard,
                event.session,
                event.sequence,
                event.name,
                event.payload,
                guild=event.guild,
                maybe_duplicate=marked,
            )
        for event in step.skip:
            self._delivery.skip(event.session, event.sequence)
        for event in step.overflowed:
            self._delivery.drop(event.session, event.sequence, event.name, HELD_TOO_MANY)
        if step.overflowed:
            if not self._overflowed:
                self._log.error(
                    "Held events are given up: the bound on what a worker holds during a handover is reached."
                )
            self._overflowed = True

    # --- Sessions -----------------------------------------------------------------------------------------------------

    def session_started(self, shard: int, session_id: str, payload: bytes) -> None:
        self._sessions_changed()
        sequence = read_envelope(payload).s or 1
        if self._fence is not None:
            if sequence <= self._fence.get(session_id, 0):
                self._delivery.accept(shard, session_id, sequence, "READY", payload)
            elif self._received is not None:
                self._snapshots[session_id] = StartupSnapshots(payload)
            return
        self._delivery.session_started(session_id, sequence)
        if self._cutover is not None and self._mending is not None:
            now = self._clock.unix_milliseconds()
            self._cutover.begins(shard, now)
            self._mending.begins(shard, session_id, now)
            self._snapshots[session_id] = StartupSnapshots(payload)
        if self.active:
            self._delivery.accept(shard, session_id, sequence, "READY", payload)
        else:
            self._delivery.skip(session_id, sequence)
            self._unannounced.add(session_id)

    def session_resumed(self, shard: int, session_id: str) -> None:
        return  # the shard itself knows when it is being sent what it missed

    def session_lost(self, shard: int, session_id: str, sequence: int, cause: str) -> None:
        self._sessions_changed()
        self._snapshots.pop(session_id, None)
        self._unannounced.discard(session_id)
        received = self.received.pop(session_id, 0)
        if self._fence is not None:
            if self._received is not None:
                self._received.complete = False
            accepted = self._fence.pop(session_id, 0)
            missing = accepted - (self._delivery.watermark(session_id) or accepted)
            if missing > 0:
                self._log.error("Shard %d lost its session with %d accepted events not delivered.", shard, missing)
        elif self.active:
            events = max(0, received - sequence)
            if self._mending is None or not self._mending.lost(shard, cause, events):
                self._lost(shard, cause, events)
        else:
            self._log.warning("Shard %d lost its session (%s) before it was needed.", shard, cause)
        self._delivery.forget_session(session_id)

    def sequence_passed(self, shard: int, session_id: str, sequence: int) -> None:
        self._delivery.skip(session_id, sequence)

    def sequences_missing(
        self, shard: int, session_id: str, first: int, last: int, *, unreadable: int, lost: int
    ) -> None:
        if self.active and self._fence is None:
            for sequence in range(first, first + unreadable):
                self._log.error("Shard %d cannot read %s:%d; it is dropped.", shard, session_id, sequence)
                self._delivery.drop(session_id, sequence, UNKNOWN, UNREADABLE)
            if lost:
                self._left_out(shard, lost)
        self._delivery.skip_range(session_id, first, last)

    def given_up(self, shard: int, session_id: str, sequence: int, name: str) -> None:
        self._log.error("Shard %d cannot take over %s %s:%d; it is dropped.", shard, name, session_id, sequence)
        self._delivery.drop(session_id, sequence, name, CANNOT_BE_TAKEN)

    def watermark(self, session_id: str) -> int | None:
        return self._delivery.watermark(session_id)


def _each(way: One) -> Dispatch:
    """A way for each event of a run by itself."""

    def dispatch(shard: int, session_id: str, sequence: int, names: list[str], payloads: list[bytes]) -> None:
        for number, (name, payload) in enumerate(zip(names, payloads, strict=True), sequence):
            way(shard, session_id, number, name, payload)

    return dispatch
