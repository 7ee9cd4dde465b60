"""How what is on disk comes back into its lane, and what happens where the disk does not give it."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Final

from shard_runtime.delivery.backlog import Backlog
from shard_runtime.delivery.events import Event, Group, Session
from shard_runtime.delivery.lanes import Lane
from shard_runtime.delivery.ledger import Ledger
from shard_runtime.delivery.stored import UnreadableGroupError, decode_body, decode_summary
from shard_runtime.ports import Clock, Spill, SpilledGroup, SpillError

READ_AHEAD: Final = 1 << 20
RETRY: Final = 1.0
"""Seconds between two tries."""
READ_PATIENCE: Final = 60.0
"""Seconds after which events that the disk does not give back are given up."""

UNREADABLE: Final = "unreadable on disk"


class ReadBack:
    def __init__(
        self,
        *,
        store: Spill,
        ledger: Ledger,
        batch_events: Callable[[], int],
        give_up: Callable[[SpillError], None],
        clock: Clock,
        log: Callable[..., None],
    ) -> None:
        """*give_up* is told of a failure after which the store is of no use."""
        self._store = store
        self._ledger = ledger
        self._batch_events = batch_events
        self._give_up = give_up
        self._clock = clock
        self._log = log
        self._failed_at: float | None = None
        self.problem: str | None = None
        """Why the disk does not give events at the moment, as a sentence; it may take others meanwhile."""
        self.stores = 0
        """How many stores were given up."""

    def store_given_up(self) -> None:
        """What is being read at the moment comes from a store that is not used any more."""
        self.stores += 1
        self._failed_at = self.problem = None

    async def fill(self, lane: Lane) -> None:
        """Read what comes next in *lane*, or wait a while where the disk does not give it."""
        async with lane.reading:
            backlog = lane.backlog
            if not backlog.count or len(lane.head) >= self._batch_events():
                return
            store = self.stores
            try:
                groups = await self._store.read(lane.number, after=backlog.after, size=READ_AHEAD)
            except SpillError as error:
                if store == self.stores:
                    await self._read_failed(error)
                return
            if store != self.stores:
                return  # given up meanwhile
            if self.problem is not None:
                self._log(logging.INFO, "The store for queued events gives them again.")
            self._failed_at = self.problem = None
            if not groups:  # somebody else's hand
                self._lose(backlog.rest(), "fewer events than were written")
            for found in groups:
                self._read(lane, found)

    def _read(self, lane: Lane, found: SpilledGroup) -> None:
        group = Group(found.id, 0, committed=True)
        backlog = lane.backlog
        backlog.after = found.id
        try:
            summary = decode_summary(found.summary)
        except UnreadableGroupError:
            # it is counted when the lane turns out to have less than it should; if it stayed, the next life would give
            # up the whole store for it
            self._ledger.finished_groups.append(found.id)
            return
        try:
            events = decode_body(
                found.body, group, lambda name: self._session(name, summary.sessions[name][0]), self._monotonic
            )
        except (UnreadableGroupError, KeyError) as error:
            self._lose(backlog.part(summary, self._session), str(error))
            self._ledger.finished_groups.append(found.id)
            return
        group.count = group.left = len(events)
        backlog.take(events)
        lane.head.extend(self.owed(events))

    def owed(self, events: list[Event]) -> list[Event]:
        """Of *events* from disk those that are owed; the others are settled.

        Sessions are saved on their own, so a kill can leave an acknowledgement there that the disk did not hear of.
        """
        if all(event.sequence > event.session.settled_until for event in events):
            return events
        owed: list[Event] = []
        settled: list[Event] = []
        for event in events:
            if event.sequence > event.session.settled_until:
                owed.append(event)
                continue
            settled.append(event)
            if owed and event.group is not None:
                event.group.ordered = False
        self._ledger.settle(settled)
        return owed

    async def _read_failed(self, error: SpillError) -> None:
        now = self._clock.monotonic()
        if self._failed_at is None:
            self._failed_at = now
        if error.damaged or now - self._failed_at >= READ_PATIENCE:
            self._give_up(error)
            return
        if self.problem is None:
            self._log(logging.ERROR, f"The store for queued events {error}. Its events wait.")
        self.problem = f"The store for queued events {error}."
        await self._clock.sleep(RETRY)

    def _lose(self, backlog: Backlog, problem: str) -> None:
        if backlog.count:
            self._log(logging.ERROR, f"{backlog.count} queued events on disk are lost and counted: {problem}.")
            self._ledger.lose(backlog, UNREADABLE)

    def _session(self, session_id: str, shard: int) -> Session:
        session = self._ledger.session_for(session_id, 1)
        if session.shard < 0:
            session.bind(shard)
        return session

    def _monotonic(self, unix_milliseconds: int) -> float:
        return self._clock.monotonic() - (self._clock.unix_milliseconds() - unix_milliseconds) / 1000
