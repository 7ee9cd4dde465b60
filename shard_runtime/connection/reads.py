"""How much a connection reads at once, so that every connection has its turn and none keeps a large buffer.

picows doubles its read buffer whenever a read fills nine tenths of it, and keeps it; at full speed a read fills
whatever is offered, up to all that the kernel holds. Sixteen busy connections came to 160 MB that way. So a read is
offered less than that, and only a message that is larger than the buffer makes it grow.

In a burst a read is meant to bring :data:`TURN_MESSAGES`, whatever their size, and then it is another connection's
turn: what a worker reads in one round over its connections is about what it can deliver in one, it is still in the
processor's caches then, and no session gets far ahead of the others.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final, cast

from shard_runtime.memory import empty

BUFFER_BYTES: Final = 64 << 10
"""Of a new connection."""

LARGEST_READ: Final = BUFFER_BYTES * 3 // 4
"""Leaves room for the beginning of a message that did not come whole."""
SMALLEST_READ: Final = 4 << 10

TURN_MESSAGES: Final = 64


class BoundedReads(asyncio.BufferedProtocol):
    """Stands before a protocol and passes everything on, offering :attr:`room` of its buffer at most."""

    def __init__(self, protocol: asyncio.BufferedProtocol) -> None:
        # Bound once: all but reading goes straight through.
        self.eof_received = protocol.eof_received  # type: ignore[method-assign]
        self.connection_lost = protocol.connection_lost  # type: ignore[method-assign]
        self.pause_writing = protocol.pause_writing  # type: ignore[method-assign]
        self.resume_writing = protocol.resume_writing  # type: ignore[method-assign]
        self._get_buffer = cast(Callable[[int], memoryview], protocol.get_buffer)
        self._buffer_updated = protocol.buffer_updated
        self.received = 0
        """Bytes."""
        self.room = LARGEST_READ
        """Bytes."""

    def suit(self, messages: int) -> None:
        """A read has brought so many."""
        if messages > TURN_MESSAGES:
            self.room = max(SMALLEST_READ, self.room * TURN_MESSAGES // messages)
        elif messages < TURN_MESSAGES // 2:
            self.room = min(LARGEST_READ, self.room * 2)

    def get_buffer(self, sizehint: int) -> memoryview:
        return self._get_buffer(sizehint)[: self.room]

    def buffer_updated(self, nbytes: int) -> None:
        self.received += nbytes
        self._buffer_updated(nbytes)

    def give_back(self) -> None:
        """Keep no memory for the part of the buffer that nothing is in."""
        empty(self._get_buffer(-1))
