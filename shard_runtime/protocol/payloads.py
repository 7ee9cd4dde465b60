"""The payloads we send, and the insides of the few that we read.

Discord closes with 4002 what is longer than 4096 bytes.
https://discord.com/developers/docs/events/gateway-events#send-events
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, TypeVar

import msgspec

from shard_runtime.contract import IdentifyOptions
from shard_runtime.protocol.envelope import UnreadableError, snowflake
from shard_runtime.protocol.opcodes import Opcode

LONGEST_SENT: Final = 4096
"""Bytes."""


class _Sent(msgspec.Struct, frozen=True):
    op: int
    d: object


class _Properties(msgspec.Struct, frozen=True):
    os: str
    browser: str
    device: str


class _Identify(msgspec.Struct, frozen=True, omit_defaults=True):
    token: str
    properties: _Properties
    intents: int
    shard: tuple[int, int]
    large_threshold: int | None = None
    presence: Mapping[str, Any] | None = None
    capabilities: int | None = None
    compress: bool = False


class _Resume(msgspec.Struct, frozen=True):
    token: str
    session_id: str
    seq: int


def identify(
    *,
    token: str,
    shard: int,
    shard_count: int,
    intents: int,
    options: IdentifyOptions,
    compress: bool = False,
) -> bytes:
    """IDENTIFY. *compress* asks for payload compression, which is not that of the transport."""
    properties = options.properties
    return msgspec.json.encode(
        _Sent(
            Opcode.IDENTIFY,
            _Identify(
                token=token,
                properties=_Properties(properties.os, properties.browser, properties.device),
                intents=intents,
                shard=(shard, shard_count),
                large_threshold=options.large_threshold,
                presence=options.presence,
                capabilities=options.capabilities,
                compress=compress,
            ),
        )
    )


def identify_fields(*, intents: int, options: IdentifyOptions, compress: bool) -> dict[str, Any]:
    """``d`` of IDENTIFY without what is a session's own, for somebody to change: see :func:`identify_of`."""
    whole = msgspec.json.decode(
        identify(token="", shard=0, shard_count=1, intents=intents, options=options, compress=compress)
    )["d"]
    return {name: value for name, value in whole.items() if name not in ("token", "shard")}


def identify_of(fields: Mapping[str, Any], *, token: str, shard: tuple[int, int], compress: bool) -> bytes:
    """IDENTIFY with these *fields*, whatever they say of the other arguments.

    Raises ``ValueError`` or ``TypeError`` for what Discord would not take.
    """
    intents = fields.get("intents")
    if not isinstance(intents, int) or not 0 <= intents < 1 << 53:
        raise ValueError(f"its intents are {intents!r}")
    if not isinstance(fields.get("properties"), Mapping):
        raise ValueError("it has no properties")
    own = {"token": token, "shard": shard, "compress": compress}
    payload = msgspec.json.encode(_Sent(Opcode.IDENTIFY, {**fields, **own}))
    if len(payload) > LONGEST_SENT:
        raise ValueError(f"it has {len(payload)} bytes, of which Discord takes at most {LONGEST_SENT}")
    return payload


def resume(*, token: str, session_id: str, sequence: int) -> bytes:
    """RESUME; Discord replays what came after *sequence*."""
    return msgspec.json.encode(_Sent(Opcode.RESUME, _Resume(token, session_id, sequence)))


def heartbeat(sequence: int | None) -> bytes:
    return b'{"op":1,"d":null}' if sequence is None else b'{"op":1,"d":%d}' % sequence


# --- What we read ---------------------------------------------------------------------------------------------------


class _HelloBody(msgspec.Struct, frozen=True):
    heartbeat_interval: float


class _Hello(msgspec.Struct, frozen=True):
    d: _HelloBody


class _InvalidSession(msgspec.Struct, frozen=True):
    d: object = None


class _GuildStub(msgspec.Struct, frozen=True):
    id: str | int


class _ReadyBody(msgspec.Struct, frozen=True):
    session_id: str
    resume_gateway_url: str | None = None
    guilds: list[_GuildStub] = []


class _Ready(msgspec.Struct, frozen=True):
    d: _ReadyBody


class _GuildBody(msgspec.Struct, frozen=True):
    id: str | int
    unavailable: bool | msgspec.UnsetType | None = msgspec.UNSET


class _Guild(msgspec.Struct, frozen=True):
    d: _GuildBody


class _LimitedMeta(msgspec.Struct, frozen=True):
    guild_id: str | int | None = None


class _LimitedBody(msgspec.Struct, frozen=True):
    opcode: int
    retry_after: float
    meta: _LimitedMeta = _LimitedMeta()


class _Limited(msgspec.Struct, frozen=True):
    d: _LimitedBody


class Limited(msgspec.Struct, frozen=True, kw_only=True):
    """What RATE_LIMITED says of a command that Discord dropped."""

    op: int
    guild: int | None
    seconds: float


class Ready(msgspec.Struct, frozen=True, kw_only=True):
    """What a shard keeps of READY."""

    session_id: str
    resume_url: str | None
    guilds: frozenset[int]


class GuildNews(msgspec.Struct, frozen=True, kw_only=True):
    """What GUILD_CREATE and GUILD_DELETE say about the guild's being there."""

    guild: int
    unavailable: bool | None
    """None where Discord left the key out, which tells a join from a load and a leave from an outage."""


def read_hello(payload: bytes) -> float:
    """The heartbeat interval in seconds. Raises :class:`UnreadableError` when it is missing or not positive."""
    interval = _read(payload, _Hello).d.heartbeat_interval / 1000
    if not interval > 0:
        raise UnreadableError(f"HELLO with a heartbeat interval of {interval} s")
    return interval


def read_invalid_session(payload: bytes) -> bool:
    """Whether Discord says that the session can be resumed."""
    return _read(payload, _InvalidSession).d is True


def read_ready(payload: bytes) -> Ready:
    """Raises :class:`UnreadableError` for a READY without a session id."""
    body = _read(payload, _Ready).d
    return Ready(
        session_id=body.session_id,
        resume_url=body.resume_gateway_url or None,
        guilds=frozenset(snowflake(guild.id) for guild in body.guilds),
    )


def read_guild_news(payload: bytes) -> GuildNews:
    body = _read(payload, _Guild).d
    unavailable = body.unavailable
    return GuildNews(guild=snowflake(body.id), unavailable=None if unavailable is msgspec.UNSET else bool(unavailable))


def read_limited(payload: bytes) -> Limited:
    """RATE_LIMITED. https://discord.com/developers/docs/events/gateway-events#rate-limited"""
    body = _read(payload, _Limited).d
    guild = body.meta.guild_id
    return Limited(op=body.opcode, guild=None if guild is None else snowflake(guild), seconds=body.retry_after)


_Struct = TypeVar("_Struct", bound=msgspec.Struct)


def _read(payload: bytes, into: type[_Struct]) -> _Struct:
    try:
        return msgspec.json.decode(payload, type=into)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise UnreadableError(f"not what Discord documents: {error}") from None
