"""What clients ask of the gateway besides a session: members, sounds, channel info, voice and presence.

Replies go to the session that asked and to no other. Source: Discord, "Send Events"; docs/protocol.md.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import islice
from typing import TYPE_CHECKING, Final, TypeAlias

import msgspec

from discord_simulator.bodies import presence_body
from discord_simulator.events import Event, EventKind
from discord_simulator.guilds import Guild, member_body, member_name
from discord_simulator.intents import GUILD_MEMBERS, GUILD_PRESENCES
from discord_simulator.sessions import Session

if TYPE_CHECKING:
    from discord_simulator.gateway import Gateway

_CHUNK: Final = 1000
_MOST_NAMED: Final = 100
"""Members that a prefix finds, and ids that are looked at."""
_ALL_MEMBERS_EVERY: Final = 30.0
_LONGEST_NONCE: Final = 32


_Snowflake: TypeAlias = str | int
"""Discord takes ids as strings and as numbers: discord.py sends numbers."""


class _RequestMembers(msgspec.Struct):
    guild_id: _Snowflake
    query: str | None = None
    limit: int = 0
    user_ids: list[_Snowflake] | _Snowflake | None = None
    presences: bool | None = None
    nonce: str | None = None

    @property
    def echoed_nonce(self) -> dict[str, str]:
        """An invalid nonce is silently dropped."""
        if self.nonce is None or len(self.nonce.encode()) > _LONGEST_NONCE:
            return {}
        return {"nonce": self.nonce}


class _RequestSounds(msgspec.Struct):
    guild_ids: list[_Snowflake]


class _RequestChannelInfo(msgspec.Struct):
    guild_id: _Snowflake
    fields: list[str] = []


class _VoiceState(msgspec.Struct):
    guild_id: _Snowflake
    channel_id: _Snowflake | None
    self_mute: bool = False
    self_deaf: bool = False


class Commands:
    """Opcodes 3, 4, 8, 31 and 43 of sessions that are READY. Raise ``msgspec.DecodeError`` for a malformed ``d``."""

    opcodes: Final = frozenset({3, 4, 8, 31, 43})

    def __init__(self, *, gateway: Gateway) -> None:
        self._gateway = gateway
        self._all_members_at: dict[int, float] = {}

    def obey(self, session: Session, opcode: int, data: msgspec.Raw) -> None:
        if opcode == 3:
            msgspec.json.decode(data, type=dict[str, msgspec.Raw])
            self._presence(session)
        elif opcode == 4:
            self._voice(session, msgspec.json.decode(data, type=_VoiceState))
        elif opcode == 8:
            self._members(session, msgspec.json.decode(data, type=_RequestMembers))
        elif opcode == 31:
            request = msgspec.json.decode(data, type=_RequestSounds)
            for guild in self._own_guilds(session, request.guild_ids):
                body = {"soundboard_sounds": [], "guild_id": str(guild.id)}
                self._reply(session, "SOUNDBOARD_SOUNDS", body, guild=guild)
        else:
            info = msgspec.json.decode(data, type=_RequestChannelInfo)
            for guild in self._own_guilds(session, [info.guild_id]):
                channel = {"id": str(guild.channel), **dict.fromkeys(info.fields)}
                self._reply(session, "CHANNEL_INFO", {"guild_id": str(guild.id), "channels": [channel]}, guild=guild)

    def _presence(self, session: Session) -> None:
        """Count one presence update; what an update does to others is not simulated."""
        settings, now, came = self._gateway.settings, self._gateway.now(), session.presences
        while came and now - came[0] >= settings.presence_update_seconds:
            came.popleft()
        if len(came) < settings.presence_updates:
            came.append(now)
        else:
            self._gateway.truth.counters.presences_ignored += 1

    def _own_guilds(self, session: Session, ids: Iterable[_Snowflake]) -> list[Guild]:
        """Those of *ids* that the session is asked about rightly; others go unanswered."""
        known = (self._gateway.roster.get(int(id)) for id in ids if str(id).isdecimal())
        return [guild for guild in known if guild is not None and (guild.id >> 22) % session.count == session.shard]

    def _members(self, session: Session, request: _RequestMembers) -> None:
        self._gateway.truth.counters.member_requests += 1
        for guild in self._own_guilds(session, [request.guild_id]):
            if request.user_ids is not None:
                # "Limited to returning 100 members"; that those past it are not named as not found is our inference.
                wanted = (request.user_ids if isinstance(request.user_ids, list) else [request.user_ids])[:_MOST_NAMED]
                members = {str(guild.id + 1000 + i): i for i in range(guild.members)}
                found = sorted({members[str(id)] for id in wanted if str(id) in members})
                # Those that it does not know it gives back as they came, strings or numbers.
                missing = [id for id in wanted if str(id) not in members]
                self._chunks(session, guild, request, found, missing=missing)
            elif request.query == "" and request.limit == 0:
                self._all_members(session, guild, request)
            else:
                limit = min(request.limit or _MOST_NAMED, _MOST_NAMED)
                prefix = (request.query or "").lower()
                named = (i for i in range(guild.members) if member_name(guild, i).startswith(prefix))
                self._chunks(session, guild, request, list(islice(named, limit)))

    def _all_members(self, session: Session, guild: Guild, request: _RequestMembers) -> None:
        if not session.intents & GUILD_MEMBERS:
            return
        now = self._gateway.now()
        self._all_members_at = {k: at for k, at in self._all_members_at.items() if now - at < _ALL_MEMBERS_EVERY}
        asked = self._all_members_at.get(guild.id)
        if asked is not None:
            meta = {"guild_id": str(guild.id), **request.echoed_nonce}
            body = {"opcode": 8, "retry_after": asked + _ALL_MEMBERS_EVERY - now, "meta": meta}
            self._reply(session, "RATE_LIMITED", body, guild=None)
            return
        self._all_members_at[guild.id] = now
        self._chunks(session, guild, request, list(range(guild.members)))

    def _chunks(
        self,
        session: Session,
        guild: Guild,
        request: _RequestMembers,
        members: list[int],
        *,
        missing: list[_Snowflake] | None = None,
    ) -> None:
        chunks = [members[first : first + _CHUNK] for first in range(0, len(members), _CHUNK)] or [[]]
        # Without the intent, ``presences`` is taken for false (Discord, "Request Guild Members").
        with_presences = request.presences and session.intents & GUILD_PRESENCES
        for index, chunk in enumerate(chunks):
            body: dict[str, object] = {
                "members": [member_body(guild, i) for i in chunk],
                "guild_id": str(guild.id),
                "chunk_index": index,
                "chunk_count": len(chunks),
                **request.echoed_nonce,
            }
            if missing is not None:
                body["not_found"] = missing
            if with_presences:
                body["presences"] = [msgspec.Raw(presence_body(guild=guild, user=i, online=True)) for i in chunk]
            self._reply(session, "GUILD_MEMBERS_CHUNK", body, guild=guild)

    def _voice(self, session: Session, state: _VoiceState) -> None:
        """Own VOICE_STATE_UPDATE to all that see the guild, VOICE_SERVER_UPDATE to the asker or to all of them."""
        for guild in self._own_guilds(session, [state.guild_id]):
            own = {
                "user_id": str(self._gateway.application.id),
                "session_id": session.id,
                "guild_id": str(guild.id),
                "channel_id": None if state.channel_id is None else str(state.channel_id),
                "self_mute": state.self_mute,
                "self_deaf": state.self_deaf,
            }
            self._gateway.broadcast.emit(
                Event(name="VOICE_STATE_UPDATE", body=msgspec.json.encode(own), guild=guild.id, kind=EventKind.VOICE)
            )
            if state.channel_id is not None:
                server = {"token": "voice", "guild_id": str(guild.id), "endpoint": "voice.invalid:443"}
                if self._gateway.settings.voice_server_audience == "asker":
                    self._reply(session, "VOICE_SERVER_UPDATE", server, guild=guild)
                else:
                    body = msgspec.json.encode(server)
                    self._gateway.broadcast.emit(
                        Event(name="VOICE_SERVER_UPDATE", body=body, guild=guild.id, kind=EventKind.VOICE)
                    )

    def _reply(self, session: Session, name: str, body: object, *, guild: Guild | None) -> None:
        session.dispatch(
            Event(
                name=name,
                body=msgspec.json.encode(body),
                guild=0 if guild is None else guild.id,
                kind=EventKind.REPLY,
            )
        )
