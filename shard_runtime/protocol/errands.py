"""What a session does for its bot besides its events: the calls it is in, its presence, requests without an answer yet.

All three belong to the session and end with it, so a generation that hands over must hand them over too, or finish
them: the new session joins the calls again and takes the presence on; answers come to the session that asked and to no
other, so the old one stays until they are there (docs/protocol.md, "Voice and handoff").

Nothing here costs anything per event: commands are rare, and which dispatches concern it is said by
:attr:`Errands.wanted`. Times are seconds on one monotonic clock.
"""

from __future__ import annotations

from typing import Final

import msgspec

from shard_runtime.contract import NOTHING_KEPT, Kept, VoiceCall
from shard_runtime.protocol.envelope import snowflake
from shard_runtime.protocol.opcodes import Opcode
from shard_runtime.protocol.send_budget import Command

ANSWER_SECONDS: Final = 10.0
"""Without any answer for so long a request counts as unanswered: Discord drops those that it does not like."""

MOST_AWAITED: Final = 1000
"""Requests of one session whose answers are awaited; the oldest is given up for one more."""

MEMBERS: Final = "GUILD_MEMBERS_CHUNK"
RATE_LIMITED: Final = "RATE_LIMITED"
ANSWERS: Final[dict[str, int]] = {
    MEMBERS: Opcode.REQUEST_GUILD_MEMBERS,
    "SOUNDBOARD_SOUNDS": Opcode.REQUEST_SOUNDBOARD_SOUNDS,
    "CHANNEL_INFO": Opcode.REQUEST_CHANNEL_INFO,
}
_VOICE: Final = frozenset({"VOICE_STATE_UPDATE"})
_ANSWERED: Final = frozenset({*ANSWERS, RATE_LIMITED})

_Id = str | int | None


class _Meta(msgspec.Struct):
    guild_id: _Id = None
    nonce: str | None = None


class _Body(msgspec.Struct):
    guild_id: _Id = None
    guild_ids: list[_Id] = []
    channel_id: _Id = None
    session_id: str = ""
    self_mute: bool = False
    self_deaf: bool = False
    nonce: str | None = None
    chunk_index: int = 0
    chunk_count: int = 1
    opcode: int = 0
    meta: _Meta = msgspec.field(default_factory=_Meta)


class _Payload(msgspec.Struct):
    d: _Body


_decode: Final = msgspec.json.Decoder(_Payload).decode

_Request = tuple[int, int, str | None]
"""Opcode, guild, nonce."""


class Errands:
    """Of one session."""

    def __init__(self, kept: Kept = NOTHING_KEPT) -> None:
        self._calls = {call.guild: call for call in kept.calls}
        self._awaited: dict[_Request, float] = {}
        """By request, when it was sent or last answered in part; oldest first."""
        self.presence = kept.presence
        """``d`` of the last op 3 that the bot had sent, as it is."""
        self.wanted: frozenset[str] = frozenset()
        """Names of the dispatches that :meth:`came` is to be told of."""
        self._choose()

    def _choose(self) -> None:
        self.wanted = (_VOICE if self._calls else frozenset()) | (_ANSWERED if self._awaited else frozenset())

    @property
    def kept(self) -> Kept:
        """What outlives a connection, and moves to another session."""
        return Kept(calls=list(self._calls.values()), presence=self.presence)

    def awaited(self, now: float) -> int:
        """How many requests wait for their answers."""
        self._awaited = {one: at for one, at in self._awaited.items() if now - at < ANSWER_SECONDS}
        self._choose()
        return len(self._awaited)

    def lost(self) -> None:
        """The session is gone, and all this with it."""
        self._calls.clear()
        self._awaited.clear()
        self.presence = None
        self._choose()

    def sent(self, command: Command, now: float) -> None:
        """*command* went out on the session."""
        if command.op == Opcode.PRESENCE_UPDATE:
            self.presence = _raw_body(command.payload)
            return
        body = _read(command.payload)
        if body is None:
            return
        if command.op == Opcode.VOICE_STATE_UPDATE:
            self._calling(body)
        elif command.op in ANSWERS.values():
            for guild in body.guild_ids or [body.guild_id]:
                self._awaited[command.op, snowflake(guild), body.nonce] = now
            while len(self._awaited) > MOST_AWAITED:
                del self._awaited[next(iter(self._awaited))]
        self._choose()

    def came(self, name: str, payload: bytes, *, session: str, now: float) -> None:
        """One of the :attr:`wanted` dispatches came on *session*."""
        body = _read(payload)
        if body is None:
            return
        if name in _VOICE:
            if body.session_id == session:  # moved, muted or thrown out; other sessions ask for themselves
                self._calling(body)
        elif name == RATE_LIMITED:
            self._awaited.pop((body.opcode, snowflake(body.meta.guild_id), body.meta.nonce), None)
        else:
            request = (ANSWERS[name], snowflake(body.guild_id), body.nonce)
            if request in self._awaited:
                del self._awaited[request]
                if name == MEMBERS and body.chunk_index + 1 < body.chunk_count:
                    self._awaited[request] = now
        self._choose()

    def _calling(self, body: _Body) -> None:
        guild, channel = snowflake(body.guild_id), snowflake(body.channel_id)
        if channel:
            self._calls[guild] = VoiceCall(
                guild=guild, channel=channel, self_mute=body.self_mute, self_deaf=body.self_deaf
            )
        else:
            self._calls.pop(guild, None)


def rejoin(call: VoiceCall) -> Command:
    """Op 4 that takes *call* over to the session that sends it."""
    d = {
        "guild_id": str(call.guild),
        "channel_id": str(call.channel),
        "self_mute": call.self_mute,
        "self_deaf": call.self_deaf,
    }
    return Command(op=Opcode.VOICE_STATE_UPDATE, payload=msgspec.json.encode({"op": 4, "d": d}))


def present(presence: str) -> Command:
    """Op 3 with *presence*, as :attr:`Errands.presence` gives it."""
    payload = msgspec.json.encode({"op": 3, "d": msgspec.Raw(presence.encode())})
    return Command(op=Opcode.PRESENCE_UPDATE, payload=payload)


class _RawBody(msgspec.Struct):
    d: msgspec.Raw


def _raw_body(payload: bytes) -> str | None:
    try:
        return bytes(msgspec.json.decode(payload, type=_RawBody).d).decode()
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None


def _read(payload: bytes) -> _Body | None:
    try:
        return _decode(payload).d
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
