"""Undo the compression of a connection: one context per connection, as Discord has it.

`zstd-stream` is one frame that never ends and carries no size, with exactly one payload in each websocket message.
`zlib-stream` is one deflate stream that never ends; a payload may come in several messages and is complete where the
bytes end in ``00 00 ff ff``. `payload` has no shared context: some payloads come as binary messages, each a zlib blob
of its own, the others as text. https://discord.com/developers/docs/events/gateway#encoding-and-compression

However small a message is, what it inflates to is bounded before it is there.
"""

from __future__ import annotations

from collections.abc import Sequence
from operator import methodcaller
from typing import Final, Protocol, cast

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

ZLIB_HEADER: Final = 2
"""Bytes. What follows is read without it: the checksum that it stands for comes at the end of a stream that has none,
and to keep it up costs a fortieth of a message."""

_ZlibError: Final = cast(type[Exception], zlib_ng.error)  # its stub calls the class an instance

_ends_like_a_flush: Final = methodcaller("endswith", ZLIB_SUFFIX)


class Inflate(Protocol):
    """The context of one connection."""

    def one(self, message: bytes) -> bytes | None:
        """The payload that *message* completes, or None where more of it is to come.

        Raises :class:`InflateError`, after which the context is of no use, or
        :class:`~shard_runtime.protocol.envelope.UnreadableError` where only this message is lost.
        """

    def several(self, messages: Sequence[bytes]) -> Sequence[bytes] | None:
        """The payloads of *messages*, one of each, at less than the cost of a call for each; None where they have to be
        taken one by one, and nothing is done yet. Raises :class:`InflateError`."""


class InflateError(Exception):
    """The compressed stream is broken: the connection has to be replaced."""

    def __init__(self, text: str, *, before: Sequence[bytes] = ()) -> None:
        super().__init__(text)
        self.before = before
        """Payloads of the same call that came before what is broken."""


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
        return _ZstdStream()
    if compression == ZLIB_STREAM:
        return _ZlibStream()
    return _Blobs() if compression == PAYLOAD else None


class _ZstdStream:
    __slots__ = ("_decompress",)

    def __init__(self) -> None:
        self._decompress = zstandard.ZstdDecompressor().decompressobj(write_size=ZSTD_ROOM).decompress

    def one(self, message: bytes) -> bytes:
        try:
            return self._decompress(message) if len(message) <= ZSTD_SLICE else self._in_slices(message)
        except zstandard.ZstdError as error:
            raise InflateError(f"zstd-stream: {error}") from None

    def several(self, messages: Sequence[bytes]) -> Sequence[bytes] | None:
        if max(map(len, messages)) > ZSTD_SLICE:
            return None
        inflated: list[bytes] = []
        try:
            inflated.extend(map(self._decompress, messages))
        except zstandard.ZstdError as error:
            raise InflateError(f"zstd-stream: {error}", before=inflated) from None
        return inflated

    def _in_slices(self, message: bytes) -> bytes:
        inflated: list[bytes] = []
        size = 0
        for start in range(0, len(message), ZSTD_SLICE):
            inflated.append(self._decompress(message[start : start + ZSTD_SLICE]))
            size += len(inflated[-1])
            if size > LONGEST_INFLATED:
                raise InflateError(f"zstd-stream: a payload of more than {LONGEST_INFLATED} bytes")
        return b"".join(inflated)


class _ZlibStream:
    __slots__ = ("_begun", "_decompress", "_parts", "_size", "_stream", "_tail")

    def __init__(self) -> None:
        self._begun = False
        self._stream = zlib_ng.decompressobj(-zlib_ng.MAX_WBITS)
        self._decompress = self._stream.decompress
        self._parts: list[bytes] = []
        """Of a message whose end has not come, as they came: it takes no more room than it took on the wire."""
        self._size = 0
        self._tail = b""

    def one(self, message: bytes) -> bytes | None:
        if self._parts or not message.endswith(ZLIB_SUFFIX):
            whole = self._add(message)
            if whole is None:
                return None
            message = whole
        if not self._begun:
            message = self._without_header(message)
        try:
            inflated = self._decompress(message) if len(message) <= ZLIB_SLICE else self._bounded(message)
        except _ZlibError as error:
            raise InflateError(f"zlib-stream: {error}") from None
        if not inflated and self._stream.eof:
            raise InflateError("zlib-stream: the stream has ended")
        return inflated or None

    def several(self, messages: Sequence[bytes]) -> Sequence[bytes] | None:
        if self._parts or not self._begun or sum(map(len, messages)) > ZLIB_SLICE:
            return None
        if not all(map(_ends_like_a_flush, messages)):
            return None
        inflated: list[bytes] = []
        try:
            inflated.extend(map(self._decompress, messages))
        except _ZlibError as error:
            raise InflateError(f"zlib-stream: {error}", before=_some(inflated)) from None
        if all(inflated):
            return inflated
        if self._stream.eof:
            raise InflateError("zlib-stream: the stream has ended", before=_some(inflated))
        return _some(inflated)

    def _without_header(self, message: bytes) -> bytes:
        """RFC 1950, 2.2: deflate, a window that the level names, no dictionary, and a check of these two bytes."""
        header = int.from_bytes(message[:ZLIB_HEADER], "big")
        if header >> 8 & 0x0F != 8 or header >> 12 > 7 or header & 0x20 or header % 31:
            raise InflateError("zlib-stream: no zlib stream begins so")
        self._begun = True
        return message[ZLIB_HEADER:]

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


def _some(payloads: list[bytes]) -> list[bytes]:
    """Without those of a flush that had nothing to flush."""
    return [payload for payload in payloads if payload]


class _Blobs:
    __slots__ = ()

    def one(self, message: bytes) -> bytes:
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

    def several(self, messages: Sequence[bytes]) -> None:
        """One that is broken costs itself only, so each is looked at by itself."""
