"""What a bot may have sent on its sessions: which commands there are, what each must hold, and which shard takes it.

Discord answers a malformed payload by closing the connection (4001, 4002), which interrupts the events of thousands of
guilds, so what it would not understand is refused here, with a sentence. What it documents is checked and nothing else.

https://discord.com/developers/docs/events/gateway-events#send-events
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import msgspec

from shard_runtime.contract import shard_of_guild
from shard_runtime.protocol.envelope import snowflake
from shard_runtime.protocol.opcodes import Opcode
from shard_runtime.protocol.payloads import LONGEST_SENT
from shard_runtime.protocol.send_budget import Command

MOST_USERS: Final = 100
"""Of one op 8."""
LONGEST_NONCE: Final = 32
"""Bytes; Discord drops a longer one without a word."""
STATUSES: Final = ("online", "dnd", "idle", "invisible", "offline")


class CommandError(ValueError):
    """The command cannot be sent as it is; the text is one sentence for the bot's author."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """A command for one shard."""

    shard: int
    command: Command


Body = Mapping[str, Any]


def split(*, op: int, d: object, shard: int | None, count: int) -> list[Part]:
    """The command for each shard that it concerns, of *count* shards, by shard.

    The guild decides which; *shard* counts only for a command without one. Raises :class:`CommandError`.
    """
    check = _CHECKS.get(op)
    if check is None:
        known = ", ".join(str(int(code)) for code in _CHECKS)
        raise CommandError(f"op is {_shown(op)}; write one of {known}.")
    if not isinstance(d, dict):
        raise CommandError(f"d is {_shown(d)}; write an object.")
    guilds = check(d)
    opcode = Opcode(op)
    if guilds is None:
        if shard is None:
            raise CommandError(f'op {op} names no guild: add "shard", a number from 0 to {count - 1}.')
        if not 0 <= shard < count:
            raise CommandError(f"shard is {shard}; the generation has the shards 0 to {count - 1}.")
        return [Part(shard=shard, command=_command(opcode, d))]
    if opcode is not Opcode.REQUEST_SOUNDBOARD_SOUNDS:
        (guild,) = guilds
        everyone = guild if _asks_for_all_members(opcode, d) else None
        return [Part(shard=shard_of_guild(guild, count), command=_command(opcode, d, all_members_of=everyone))]
    by_shard: dict[int, list[str]] = {}
    for guild in guilds:
        by_shard.setdefault(shard_of_guild(guild, count), []).append(str(guild))
    return [
        Part(shard=owner, command=_command(opcode, {**d, "guild_ids": ids})) for owner, ids in sorted(by_shard.items())
    ]


def _command(opcode: Opcode, d: Body, *, all_members_of: int | None = None) -> Command:
    payload = msgspec.json.encode({"op": int(opcode), "d": d})
    if len(payload) > LONGEST_SENT:
        raise CommandError(f"The payload has {len(payload)} bytes; Discord takes at most {LONGEST_SENT}.")
    return Command(op=int(opcode), payload=payload, all_members_of=all_members_of)


# --- What each opcode must hold; a check gives the guilds, None where the opcode has none ---------------------------


def _presence(d: Body) -> None:
    status = d.get("status")
    if status not in STATUSES:
        raise CommandError(f"d.status is {_shown(status)}; write one of {', '.join(STATUSES)}.")
    activities = d.get("activities", [])
    if not isinstance(activities, list) or not all(isinstance(activity, dict) for activity in activities):
        raise CommandError("d.activities must be a list of objects.")
    _optional(d, "afk", bool, "true or false")
    since = d.get("since")
    if since is not None and (isinstance(since, bool) or not isinstance(since, int)):
        raise CommandError(f"d.since is {_shown(since)}; write unix milliseconds or null.")


def _voice_state(d: Body) -> list[int]:
    guild = _guild(d)
    if "channel_id" not in d:
        raise CommandError("d.channel_id is missing; write a channel's id, or null to leave.")
    if d["channel_id"] is not None and not snowflake(d["channel_id"]):
        raise CommandError(f"d.channel_id is {_shown(d['channel_id'])}; write a channel's id, or null to leave.")
    _optional(d, "self_mute", bool, "true or false")
    _optional(d, "self_deaf", bool, "true or false")
    return [guild]


def _members(d: Body) -> list[int]:
    guild = _guild(d)
    if d.get("user_ids") is not None:
        users = d["user_ids"] if isinstance(d["user_ids"], list) else [d["user_ids"]]
        if not all(map(snowflake, users)):
            raise CommandError("d.user_ids must be a user's id or a list of them.")
        if len(users) > MOST_USERS:
            raise CommandError(f"d.user_ids names {len(users)} users; Discord takes at most {MOST_USERS} at once.")
    else:
        if not isinstance(d.get("query"), str):
            raise CommandError('d needs "query" (with "limit") or "user_ids".')
        limit = d.get("limit")
        if isinstance(limit, bool) or not isinstance(limit, int) or limit < 0:
            raise CommandError(f"d.limit is {_shown(limit)}; write a number, 0 for all members.")
    _optional(d, "presences", bool, "true or false")
    _optional(d, "nonce", str, "text")
    if len((d.get("nonce") or "").encode()) > LONGEST_NONCE:
        raise CommandError(f"d.nonce is longer than {LONGEST_NONCE} bytes; Discord would drop it.")
    return [guild]


def _sounds(d: Body) -> list[int]:
    ids = d.get("guild_ids")
    if not isinstance(ids, list) or not ids or not all(map(snowflake, ids)):
        raise CommandError("d.guild_ids must be a list of guilds' ids.")
    return list(dict.fromkeys(map(snowflake, ids)))


def _channel_info(d: Body) -> list[int]:
    guild = _guild(d)
    fields = d.get("fields")
    if not isinstance(fields, list) or not fields or not all(isinstance(name, str) for name in fields):
        raise CommandError('d.fields must be a list of names, such as ["status", "voice_start_time"].')
    return [guild]


_CHECKS: Final[Mapping[int, Callable[[Body], list[int] | None]]] = {
    Opcode.PRESENCE_UPDATE: _presence,
    Opcode.VOICE_STATE_UPDATE: _voice_state,
    Opcode.REQUEST_GUILD_MEMBERS: _members,
    Opcode.REQUEST_SOUNDBOARD_SOUNDS: _sounds,
    Opcode.REQUEST_CHANNEL_INFO: _channel_info,
}


def _asks_for_all_members(opcode: Opcode, d: Body) -> bool:
    is_query = opcode is Opcode.REQUEST_GUILD_MEMBERS and d.get("user_ids") is None
    return is_query and d.get("query") == "" and d.get("limit") == 0


def _guild(d: Body) -> int:
    guild = snowflake(d.get("guild_id"))
    if not guild:
        raise CommandError(f"d.guild_id is {_shown(d.get('guild_id'))}; write a guild's id.")
    return guild


def _optional(d: Body, name: str, kind: type, wanted: str) -> None:
    if d.get(name) is not None and not isinstance(d[name], kind):
        raise CommandError(f"d.{name} is {_shown(d[name])}; write {wanted}.")


def _shown(value: object) -> str:
    """A value as its author wrote it, if it is short."""
    if value is None:
        return "missing"
    if isinstance(value, dict):
        return "an object"
    if isinstance(value, list):
        return "a list"
    text = msgspec.json.encode(value).decode()
    return text if len(text) <= 40 else "too long"
