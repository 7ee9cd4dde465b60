"""How much a connection reads at once.

picows doubles its read buffer whenever a read fills nine tenths of it, and keeps it; at full speed a read fills
whatever is offered, up to all that the kernel holds. Sixteen busy connections came to 160 MB that way. So a read is
offered less than that, and only a message that is larger than the buffer makes it grow.

Small reads cost a little more, and are worth it: what a worker reads in one turn of its loop, over all connections, is
about what it can deliver in one, and is still in the processor's caches then.
"""

from __future__ import annotations

import asyncio
from typing import Final

BUFFER_BYTES: Final = 16 << 10
"""Of a new connection."""

READ_BYTES: Final = BUFFER_BYTES * 3 // 4
"""Leaves room for the beginning of a message that did not come whole."""


class BoundedReads(asyncio.BufferedProtocol):
    """Stands before a protocol and passes everything on, offering :data:`READ_BYTES` of its buffer at most."""

    def __init__(self, protocol: asyncio.BufferedProtocol) -> None:
        # Bound once: everything but the buffer goes straight through.
        self.buffer_updated = protocol.buffer_updated  # type: ignore[method-assign]
        self.eof_received = protocol.eof_received  # type: ignore[method-assign]
        self.connection_lost = protocol.connection_lost  # type: ignore[method-assign]
        self.pause_writing = protocol.pause_writing  # type: ignore[method-assign]
        self.resume_writing = protocol.resume_writing  # type: ignore[method-assign]
        self._get_buffer = protocol.get_buffer

    def get_buffer(self, sizehint: int) -> memoryview:
        buffer = self._get_buffer(sizehint)
        assert isinstance(buffer, memoryview)
        return buffer[:READ_BYTES]
