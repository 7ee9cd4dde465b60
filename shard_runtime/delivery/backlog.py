"""What a lane has on disk and not in memory: not the events themselves, but how many, of which session, guild and name.

So the queue's counts are right without a look at the disk, and what a broken disk takes is counted by name.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Hashable, Iterable
from typing import TypeVar

from shard_runtime.delivery.events import Event, Session, size_of
from shard_runtime.delivery.stored import Summary

Key = TypeVar("Key", bound=Hashable)


class Backlog:
    """Lies between what the lane has in memory to be sent next and what it accepted last."""

    def __init__(self) -> None:
        self.count = 0
        self.size = 0
        self.after = 0
        """The id after which the next group is to be read."""
        self.oldest = 0.0
        """Not later than when its oldest event was accepted, on the monotonic clock."""
        self.sessions: Counter[Session] = Counter()
        self.guilds: Counter[int] = Counter()
        self.names: Counter[str] = Counter()

    def add(self, events: Iterable[Event]) -> None:
        """*events* leave the memory."""
        for event in events:
            if not self.count:
                self.oldest = event.accepted_at
            self.count += 1
            self.size += size_of(event)
            self.sessions[event.session] += 1
            self.guilds[event.guild] += 1
            self.names[event.name] += 1

    def take(self, events: Iterable[Event]) -> None:
        """*events* are in memory again."""
        for event in events:
            self.oldest = event.accepted_at
            self.count -= 1
            self.size -= size_of(event)
            _less(self.sessions, event.session, 1)
            _less(self.guilds, event.guild, 1)
            _less(self.names, event.name, 1)

    def add_summary(self, summary: Summary, session: Callable[[str, int], Session]) -> None:
        """A group that an earlier life of the process left; *session* finds one by id and shard."""
        self.count += summary.count
        self.size += summary.size
        for session_id, (shard, count) in summary.sessions.items():
            self.sessions[session(session_id, shard)] += count
        self.guilds.update(summary.guilds)
        self.names.update(summary.names)

    def part(self, summary: Summary, session: Callable[[str, int], Session]) -> Backlog:
        """Take out one group that turned out to be unreadable, as a backlog of its own to be given up."""
        lost = Backlog()
        lost.add_summary(summary, session)
        self.count -= lost.count
        self.size -= lost.size
        for found, count in lost.sessions.items():
            _less(self.sessions, found, count)
        for guild, count in lost.guilds.items():
            _less(self.guilds, guild, count)
        for name, count in lost.names.items():
            _less(self.names, name, count)
        return lost

    def rest(self) -> Backlog:
        """Take out everything, to be given up."""
        lost = Backlog()
        lost.count, self.count = self.count, 0
        lost.size, self.size = self.size, 0
        lost.sessions, self.sessions = self.sessions, Counter()
        lost.guilds, self.guilds = self.guilds, Counter()
        lost.names, self.names = self.names, Counter()
        return lost


def _less(counter: Counter[Key], key: Key, count: int) -> None:
    left = counter[key] - count
    if left > 0:
        counter[key] = left
    else:
        del counter[key]
