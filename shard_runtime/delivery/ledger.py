"""What is owed to the receiver: how much is queued, of which session and guild, and how each event ended.

Every event that enters the queue leaves it through :meth:`Ledger.settle`, once (or through :meth:`Ledger.lose`, when a
broken disk has it), and only that moves watermarks and counts; so "acknowledged or counted" can be read off one place.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from typing import Final

from shard_runtime.delivery.backlog import Backlog
from shard_runtime.delivery.events import EVENT_OVERHEAD, Event, Group, Run, Session, size_of
from shard_runtime.handover.keys import stream_of

DROPPED_NAMES_KEPT: Final = 1000
"""Different (name, reason) pairs that drops are counted by; Discord has about 80 names. The rest is counted as one."""


class Ledger:
    def __init__(self) -> None:
        self.sessions: dict[str, Session] = {}
        self.queued = 0
        """Events that are queued, in flight or on disk."""
        self.bytes = 0
        """What they take, payloads and overhead."""
        self.stored = 0
        """Those of them that are safely on disk."""
        self.accepted = 0
        self.acknowledged = 0
        self.excluded = 0
        self.dead_lettered = 0
        self.marked = 0
        self.known = 0
        """Events that a resume brought and an earlier life had finished or put on disk."""
        self.dropped: Counter[tuple[str, str]] = Counter()
        """By event name and reason."""
        self.guilds: Counter[int] | None = None
        """Owed events by guild, 0 for none; None while nobody needs it."""
        self.finished_groups: list[int] = []
        """Groups on disk of which nothing is owed any more."""
        self.gone: list[str] = []
        """Sessions that were on disk and are forgotten."""
        self.progress: dict[int, int] = {}
        """By group on disk, how many of its first events are finished."""

    # --- Events

    def enqueue(self, event: Event) -> None:
        """Take *event* into the count of what is owed."""
        session = event.session
        session.queued += 1
        self.queued += 1
        self.accepted += 1
        self.bytes += len(event.payload) + EVENT_OVERHEAD
        if event.maybe_duplicate:
            self.marked += 1
        if self.guilds is not None:
            if not event.guild:
                event.guild = stream_of(event.name, event.payload)
            self.guilds[event.guild] += 1

    def enqueue_run(self, run: Run) -> None:
        """Take the events of *run* into the count, while nobody counts by guild."""
        count = run.count
        run.session.queued += count
        self.queued += count
        self.accepted += count
        self.bytes += run.size + count * EVENT_OVERHEAD

    def settle(self, events: Sequence[Event]) -> None:
        """*events* are acknowledged, dropped or dead-lettered: their sequences are finished."""
        sessions: set[Session] = set()
        session: Session | None = None
        first = after = 0
        for event in events:
            # usually a lane's events are runs of consecutive ones of a session, which are finished as one
            if event.sequence != after or event.session is not session:
                if session is not None:
                    session.finish_queued(first, after - 1)
                session = event.session
                sessions.add(session)
                first = event.sequence
            after = event.sequence + 1
        if session is not None:
            session.finish_queued(first, after - 1)
        self.queued -= len(events)
        self.bytes -= sum([len(event.payload) for event in events]) + len(events) * EVENT_OVERHEAD
        if self.guilds is not None:
            for event in events:
                self._forget_guild(self.guilds, event.guild, 1)
        for session in sessions:
            if session.delivered is not None:
                self._settle_groups(events, session)
            if session.forgotten and not session.queued:
                self._forget(session)

    def settle_runs(self, runs: Sequence[Run]) -> None:
        """The same for events that nobody has asked for one by one: they are in no group and in no guild's count."""
        for run in runs:
            session = run.session
            count = run.count
            session.finish_queued(run.first, run.first + count - 1)
            self.queued -= count
            self.bytes -= run.size + count * EVENT_OVERHEAD
            if session.forgotten and not session.queued:
                self._forget(session)

    def _settle_groups(self, events: Sequence[Event], session: Session) -> None:
        for event in events:
            if event.session is session and event.group is not None:
                self._settle_stored(event, event.group)

    def _settle_stored(self, event: Event, group: Group) -> None:
        event.group = None
        group.left -= 1
        if group.ordered:
            group.done += 1
        if not group.committed:
            return
        event.session.stored -= 1
        self.stored -= 1
        self.note_progress(group)

    def note_progress(self, group: Group) -> None:
        """Let the disk know what of *group* is finished, with the next transaction."""
        if not group.left:
            self.progress.pop(group.id, None)
            self.finished_groups.append(group.id)
        elif group.ordered and group.done:
            self.progress[group.id] = group.done

    def finish(self, session: Session, sequence: int) -> None:
        """*sequence* never entered the queue and needs nothing more."""
        session.finish(sequence)
        if session.forgotten and not session.queued:
            self._forget(session)

    def drop(self, event: Event, reason: str) -> None:
        """Settle *event* without delivery, counted by name and *reason*."""
        self.count_drop(event.name, reason)
        if event.group is not None:
            event.group.ordered = False  # older ones of its group may be in flight
        self.settle((event,))

    def count_drop(self, name: str, reason: str, count: int = 1) -> None:
        pair = (name, reason)
        if pair not in self.dropped and len(self.dropped) >= DROPPED_NAMES_KEPT:
            pair = ("other", reason)
        self.dropped[pair] += count

    # --- What is on disk and not in memory

    def found(self, backlog: Backlog) -> None:
        """An earlier life of the process left *backlog*."""
        self.queued += backlog.count
        self.stored += backlog.count
        self.bytes += backlog.size
        for session, count in backlog.sessions.items():
            session.queued += count
            session.stored += count

    def found_event(self, event: Event) -> None:
        """An earlier life of the process left *event*, of a group that is in memory."""
        self.queued += 1
        self.stored += 1
        self.bytes += size_of(event)
        event.session.queued += 1
        event.session.stored += 1

    def lose(self, backlog: Backlog, reason: str) -> None:
        """What is in *backlog* cannot be read any more: dropped and counted."""
        self.queued -= backlog.count
        self.stored -= backlog.count
        self.bytes -= backlog.size
        for name, count in backlog.names.items():
            self.count_drop(name, reason, count)
        for session, count in backlog.sessions.items():
            session.queued -= count
            session.stored -= count
            if session.forgotten and not session.queued:
                self._forget(session)
        if self.guilds is not None:
            for guild, count in backlog.guilds.items():
                self._forget_guild(self.guilds, guild, count)

    # --- Sessions

    def session_for(self, session_id: str, sequence: int) -> Session:
        """The session, or a new one without a watermark of use: nobody said that it started."""
        session = self.sessions.get(session_id)
        if session is None:
            session = self.sessions[session_id] = Session(session_id, sequence - 1, forgotten=True)
        return session

    def begin(
        self, session_id: str, watermark: int, *, finished: Sequence[int] = (), unsure: Collection[int] = ()
    ) -> None:
        """Track *session_id*, of which everything up to *watermark* is finished; above it, the runs *finished*."""
        session = self.sessions.get(session_id)
        if session is None:
            self.sessions[session_id] = Session(session_id, watermark)
        else:
            session.forgotten = False
            session.settled_until = watermark
            session.finish_through(watermark)
        if finished or unsure:
            session = self.sessions[session_id]
            for first, last in zip(finished[::2], finished[1::2], strict=True):
                session.finish_range(first, last)
            session.unsure = frozenset(unsure)
            session.known_until = max(session.known_until, *finished, *unsure)

    def forget(self, session_id: str) -> None:
        """The session is over; what is queued of it is still owed."""
        session = self.sessions.get(session_id)
        if session is not None:
            session.forgotten = True
            if not session.queued:
                self._forget(session)

    def _forget(self, session: Session) -> None:
        if self.sessions.get(session.id) is session:
            del self.sessions[session.id]
            if session.delivered is not None:
                self.gone.append(session.id)

    def forget_what_is_over(self) -> None:
        """Let go of sessions that an earlier life of the process left, and that were not resumed."""
        for session in list(self.sessions.values()):
            if session.forgotten and not session.queued:
                self._forget(session)

    def queued_of(self, shard: int) -> int:
        return sum(session.queued for session in self.sessions.values() if session.shard == shard)

    # --- Guilds

    def track_guilds(self, queued: Iterable[Event] | None, backlogs: Iterable[Backlog] = ()) -> None:
        """Count by guild from now on, beginning with what is *queued* or in flight and in *backlogs*; None ends it."""
        if queued is None:
            self.guilds = None
            return
        self.guilds = Counter()
        for event in queued:
            if not event.guild:
                event.guild = stream_of(event.name, event.payload)
            self.guilds[event.guild] += 1
        for backlog in backlogs:
            self.guilds.update(backlog.guilds)

    @staticmethod
    def _forget_guild(guilds: Counter[int], guild: int, count: int) -> None:
        left = guilds[guild] - count
        if left > 0:
            guilds[guild] = left
        else:
            del guilds[guild]

    def unacknowledged_guilds(self) -> Collection[int]:
        return () if self.guilds is None else self.guilds.keys()
