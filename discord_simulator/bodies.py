"""The bodies of the events that the load generator makes, quick to make by the ten thousand.

Everything that does not change from event to event is rendered once. No body carries an identity that Discord's would
not: a message has its id, a typing has its second, a webhook update says the same every time.
"""

from __future__ import annotations

from datetime import UTC, datetime
from functools import lru_cache
from typing import Final

import msgspec

from discord_simulator.guilds import Guild, member_body, user_body

_AUTHORS: Final = 64
_FIRST_AUTHOR: Final = 200_000_000_000_000_000
_EMPTY_CONTENT: Final = b'"content":""'


class MessageBodies:
    """MESSAGE_CREATE bodies of a wanted size, and the same without what MESSAGE_CONTENT gives."""

    def __init__(self, *, size: int) -> None:
        self._tails = [self._tail(author, direct=False) for author in range(_AUTHORS)]
        self._direct_tails = [self._tail(author, direct=True) for author in range(_AUTHORS)]
        room = size - len(self._tails[0]) - 170
        text = ("the quick brown fox jumps over the lazy dog " * (max(8, room) // 44 + 1))[: max(8, room)]
        self._content = b'"content":"%b"' % text.encode()

    @staticmethod
    def _tail(author: int, *, direct: bool) -> bytes:
        fields: dict[str, object] = {
            "type": 0,
            "tts": False,
            "pinned": False,
            "mentions": [],
            "mention_roles": [],
            "mention_everyone": False,
            "flags": 0,
            "embeds": [],
            "edited_timestamp": None,
            "components": [],
            "channel_type": 1 if direct else 0,
            "attachments": [],
            "author": user_body(_FIRST_AUTHOR + author),
        }
        if not direct:
            fields["member"] = {
                "roles": [str(_FIRST_AUTHOR + 500 + author)],
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
        return msgspec.json.encode(fields)[1:]

    def of_guild(self, *, message: int, guild: Guild, timestamp: bytes, author: int) -> tuple[bytes, bytes]:
        """The body and its redacted form."""
        head = b'{"id":"%d","guild_id":"%d","channel_id":"%d","timestamp":"%b",' % (
            message,
            guild.id,
            guild.channel,
            timestamp,
        )
        tail = self._tails[author % _AUTHORS]
        return b"%b%b,%b" % (head, self._content, tail), b"%b%b,%b" % (head, _EMPTY_CONTENT, tail)

    def direct(self, *, message: int, channel: int, timestamp: bytes, author: int) -> bytes:
        """A direct message: its content is shown whatever the intents."""
        return b'{"id":"%d","channel_id":"%d","timestamp":"%b",%b,%b' % (
            message,
            channel,
            timestamp,
            self._content,
            self._direct_tails[author % _AUTHORS],
        )


def iso_timestamp(now: float) -> bytes:
    return datetime.fromtimestamp(now, UTC).isoformat(timespec="microseconds").encode()


def direct_channel(user: int) -> int:
    """The channel of direct messages with the *user*-th user."""
    return _FIRST_AUTHOR + 1_000_000 + user


@lru_cache(maxsize=16_384)
def _member(guild: int, user: int) -> bytes:
    return msgspec.json.encode(member_body(Guild(id=guild, members=0), user))


def typing_body(*, guild: Guild, user: int, now: float) -> bytes:
    return b'{"user_id":"%d","timestamp":%d,"member":%b,"guild_id":"%d","channel_id":"%d"}' % (
        guild.id + 1000 + user,
        int(now),
        _member(guild.id, user),
        guild.id,
        guild.channel,
    )


def reaction_body(*, guild: Guild, user: int, added: bool) -> bytes:
    """An add shows who reacted; a remove names them only."""
    return (
        b'{"user_id":"%d","type":0,"message_id":"%d",%b'
        b'"guild_id":"%d","emoji":{"name":"\\ud83d\\udc4d","id":null},"channel_id":"%d","burst":false}'
    ) % (
        guild.id + 1000 + user,
        guild.id + 900,
        b'"message_author_id":"%d","member":%b,' % (guild.id + 1000, _member(guild.id, user)) if added else b"",
        guild.id,
        guild.channel,
    )


def webhooks_body(*, guild: Guild) -> bytes:
    return b'{"guild_id":"%d","channel_id":"%d"}' % (guild.id, guild.channel)


def integrations_body(*, guild: Guild) -> bytes:
    return b'{"guild_id":"%d"}' % guild.id


def presence_body(*, guild: Guild, user: int, online: bool) -> bytes:
    return b'{"user":{"id":"%d"},"status":"%b","guild_id":"%d","client_status":{},"activities":[]}' % (
        guild.id + 1000 + user,
        b"online" if online else b"idle",
        guild.id,
    )
