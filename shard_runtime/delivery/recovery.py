"""What an earlier life of the process left on disk."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Final

from shard_runtime.delivery.backlog import Backlog
from shard_runtime.delivery.events import Event, Group, Session
from shard_runtime.delivery.ledger import Ledger
from shard_runtime.delivery.read_back import UNREADABLE
from shard_runtime.delivery.spilling import SESSION_NOTE
from shard_runtime.delivery.stored import (
    StoredLanes,
    Summary,
    UnreadableGroupError,
    decode_body,
    decode_lanes,
    decode_session,
    decode_summary,
)
from shard_runtime.delivery.watermark import Watermark
from shard_runtime.ports import Clock, Spill, SpilledGroup, SpillError

LANES_NOTE = "lanes:"

GROUPS_IN_A_MILLISECOND: Final = 20
"""Bits. Where it is not known which groups there are, further ones are numbered by the time: one that had the number of
a group of an earlier life could not be written, and would then be removed in its place."""


@dataclass
class FoundLane:
    begun: list[Event] = field(default_factory=list)
    """Events of a group of which others are finished; they come first."""
    backlog: Backlog = field(default_factory=Backlog)


@dataclass
class Found:
    lanes: dict[int, FoundLane] = field(default_factory=dict)
    """By the lane's number on disk."""
    sets: dict[int, StoredLanes] = field(default_factory=dict)
    """By number."""
    next_group: int = 1
    problem: str | None = None
    """Why the store is not used, as a sentence."""


def recover(*, store: Spill, ledger: Ledger, clock: Clock, log: Callable[..., None]) -> Found:
    """Open *store* and take what is owed of it into *ledger*; never raises, a pod can do without."""
    reading = _Reading(clock)
    try:
        notes, groups = store.load()
        reading.read(notes.items(), groups)
    except (SpillError, UnreadableGroupError) as error:
        damaged = error.damaged if isinstance(error, SpillError) else True
        return _without(store, error, damaged=damaged, clock=clock, log=log)
    for name, count in reading.lost.items():
        ledger.count_drop(name, UNREADABLE, count)
    if reading.lost:
        log(logging.ERROR, f"{sum(reading.lost.values())} queued events on disk are lost and counted: unreadable.")
    ledger.finished_groups += reading.unreadable
    ledger.sessions.update(reading.sessions)
    for lane in reading.found.lanes.values():
        ledger.found(lane.backlog)
        for event in lane.begun:
            ledger.found_event(event)
    if ledger.queued:
        log(logging.INFO, f"{ledger.queued} events that were not delivered before the restart are on disk.")
    return reading.found


def _without(store: Spill, error: Exception, *, damaged: bool, clock: Clock, log: Callable[..., None]) -> Found:
    problem = f"The store for queued events {error}."
    if damaged:
        try:
            where = store.set_aside()
        except SpillError as second:
            problem = f"The store for queued events {second}."
        else:
            log(
                logging.ERROR,
                f"{problem} It is kept as {where}; sessions are resumed from what was delivered, "
                "and what Discord does not send again of the rest is lost.",
            )
            return Found()
    log(logging.ERROR, f"{problem} Delivery works from memory until it does.")
    return Found(next_group=clock.unix_milliseconds() << GROUPS_IN_A_MILLISECOND, problem=problem)


class _Reading:
    """Reads everything before anything is taken over, since it may turn out to be damaged half-way."""

    def __init__(self, clock: Clock) -> None:
        self._now = clock.monotonic()
        self._unix = clock.unix_milliseconds()
        self.found = Found()
        self.sessions: dict[str, Session] = {}
        self.lost: dict[str, int] = {}
        """By event name, of groups that were begun and cannot be read."""
        self.unreadable: list[int] = []

    def read(self, notes: Iterable[tuple[str, bytes]], groups: Iterable[SpilledGroup]) -> None:
        for name, value in notes:
            if name.startswith(SESSION_NOTE):
                stored = decode_session(value)
                session = self._session(name.removeprefix(SESSION_NOTE), stored.shard)
                session.watermark = Watermark.restored(stored.watermark)
                session.known_until = session.watermark.last
            elif name.startswith(LANES_NOTE):
                number = name.removeprefix(LANES_NOTE)
                if not number.isdecimal():
                    raise UnreadableGroupError(f"has a note with an unreadable name ({name!r})")
                self.found.sets[int(number)] = decode_lanes(value)
        for group in groups:
            self._read_group(group)

    def _read_group(self, group: SpilledGroup) -> None:
        self.found.next_group = max(self.found.next_group, group.id + 1)
        lane = self.found.lanes.setdefault(group.lane, FoundLane())
        summary = decode_summary(group.summary)
        if group.skip and not lane.begun and not lane.backlog.count:
            self._begin(lane, group, summary)
            return
        if not lane.backlog.count:
            lane.backlog.after = group.id - 1
            lane.backlog.oldest = self._monotonic(summary.oldest)
        lane.backlog.add_summary(summary, self._session)

    def _begin(self, lane: FoundLane, group: SpilledGroup, summary: Summary) -> None:
        begun = Group(group.id, summary.count, done=group.skip, committed=True)
        try:
            lane.begun = decode_body(
                group.body, begun, lambda name: self._session(name, summary.sessions[name][0]), self._monotonic
            )
        except (UnreadableGroupError, KeyError):
            self.unreadable.append(group.id)
            left = summary.count - group.skip
            for name, count in summary.names.items():
                count = min(count, left)
                left -= count
                self.lost[name] = self.lost.get(name, 0) + count

    def _session(self, session_id: str, shard: int) -> Session:
        session = self.sessions.get(session_id)
        if session is None:
            session = self.sessions[session_id] = Session(session_id, 0, forgotten=True)
            session.delivered = Watermark(0)
            session.bind(shard)
        return session

    def _monotonic(self, unix_milliseconds: int) -> float:
        return self._now - (self._unix - unix_milliseconds) / 1000
