"""How payloads become websocket messages: one encoder per connection, whose context lives as long as it does.

zstd-stream: one zstd frame that never ends and carries no content size, one message per payload. zlib-stream: one
deflate stream, each payload ended by a sync flush (``00 00 ff ff``) and sent in one message or several. Payload
compression (IDENTIFY's ``compress``): some payloads as zlib blobs of their own. Source: Discord, "Encoding and
Compression".
"""

from __future__ import annotations

import zlib
from itertools import pairwise
from random import Random
from typing import Final, Protocol, TypeAlias

import zstandard

_BLOB_FROM_BYTES: Final = 1024
_SYNC_FLUSH: Final = b"\x00\x00\xff\xff"


Message: TypeAlias = tuple[bytes, bool]
"""A websocket message's bytes, and whether it is a binary one."""


class Encoder(Protocol):
    def encode(self, payload: bytes) -> tuple[Message, ...]:
        """The messages that carry *payload*: one, but for a zlib-stream that is to be split."""
        ...


class PlainEncoder:
    def encode(self, payload: bytes) -> tuple[Message, ...]:
        return ((payload, False),)


class PayloadEncoder:
    """Large payloads as zlib blobs, small ones as text."""

    def encode(self, payload: bytes) -> tuple[Message, ...]:
        if len(payload) < _BLOB_FROM_BYTES:
            return ((payload, False),)
        return ((zlib.compress(payload), True),)


class ZlibStreamEncoder:
    def __init__(self, *, parts: int, random: Random) -> None:
        """Each payload comes in up to *parts* messages, cut wherever *random* says but within the sync flush.

        Discord's own example, and discord.py with it, looks for the flush at the end of a message, not of the stream.
        """
        self._stream = zlib.compressobj(6)
        self._parts = parts
        self._random = random

    def encode(self, payload: bytes) -> tuple[Message, ...]:
        data = self._stream.compress(payload) + self._stream.flush(zlib.Z_SYNC_FLUSH)
        if self._parts == 1:
            return ((data, True),)
        places = range(1, len(data) - len(_SYNC_FLUSH) + 1)
        cuts = self._random.sample(places, min(self._random.randrange(self._parts), len(places)))
        return tuple((data[start:end], True) for start, end in pairwise([0, *sorted(cuts), len(data)]))


class ZstdStreamEncoder:
    # A window of 128 KiB keeps a context under 1 MB, so that hundreds of connections fit into one process.
    _PARAMETERS: Final = zstandard.ZstdCompressionParameters.from_level(1, window_log=17)

    def __init__(self) -> None:
        self._stream = zstandard.ZstdCompressor(compression_params=self._PARAMETERS).compressobj()

    def encode(self, payload: bytes) -> tuple[Message, ...]:
        return ((self._stream.compress(payload) + self._stream.flush(zstandard.COMPRESSOBJ_FLUSH_BLOCK), True),)


def encoder(compress: str | None, *, zlib_parts: int = 1, random: Random | None = None) -> Encoder:
    """The encoder for the query's ``compress``. Raises ``ValueError`` for a value that Discord does not know."""
    if compress is None:
        return PlainEncoder()
    if compress == "zstd-stream":
        return ZstdStreamEncoder()
    if compress == "zlib-stream":
        return ZlibStreamEncoder(parts=zlib_parts, random=random or Random(0))
    raise ValueError(f'compress "{compress}" is not one of zlib-stream, zstd-stream')
