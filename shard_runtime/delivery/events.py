"""What the queue holds: an event, the session it came from, and the group that it lies in on disk."""

from __future__ import annotations

import json
from collections.abc import Iterable
from itertools import repeat
from typing import Final

import msgspec

from shard_runtime.delivery.watermark import Watermark

EVENT_OVERHEAD: Final = 250
"""Bytes that a queued event takes besides its payload's own (struct, numbers, bytes header, queue slot; measured with
``sys.getsizeof``), so that a bound in bytes is a bound on memory also for small events."""


class Session:
    """One gateway session as the delivery sees it."""

    __slots__ = (
        "bound",
        "delivered",
        "entry",
        "forgotten",
        "id",
        "known_until",
        "marked_entry",
        "overstated",
        "queued",
        "settled_until",
        "shard",
        "stored",
        "unsure",
        "watermark",
    )

    def __init__(self, session_id: str, watermark: int, *, forgotten: bool = False) -> None:
        self.id = session_id
        self.watermark = Watermark(watermark)
        """What needs no replay: done with, or safely on disk."""
        self.delivered: Watermark | None = None
        """What is done with; None while that is the same, because nothing is on disk."""
        self.shard = -1
        self.bound = -1
        """The shard, once accepting needs no further look: a resume cannot bring what is known any more."""
        self.known_until = 0
        """The last sequence of which something is known from an earlier life: it finished it, put it on disk, or was
        unsure of it."""
        self.settled_until = 0
        """Up to here an earlier life has recorded that nothing is owed, also of what the disk has yet."""
        self.unsure: frozenset[int] = frozenset()
        """Sequences up to *known_until* that the generation before may have delivered."""
        self.queued = 0
        """Events that are queued, in flight or on disk."""
        self.stored = 0
        """Those of them that are safely on disk."""
        self.overstated = False
        """The watermark counts events as on disk that are only in memory, because their store was given up."""
        self.forgotten = forgotten
        """Its events are still owed, its watermark is of no use any more."""
        self.entry = b""
        """What stands before a payload in a batch, beginning with the end of the entry before."""
        self.marked_entry = b""

    def bind(self, shard: int) -> None:
        """Tell which shard the session belongs to."""
        self.shard = shard
        head = b'},{"shard":%d,"session":%s' % (shard, json.dumps(self.id).encode())
        self.entry = head + b',"payload":'
        self.marked_entry = head + b',"maybeDuplicate":true,"payload":'

    def finish(self, sequence: int) -> None:
        """*sequence* needs nothing more."""
        self.watermark.finish(sequence)
        if self.delivered is not None:
            self.delivered.finish(sequence)

    def finish_queued(self, first: int, last: int) -> None:
        """*first* to *last*, which were queued, need nothing more."""
        self.queued -= last - first + 1
        self.finish_range(first, last)

    def finish_range(self, first: int, last: int) -> None:
        """*first* to *last*, both included, need nothing more."""
        self.watermark.finish_range(first, last)
        if self.delivered is not None:
            self.delivered.finish_range(first, last)

    def skip_range(self, first: int, last: int) -> None:
        """*first* to *last*, both included, were never queued by this life, and need nothing more of it.

        A resume can bring again what an earlier life left on disk. That is still owed, whatever is thought of it now:
        another place that resumed behind it would never have it.
        """
        if self.stored or self.overstated:
            for part in self.watermark.lacks(first, last):
                self.finish_range(*part)
        else:
            self.finish_range(first, last)

    def finish_through(self, sequence: int) -> None:
        """Everything up to and including *sequence* needs nothing more."""
        self.watermark.finish_through(sequence)
        if self.delivered is not None:
            self.delivered.finish_through(sequence)


class Group:
    """Consecutive events of a lane that are written to disk together, and removed when all are finished."""

    __slots__ = ("committed", "count", "done", "id", "left", "ordered")

    def __init__(self, group_id: int, count: int, *, done: int = 0, committed: bool = False) -> None:
        self.id = group_id
        self.count = count
        self.left = count - done
        """Events that are not finished."""
        self.done = done
        """Finished ones from the first on, as far as they finish in order."""
        self.ordered = True
        self.committed = committed
        """Whether it is on disk, and not only on its way there."""


class Event(msgspec.Struct, gc=False):
    """A dispatch on its way to the receiver.

    Not tracked by the garbage collector: there may be a million of them, and none is part of a cycle.
    """

    session: Session
    sequence: int
    name: str
    payload: bytes
    guild: int
    """0 where it belongs to none, or where nobody has needed it yet (see ``Ledger.track_guilds``)."""
    accepted_at: float
    """Seconds on the monotonic clock."""
    maybe_duplicate: bool
    group: Group | None = None
    """Where it lies on disk, or is just being written; None for an event that is only in memory, or finished."""


def size_of(event: Event) -> int:
    """What *event* counts for under a bound in bytes."""
    return len(event.payload) + EVENT_OVERHEAD


class Run:
    """Events of one session with consecutive sequences that were accepted together, not yet made into :class:`Event`.

    Most events never have to be: they go into a request and are acknowledged as they came.
    """

    __slots__ = ("accepted_at", "count", "first", "names", "payloads", "session", "size")

    def __init__(
        self, session: Session, first: int, names: list[str], payloads: list[bytes], accepted_at: float
    ) -> None:
        self.session = session
        self.first = first
        """Sequence of the first."""
        self.names = names
        self.payloads = payloads
        self.count = len(payloads)
        self.size = len(payloads[0]) if self.count == 1 else sum(map(len, payloads))
        """Bytes of the payloads."""
        self.accepted_at = accepted_at

    @property
    def sequences(self) -> range:
        return range(self.first, self.first + self.count)

    def cut(self, count: int) -> Run:
        """Take out the first *count*."""
        part = Run(self.session, self.first, self.names[:count], self.payloads[:count], self.accepted_at)
        self.first += count
        self.count -= count
        self.size -= part.size
        del self.names[:count], self.payloads[:count]
        return part

    def events(self) -> Iterable[Event]:
        # the loop is C's
        constants = repeat(0), repeat(self.accepted_at), repeat(False)
        return map(Event, repeat(self.session), self.sequences, self.names, self.payloads, *constants)
