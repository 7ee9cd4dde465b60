"""Undo the compression of a connection: one context per connection, as Discord has it.

`zstd-stream` is one frame that never ends and carries no size, with exactly one payload in each websocket message.
`zlib-stream` is one deflate stream that never ends; a payload may come in several messages and is complete where the
bytes end in ``00 00 ff ff``. `payload` has no shared context: some payloads come as binary messages, each a zlib blob
of its own, the others as text. https://discord.com/developers/docs/events/gateway#encoding-and-compression

However small a message is, what it inflates to is bounded before it is there.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, cast

import zstandard
from zlib_ng import zlib_ng

from shard_runtime.protocol.envelope import UnreadableError

NONE: Final = "none"
PAYLOAD: Final = "payload"
ZLIB_STREAM: Final = "zlib-stream"
ZSTD_STREAM: Final = "zstd-stream"
COMPRESSIONS: Final = (NONE, PAYLOAD, ZLIB_STREAM, ZSTD_STREAM)

LONGEST_INFLATED: Final = 64 << 20
"""Bytes of one payload. A READY or a GUILD_CREATE has some megabytes."""

ZLIB_SUFFIX: Final = b"\x00\x00\xff\xff"
"""How a sync flush ends."""

TEXT_BEGINS: Final = b"{"
"""How a payload as text begins, and no zlib blob does: the low half of a blob's first byte is 8."""

ZSTD_SLICE: Final = LONGEST_INFLATED >> 15
"""Bytes inflated in one go: a zstd block makes at most 128 KiB of 4 bytes, so these do not exceed the bound."""

ZSTD_ROOM: Final = 64 << 10
"""Bytes of the buffer that the library takes for each message and gives back. Its own 128 KiB are so many that the C
library fetches them from the system again and again, which costs a tenth of a message."""

ZLIB_SLICE: Final = LONGEST_INFLATED // 1032
"""Likewise: deflate makes at most 1032 bytes of one."""

_ZlibError: Final = cast(type[Exception], zlib_ng.error)  # its stub calls the class an instance

Inflate = Callable[[bytes], bytes | None]
"""Takes a websocket message; gives the payload, or None where more of it is to come.

Raises :class:`InflateError`, after which the context is of no use, or
:class:`~shard_runtime.protocol.envelope.UnreadableError` where only this message is lost.
"""


class InflateError(Exception):
    """The compressed stream is broken: the connection has to be replaced."""


def query_value(compression: str) -> str | None:
    """The value of the gateway URL's ``compress``; None where there is none."""
    return compression if compression in (ZLIB_STREAM, ZSTD_STREAM) else None


def check(compression: str) -> None:
    """Raise ``ValueError`` with a sentence for a compression that Discord does not have."""
    if compression not in COMPRESSIONS:
        raise ValueError(f'spec.compression: "{compression}" is not one of {", ".join(COMPRESSIONS)}')


def new_inflate(compression: str) -> Inflate | None:
    """A fresh context for one connection; None where messages are not compressed. Raises ``ValueError`` as `check`."""
    check(compression)
    if compression == ZSTD_STREAM:
        return _zstd_stream()
    if compression == ZLIB_STREAM:
        return _ZlibStream().inflate
    return _blob if compression == PAYLOAD else None


def _zstd_stream() -> Inflate:
    decompress = zstandard.ZstdDecompressor().decompressobj(write_size=ZSTD_ROOM).decompress

    def inflate(message: bytes) -> bytes:
        try:
            return decompress(message) if len(message) <= ZSTD_SLICE else in_slices(message)
        except zstandard.ZstdError as error:
            raise InflateError(f"zstd-stream: {error}") from None

    def in_slices(message: bytes) -> bytes:
        inflated: list[bytes] = []
        size = 0
        for start in range(0, len(message), ZSTD_SLICE):
            inflated.append(decompress(message[start : start + ZSTD_SLICE]))
            size += len(inflated[-1])
            if size > LONGEST_INFLATED:
                raise InflateError(f"zstd-stream: a payload of more than {LONGEST_INFLATED} bytes")
        return b"".join(inflated)

    return inflate


class _ZlibStream:
    __slots__ = ("_decompress", "_parts", "_size", "_stream", "_tail")

    def __init__(self) -> None:
        self._stream = zlib_ng.decompressobj()
        self._decompress = self._stream.decompress
        self._parts: list[bytes] = []
        """Of a message whose end has not come, as they came: it takes no more room than it took on the wire."""
        self._size = 0
        self._tail = b""

    def inflate(self, message: bytes) -> bytes | None:
        if self._parts or not message.endswith(ZLIB_SUFFIX):
            whole = self._add(message)
            if whole is None:
                return None
            message = whole
        try:
            inflated = self._decompress(message) if len(message) <= ZLIB_SLICE else self._bounded(message)
        except _ZlibError as error:
            raise InflateError(f"zlib-stream: {error}") from None
        if not inflated and self._stream.eof:
            raise InflateError("zlib-stream: the stream has ended")
        return inflated or None

    def _bounded(self, message: bytes) -> bytes:
        inflated = self._decompress(message, LONGEST_INFLATED)
        if len(inflated) == LONGEST_INFLATED:
            raise InflateError(f"zlib-stream: a payload of {LONGEST_INFLATED} bytes or more")
        return inflated

    def _add(self, part: bytes) -> bytes | None:
        """The whole message, once *part* completes it."""
        self._parts.append(part)
        self._size += len(part)
        self._tail = (self._tail + part[-4:])[-4:]
        if self._size > LONGEST_INFLATED:
            raise InflateError(f"zlib-stream: more than {LONGEST_INFLATED} bytes without an end")
        if self._tail != ZLIB_SUFFIX:
            return None
        whole = b"".join(self._parts)
        self._parts.clear()
        self._size, self._tail = 0, b""
        return whole


def _blob(message: bytes) -> bytes:
    if message.startswith(TEXT_BEGINS):
        return message
    blob = zlib_ng.decompressobj()
    try:
        inflated = blob.decompress(message, LONGEST_INFLATED)
    except _ZlibError as error:
        raise UnreadableError(f"payload compression: {error}") from None
    if not blob.eof:
        raise UnreadableError(f"payload compression: a blob that does not end within {LONGEST_INFLATED} bytes")
    return inflated
