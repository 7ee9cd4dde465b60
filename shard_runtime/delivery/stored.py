"""How groups of events and what is known of a session are written on disk.

A group's body has a checksum: SQLite notices a broken page of its own, but not a payload with one bit turned. Its
summary says what a start must know to count right without reading the bodies of a whole backlog, and what is lost when
a body cannot be read.
"""

from __future__ import annotations

import sys
import zlib
from collections.abc import Callable, Sequence
from typing import Final

import msgspec

from shard_runtime.delivery.events import Event, Group, Session, size_of

RUNS_KEPT: Final = 500
"""Runs above a session's watermark that are written; what is not is delivered again after a restart."""


UNPACKING_FAILED: Final = (msgspec.DecodeError, UnicodeDecodeError)
"""What msgspec raises: text that is no UTF-8 is no ``DecodeError`` to it."""


class UnreadableGroupError(Exception):
    """A group's body is not what was written."""


class Summary(msgspec.Struct, array_like=True):
    """Of all events of a group, also those that are finished."""

    sessions: dict[str, tuple[int, int]]
    """Shard, and how many events, by session."""
    guilds: dict[int, int]
    names: dict[str, int]
    size: int
    """As the bounds count it."""
    oldest: int
    """When the first event was accepted, unix milliseconds."""

    @property
    def count(self) -> int:
        return sum(count for _, count in self.sessions.values())


class _Event(msgspec.Struct, array_like=True, gc=False):
    session: int
    sequence: int
    name: str
    payload: bytes
    guild: int
    accepted: int
    maybe_duplicate: bool


class _Body(msgspec.Struct, array_like=True):
    sessions: list[str]
    events: list[_Event]


class StoredSession(msgspec.Struct, array_like=True):
    """The note of a session: the disk's part of its watermark."""

    shard: int
    watermark: list[int]
    """See :meth:`~shard_runtime.delivery.watermark.Watermark.export`."""


class StoredLanes(msgspec.Struct, array_like=True):
    """The note of a set of lanes: events are spread over them in the way that these say."""

    lanes: int
    ordering: str


_encode: Final = msgspec.msgpack.Encoder().encode
_decode_body: Final = msgspec.msgpack.Decoder(_Body).decode
_decode_summary: Final = msgspec.msgpack.Decoder(Summary).decode
_decode_session: Final = msgspec.msgpack.Decoder(StoredSession).decode
_decode_lanes: Final = msgspec.msgpack.Decoder(StoredLanes).decode


def summarise(events: Sequence[Event], unix: Callable[[float], int]) -> Summary:
    """Summary of *events*; *unix* turns a moment on the monotonic clock into unix milliseconds."""
    sessions: dict[str, tuple[int, int]] = {}
    guilds: dict[int, int] = {}
    names: dict[str, int] = {}
    size = 0
    for event in events:
        session = event.session
        sessions[session.id] = (session.shard, sessions.get(session.id, (0, 0))[1] + 1)
        guilds[event.guild] = guilds.get(event.guild, 0) + 1
        names[event.name] = names.get(event.name, 0) + 1
        size += size_of(event)
    return Summary(sessions, guilds, names, size, unix(events[0].accepted_at))


def encode_summary(summary: Summary) -> bytes:
    return _encode(summary)


def encode_body(events: Sequence[Event], unix: Callable[[float], int]) -> bytes:
    ids: dict[str, int] = {}
    stored = [
        _Event(
            ids.setdefault(event.session.id, len(ids)),
            event.sequence,
            event.name,
            event.payload,
            event.guild,
            unix(event.accepted_at),
            event.maybe_duplicate,
        )
        for event in events
    ]
    data = _encode(_Body(list(ids), stored))
    return zlib.crc32(data).to_bytes(4, "big") + data


def decode_summary(data: bytes) -> Summary:
    """Raises :class:`UnreadableGroupError`."""
    try:
        return _decode_summary(data)
    except UNPACKING_FAILED as error:
        raise UnreadableGroupError(str(error)) from error


def decode_body(
    data: bytes, group: Group, session: Callable[[str], Session], monotonic: Callable[[int], float]
) -> list[Event]:
    """The events of *group* that are not finished. Raises :class:`UnreadableGroupError`."""
    body = data[4:]
    if zlib.crc32(body) != int.from_bytes(data[:4], "big"):
        raise UnreadableGroupError("its checksum is wrong")
    try:
        stored = _decode_body(body)
    except UNPACKING_FAILED as error:
        raise UnreadableGroupError(str(error)) from error
    sessions = [session(session_id) for session_id in stored.sessions]
    return [
        Event(
            sessions[event.session],
            event.sequence,
            sys.intern(event.name),
            event.payload,
            event.guild,
            monotonic(event.accepted),
            event.maybe_duplicate,
            group,
        )
        for event in stored.events[group.done :]
    ]


def encode_session(session: StoredSession) -> bytes:
    return _encode(session)


def decode_session(data: bytes) -> StoredSession:
    """Raises :class:`UnreadableGroupError`."""
    try:
        return _decode_session(data)
    except UNPACKING_FAILED as error:
        raise UnreadableGroupError(str(error)) from error


def encode_lanes(lanes: StoredLanes) -> bytes:
    return _encode(lanes)


def decode_lanes(data: bytes) -> StoredLanes:
    """Raises :class:`UnreadableGroupError`."""
    try:
        return _decode_lanes(data)
    except UNPACKING_FAILED as error:
        raise UnreadableGroupError(str(error)) from error
