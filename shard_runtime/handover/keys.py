"""By what the two generations know an event, since Discord gives it no id.

Two classes of key, and the whole handover follows from the difference:

- *Unique*: an id in the body means that the event happens once. The key is hash(name, id), so the bodies of the two
  copies need not be byte-identical, and "the old side has this key" is proof.
- *Repeatable*: everything else. WEBHOOKS_UPDATE has a constant body, a reaction is added, removed and added again.
  The key is hash(name, body with sorted keys); two different events may have the same, so having the key is evidence of
  time and place, never proof.

And where an event belongs: each guild is a stream of its own, and so is each channel (or user) of the traffic without a
guild, since Discord promises no order between them. Some events have no place in a stream at all (docs/protocol.md,
"Two sessions, same guild"): answers to a session's own requests, which the other generation never gets, and state of
which only the latest counts and of which the two sessions may get different numbers of copies.
"""

from __future__ import annotations

import base64
import hashlib
import json
from typing import Any, Final, NamedTuple

import msgspec

from shard_runtime.contract import shard_of_guild
from shard_runtime.protocol.envelope import guild_of, snowflake

stream_of: Final = guild_of
"""The stream that an event's body names: its guild, 0 for traffic without one."""


def routed_stream(guild: int, *, shard: int, count: int) -> int:
    """The stream of an event that came on *shard* of *count*: *guild* if Discord routes it there, else 0.

    An interaction from a guild without the bot (an app that a user installed) names a guild of another shard. Both
    generations must count it to the same stream, and the asker of a guild asks by its own shards.
    """
    return guild if shard_of_guild(guild, count) == shard else 0


class Place(NamedTuple):
    """The stream that an event belongs to."""

    guild: int
    """Where Discord routes it by; 0 for traffic without a guild."""
    channel: int = 0
    """The channel, else the user, of traffic without a guild; 0 where there is a guild."""


class EventKey(NamedTuple):
    hash: int
    """64 bits, the same in every process."""
    unique: bool


class _Role(msgspec.Struct, gc=False):
    id: str | int | None = None


class _Ids(msgspec.Struct, gc=False):
    id: str | int | None = None
    role_id: str | int | None = None
    role: _Role | None = None


class _Payload(msgspec.Struct, gc=False):
    d: _Ids


class _User(msgspec.Struct, gc=False):
    id: Any = None


class _Where(msgspec.Struct, gc=False):
    channel_id: Any = None
    user_id: Any = None
    user: _User | None = None
    id: Any = None


class _Located(msgspec.Struct, gc=False):
    d: _Where | None = None


class _Body(msgspec.Struct):
    d: Any = None


UNIQUE: Final = frozenset(
    {
        "MESSAGE_CREATE",
        "MESSAGE_DELETE",
        "INTERACTION_CREATE",
        "GUILD_AUDIT_LOG_ENTRY_CREATE",
        "CHANNEL_CREATE",
        "CHANNEL_DELETE",
        "GUILD_ROLE_CREATE",
        "GUILD_ROLE_DELETE",
        "ENTITLEMENT_CREATE",
    }
)
"""Names of events that happen once for an id: ``d.role.id`` and ``d.role_id`` for roles, ``d.id`` otherwise."""

REPLIES: Final = frozenset({"GUILD_MEMBERS_CHUNK", "SOUNDBOARD_SOUNDS", "CHANNEL_INFO", "RATE_LIMITED"})
"""Answers to a session's own requests: the other generation's sessions never get a copy."""

SESSION_OWN: Final = frozenset({"READY", "RESUMED"})

VOICE_SERVER: Final = 1
"""Subject of VOICE_SERVER_UPDATE; other subjects are ids of users, which are larger."""

_decode_ids: Final = msgspec.json.Decoder(_Payload).decode
_decode_where: Final = msgspec.json.Decoder(_Located).decode
_decode_body: Final = msgspec.json.Decoder(_Body).decode
_encode_sorted: Final = msgspec.json.Encoder(order="sorted").encode


def place_of(name: str, payload: bytes, *, shard: int, count: int) -> Place:
    """The stream of dispatch *name* in *payload* that came on *shard* of *count*."""
    guild = routed_stream(guild_of(name, payload), shard=shard, count=count)
    if guild:
        return Place(guild)
    where = _where(payload)
    if where is None:
        return Place(0)
    user = where.user_id if where.user is None or where.user_id is not None else where.user.id
    return Place(0, snowflake(where.channel_id) or snowflake(user) or snowflake(where.id))


def latest_subject(name: str, payload: bytes, *, own_user: int | None) -> int | None:
    """Whose state an event is, if only the latest of it counts; None for an event with a place in its stream.

    PRESENCE_UPDATE is resent "to keep in sync"; the bot's own voice state and voice servers belong to the session that
    asked. *own_user*: the bot's user id, if known.
    """
    if name == "PRESENCE_UPDATE":
        where = _where(payload)
        return 0 if where is None or where.user is None else snowflake(where.user.id)
    if name == "VOICE_SERVER_UPDATE":
        return VOICE_SERVER
    if name == "VOICE_STATE_UPDATE" and own_user is not None:
        where = _where(payload)
        return own_user if where is not None and snowflake(where.user_id) == own_user else None
    return None


def own_user_of(token: str) -> int | None:
    """The bot's user id, which a bot token begins with (in base64); None for a token of another shape."""
    head = token.partition(".")[0]
    try:
        decoded = base64.b64decode(head + "=" * (-len(head) % 4), validate=True).decode("ascii")
    except ValueError:
        return None
    return snowflake(decoded) or None


def _where(payload: bytes) -> _Where | None:
    try:
        return _decode_where(payload).d
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        pass
    try:
        return msgspec.convert(json.loads(payload), _Located).d
    except (ValueError, RecursionError, msgspec.ValidationError):
        return None


def event_key(name: str, payload: bytes) -> EventKey:
    """The key of dispatch *name* in *payload*, the whole payload as Discord sent it.

    Never raises: what cannot be read is known by its bytes.
    """
    if name in UNIQUE:
        found = _own_id(name, payload)
        if found is not None:
            return EventKey(_hash64(name, str(found).encode()), True)
    return EventKey(_hash64(name, _canonical(payload)), False)


def _own_id(name: str, payload: bytes) -> str | int | None:
    try:
        ids = _decode_ids(payload).d
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        try:
            ids = msgspec.convert(json.loads(payload), _Payload).d
        except (ValueError, RecursionError, msgspec.ValidationError):
            return None
    if name == "GUILD_ROLE_CREATE":
        return ids.role.id if ids.role is not None else None
    return ids.role_id if name == "GUILD_ROLE_DELETE" else ids.id


def _canonical(payload: bytes) -> bytes:
    """``d`` with sorted keys; Discord promises no order of keys (docs/protocol.md)."""
    try:
        return _encode_sorted(_decode_body(payload).d)
    except (msgspec.MsgspecError, RecursionError, UnicodeError):
        pass  # a lone surrogate escape is valid JSON, but not for msgspec
    try:
        parsed = json.loads(payload)
        return json.dumps(parsed.get("d"), sort_keys=True, separators=(",", ":")).encode()
    except (ValueError, AttributeError, RecursionError):
        return payload


def _hash64(name: str, identity: bytes) -> int:
    digest = hashlib.blake2b(name.encode() + b"\0", digest_size=8)
    digest.update(identity)
    return int.from_bytes(digest.digest(), "big")
