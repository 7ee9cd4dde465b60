"""The guilds that the bot is in, and the JSON of their states.

A guild's state is derived from its id, so two sessions that load it see the same bytes, as two sessions at Discord do.
"""

from __future__ import annotations

from dataclasses import dataclass
from random import Random
from typing import Final

import msgspec

from discord_simulator.snowflakes import guild_id

_CHANNEL_BYTES: Final = 240


@dataclass(slots=True)
class Guild:
    id: int
    members: int
    available: bool = True

    @property
    def channel(self) -> int:
        """The channel where everything happens."""
        return self.id + 1


class GuildRoster:
    """Which guilds there are, in the order in which the bot joined them."""

    def __init__(self, *, random: Random, members: int) -> None:
        self._random = random
        self._members = members
        self._guilds: dict[int, Guild] = {}
        self.version = 0
        """Raised by every join and leave, so that what is derived from the roster knows when it is out of date."""

    def __len__(self) -> int:
        return len(self._guilds)

    def all(self) -> list[Guild]:
        return list(self._guilds.values())

    def get(self, guild: int) -> Guild | None:
        return self._guilds.get(guild)

    def of_shard(self, shard: int, count: int) -> list[Guild]:
        """The guilds that a session ``[shard, count]`` sees."""
        return [guild for guild in self._guilds.values() if (guild.id >> 22) % count == shard]

    def join(self) -> Guild:
        while (new := guild_id(self._random)) in self._guilds:
            pass
        self.version += 1
        self._guilds[new] = Guild(id=new, members=self._members)
        return self._guilds[new]

    def set_available(self, guild: Guild, available: bool) -> None:
        guild.available = available
        self.version += 1

    def leave(self, guild: int) -> None:
        """Raises ``KeyError`` if the bot is not in *guild*."""
        del self._guilds[guild]
        self.version += 1


def user_body(user: int, *, bot: bool = False) -> dict[str, object]:
    return {
        "username": f"user{user % 100_000}",
        "public_flags": 0,
        "primary_guild": None,
        "id": str(user),
        "global_name": f"User {user % 100_000}",
        "discriminator": "0",
        "display_name_styles": None,
        "collectibles": None,
        "clan": None,
        "bot": bot,
        "avatar_decoration_data": None,
        "avatar": f"{user:032x}"[-32:],
    }


def member_body(guild: Guild, index: int) -> dict[str, object]:
    """The *index*-th member, as in GUILD_CREATE and GUILD_MEMBERS_CHUNK."""
    return {
        "user": user_body(guild.id + 1000 + index),
        "roles": [str(guild.id + 500)],
        "premium_since": None,
        "pending": False,
        "nick": None,
        "mute": False,
        "joined_at": "2023-04-05T06:07:08.901000+00:00",
        "flags": 0,
        "deaf": False,
        "communication_disabled_until": None,
        "banner": None,
        "avatar": None,
    }


def _channel_body(guild: Guild, index: int) -> dict[str, object]:
    return {
        "version": 1700000000000,
        "type": 0,
        "topic": f"Channel {index} of {guild.id}",
        "rate_limit_per_user": 0,
        "position": index,
        "permission_overwrites": [],
        "parent_id": None,
        "nsfw": False,
        "name": f"channel-{index}",
        "last_message_id": None,
        "id": str(guild.id + 1 + index),
        "flags": 0,
    }


def guild_create_body(guild: Guild, *, size: int, unavailable: bool | None) -> bytes:
    """``d`` of a GUILD_CREATE of roughly *size* bytes.

    *unavailable* is False in a start-up snapshot and after an outage, None (the key is absent) in a genuine join.
    """
    body: dict[str, object] = {
        "id": str(guild.id),
        "name": f"Guild {guild.id}",
        "owner_id": str(guild.id + 1000),
        "icon": None,
        "region": "deprecated",
        "afk_timeout": 300,
        "verification_level": 1,
        "default_message_notifications": 0,
        "explicit_content_filter": 0,
        "mfa_level": 0,
        "nsfw_level": 0,
        "premium_tier": 0,
        "preferred_locale": "en-US",
        "system_channel_id": str(guild.channel),
        "system_channel_flags": 0,
        "features": [],
        "emojis": [],
        "stickers": [],
        "roles": [{"id": str(guild.id), "name": "@everyone", "permissions": "2248473465835073", "position": 0}],
        "joined_at": "2024-01-02T03:04:05.678000+00:00",
        "large": guild.members > 50,
        "member_count": guild.members,
        "members": [member_body(guild, 0)],
        "channels": [_channel_body(guild, index) for index in range(max(1, (size - 1200) // _CHANNEL_BYTES))],
        "threads": [],
        "presences": [],
        "voice_states": [],
        "stage_instances": [],
        "guild_scheduled_events": [],
        "soundboard_sounds": [],
    }
    if unavailable is not None:
        body["unavailable"] = unavailable
    return msgspec.json.encode(body)


def guild_delete_body(guild: Guild, *, outage: bool) -> bytes:
    """``d`` of a GUILD_DELETE: with ``unavailable`` in an outage, without it when the bot left or was removed."""
    if outage:
        return b'{"unavailable":true,"id":"%d"}' % guild.id
    return b'{"id":"%d"}' % guild.id
