"""What the queue holds: an event and the session it came from."""

from __future__ import annotations

import json
from typing import Final

import msgspec

from shard_runtime.delivery.watermark import Watermark

EVENT_OVERHEAD: Final = 240
"""Bytes that a queued event takes besides its payload's own (struct, numbers, bytes header, queue slot; measured with
``sys.getsizeof``), so that a bound in bytes is a bound on memory also for small events."""


class Session:
    """One gateway session as the delivery sees it."""

    __slots__ = ("entry", "forgotten", "id", "marked_entry", "queued", "shard", "watermark")

    def __init__(self, session_id: str, watermark: int, *, forgotten: bool = False) -> None:
        self.id = session_id
        self.watermark = Watermark(watermark)
        self.shard = -1
        self.queued = 0
        """Events that are queued or in flight."""
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
