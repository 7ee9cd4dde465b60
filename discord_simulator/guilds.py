"""The guilds that the bot is in, and the JSON of their states.

A guild's state is derived from its id, so two sessions that load it see the same bytes, as two sessions at Discord do.
"""

from __future__ import annotations

from dataclasses import dataclass
from random import Random
from typing import Final

import msgspec

from discord_simulator.snowflakes import guild_id

_OWNER: Final = 190_000_000_000_000_000


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


def user_name(user: int) -> str:
    return f"user{user % 100_000}"


def member_name(guild: Guild, index: int) -> str:
    """The name that a member request finds the *index*-th member by."""
    return user_name(guild.id + 1000 + index)


def user_body(user: int, *, bot: bool = False) -> dict[str, object]:
    return {
        "username": user_name(user),
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


def own_user_body(user: int) -> dict[str, object]:
    """The bot's own user, with what only its owner is shown."""
    return user_body(user, bot=True) | {
        "verified": True,
        "mfa_enabled": True,
        "locale": "en-US",
        "flags": 0,
        "email": None,
        "bio": "",
        "banner": None,
        "accent_color": None,
    }


def application_body(application: int) -> dict[str, object]:
    """Source: Discord, "Application Object"."""
    return {
        "id": str(application),
        "name": "Simulated",
        "icon": None,
        "description": "",
        "summary": "",
        "type": None,
        "bot": user_body(application, bot=True),
        "bot_public": True,
        "bot_require_code_grant": False,
        "integration_types_config": {"0": {}},
        "verify_key": "0" * 64,
        "flags": 0,
        "hook": True,
        "is_monetized": False,
        "redirect_uris": [],
        "interactions_endpoint_url": None,
        "role_connections_verification_url": None,
        "owner": user_body(_OWNER),
        "approximate_guild_count": 0,
        "approximate_user_install_count": 0,
        "approximate_user_authorization_count": 0,
        "interactions_event_types": [],
        "interactions_version": 1,
        "explicit_content_filter": 0,
        "rpc_application_state": 0,
        "store_application_state": 1,
        "verification_state": 1,
        "team": None,
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


def _role_body(guild: Guild, index: int) -> dict[str, object]:
    """The *index*-th role; the first is @everyone, whose id is the guild's."""
    return {
        "version": 1700000000000,
        "unicode_emoji": None,
        "tags": {},
        "position": index,
        "permissions": "2248473465835073",
        "name": "@everyone" if index == 0 else f"Role {index}",
        "mentionable": False,
        "managed": False,
        "id": str(guild.id + (500 if index else 0)),
        "icon": None,
        "hoist": False,
        "flags": 0,
        "colors": {"tertiary_color": None, "secondary_color": None, "primary_color": 0},
        "color": 0,
    }


def guild_create_body(guild: Guild, *, size: int, unavailable: bool | None) -> bytes:
    """``d`` of a GUILD_CREATE of roughly *size* bytes, which channels fill up.

    *unavailable* is False in a start-up snapshot and after an outage, None (the key is absent) in a genuine join.
    """
    body: dict[str, object] = {
        "id": str(guild.id),
        "name": f"Guild {guild.id}",
        "owner_id": str(guild.id + 1000),
        "icon": None,
        "splash": None,
        "discovery_splash": None,
        "banner": None,
        "home_header": None,
        "description": None,
        "vanity_url_code": None,
        "application_id": None,
        "region": "deprecated",
        "afk_channel_id": None,
        "afk_timeout": 300,
        "verification_level": 1,
        "default_message_notifications": 0,
        "explicit_content_filter": 0,
        "mfa_level": 0,
        "nsfw": False,
        "nsfw_level": 0,
        "premium_tier": 0,
        "premium_subscription_count": 0,
        "premium_progress_bar_enabled": False,
        "premium_features": None,
        "preferred_locale": "en-US",
        "system_channel_id": str(guild.channel),
        "system_channel_flags": 0,
        "rules_channel_id": None,
        "public_updates_channel_id": None,
        "safety_alerts_channel_id": None,
        "latest_onboarding_question_id": None,
        "incidents_data": None,
        "inventory_settings": None,
        "max_members": 25_000_000,
        "max_video_channel_users": 25,
        "max_stage_video_channel_users": 50,
        "hub_type": None,
        "lazy": True,
        "version": 1700000000000,
        "features": [],
        "emojis": [],
        "stickers": [],
        "roles": [_role_body(guild, 0), _role_body(guild, 1)],
        "joined_at": "2024-01-02T03:04:05.678000+00:00",
        "large": guild.members > 50,
        "member_count": guild.members,
        "members": [member_body(guild, 0)],
        "threads": [],
        "presences": [],
        "voice_states": [],
        "stage_instances": [],
        "guild_scheduled_events": [],
        "soundboard_sounds": [],
        "embedded_activities": [],
        "activity_instances": [],
        "application_command_counts": {},
    }
    if unavailable is not None:
        body["unavailable"] = unavailable
    room = size - len(msgspec.json.encode(body))
    channels = max(1, room // len(msgspec.json.encode(_channel_body(guild, 0))))
    return msgspec.json.encode(body | {"channels": [_channel_body(guild, index) for index in range(channels)]})


def guild_delete_body(guild: Guild, *, outage: bool) -> bytes:
    """``d`` of a GUILD_DELETE: with ``unavailable`` in an outage, without it when the bot left or was removed."""
    if outage:
        return b'{"unavailable":true,"id":"%d"}' % guild.id
    return b'{"id":"%d"}' % guild.id
