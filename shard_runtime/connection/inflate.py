"""Undo the compression of a connection: one context per connection, as Discord has it.

`zstd-stream` is one frame that never ends and carries no size, with exactly one payload in each websocket message.
https://discord.com/developers/docs/events/gateway#encoding-and-compression
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import zstandard

NONE: Final = "none"
ZSTD_STREAM: Final = "zstd-stream"
SUPPORTED: Final = (NONE, ZSTD_STREAM)

Inflate = Callable[[bytes], bytes]
"""Gives the payload of one websocket message. Raises :class:`InflateError`; after that the context is of no use."""


class InflateError(Exception):
    """The compressed stream is broken: the connection has to be replaced."""


def query_value(compression: str) -> str | None:
    """The value of the gateway URL's ``compress``; None where there is none."""
    return compression if compression == ZSTD_STREAM else None


def check(compression: str) -> None:
    """Raise ``ValueError`` with a sentence for a compression that does not work yet."""
    if compression not in SUPPORTED:
        raise ValueError(
            f'spec.compression: "{compression}" is not supported in this version; write one of {", ".join(SUPPORTED)}'
        )


def new_inflate(compression: str) -> Inflate | None:
    """A fresh context for one connection; None where messages are not compressed. Raises ``ValueError`` as `check`."""
    check(compression)
    if compression == NONE:
        return None
    stream = zstandard.ZstdDecompressor().decompressobj()
    decompress = stream.decompress

    def inflate(data: bytes) -> bytes:
        try:
            return decompress(data)
        except zstandard.ZstdError as error:
            raise InflateError(f"zstd-stream: {error}") from None

    return inflate
