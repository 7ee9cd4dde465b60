"""By what the two generations know an event, since Discord gives it no id.

Two classes of key, and the whole handover follows from the difference:

- *Unique*: an id in the body means that the event happens once. The key is hash(name, id), so the bodies of the two
  copies need not be byte-identical, and "the old side has this key" is proof.
- *Repeatable*: everything else. WEBHOOKS_UPDATE has a constant body, a reaction is added, removed and added again.
  The key is hash(name, body with sorted keys); two different events may have the same, so having the key is evidence of
  time and place, never proof.
"""

from __future__ import annotations

import hashlib
import json
from typing import Any, Final, NamedTuple

import msgspec

from shard_runtime.contract import shard_of_guild
from shard_runtime.protocol.envelope import guild_of

stream_of: Final = guild_of
"""The stream that an event's body names: its guild, 0 for traffic without one."""


def routed_stream(guild: int, *, shard: int, count: int) -> int:
    """The stream of an event that came on *shard* of *count*: *guild* if Discord routes it there, else 0.

    An interaction from a guild without the bot (an app that a user installed) names a guild of another shard. Both
    generations must count it to the same stream, and the asker of a guild asks by its own shards.
    """
    return guild if shard_of_guild(guild, count) == shard else 0


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

_decode_ids: Final = msgspec.json.Decoder(_Payload).decode
_decode_body: Final = msgspec.json.Decoder(_Body).decode
_encode_sorted: Final = msgspec.json.Encoder(order="sorted").encode


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
    except (msgspec.DecodeError, RecursionError):
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
    except (msgspec.MsgspecError, RecursionError, UnicodeEncodeError):
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
