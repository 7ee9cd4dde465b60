"""What the generator sends: gateway payloads of about 0.9 KB, framed and compressed before anything is measured.

A MESSAGE_CREATE has the keys and sizes of a real one. Guilds, channels, users and roles come from a pool for each
shard, as they do in a bot's life, so compression finds what it finds there. Each shard's payloads are one stream
through one compression context, and its guilds are those that Discord routes to it.
"""

from __future__ import annotations

import random
import struct
from array import array
from collections.abc import Callable, Iterator
from typing import Final

import zstandard
from zlib_ng import zlib_ng

HEARTBEAT_MILLISECONDS: Final = 3_600_000
"""So long that no heartbeat falls into a measurement: its answer would not fit into a stream compressed beforehand."""

ZLIB_LEVEL: Final = 6
ZSTD_LEVEL: Final = 3
ZSTD_WINDOW_LOG: Final = 18
"""256 KiB, what Discord chose. https://discord.com/blog/how-discord-reduced-websocket-traffic-by-40-percent"""

GUILDS: Final = 1000

_WORDS: Final = [
    "".join(random.Random(seed).choices("etaoinshrdlucmfwypvbgkqjxz", k=2 + seed % 9)) for seed in range(2000)
]

Compress = Callable[[bytes], bytes]


def session_id(shard: int) -> str:
    return f"{shard:032x}"


def hello() -> bytes:
    return b'{"t":null,"s":null,"op":10,"d":{"heartbeat_interval":%d,"_trace":["bench"]}}' % HEARTBEAT_MILLISECONDS


def ready(shard: int, shards: int, *, resume_url: str) -> bytes:
    """With the guilds of a shard of usual size, on which it depends how much Discord keeps for a resume."""
    guilds = ",".join(
        f'{{"unavailable":true,"id":"{(number * shards + shard) << 22}"}}' for number in range(1, GUILDS + 1)
    )
    return (
        '{"t":"READY","s":1,"op":0,"d":{"v":10,"user_settings":{},"user":{"verified":true,"username":"bench",'
        f'"id":"1","discriminator":"0001","bot":true,"avatar":null}},"shard":[{shard},{shards}],'
        f'"session_type":"normal","session_id":"{session_id(shard)}","resume_gateway_url":"{resume_url}",'
        '"relationships":[],"private_channels":[],"presences":[],"guilds":['
        + guilds
        + '],"application":{"id":"1","flags":0}}}'
    ).encode()


class Dispatches:
    """The dispatches of one shard, one after another, beginning with sequence 2."""

    def __init__(self, shard: int, shards: int) -> None:
        chance = random.Random(shard)
        self._sequence = 1
        self._templates = [_template(chance, shard, shards) for _ in range(500)]
        self._chance = chance

    def next(self, nonce: int = 0) -> bytes:
        """The next payload; *nonce* (a time) is found again at the receiver."""
        self._sequence += 1
        name, template = self._chance.choice(self._templates)
        message = 1_000_000_000_000_000_000 + self._sequence * 4_194_303
        return template % (name, self._sequence, nonce, message)


def _template(chance: random.Random, shard: int, shards: int) -> tuple[bytes, bytes]:
    def snowflake() -> int:
        return chance.randrange(10**17, 10**18)

    guild = ((chance.randrange(2**36) * shards + shard) << 22) | chance.randrange(2**22)
    roles = ",".join(f'"{snowflake()}"' for _ in range(chance.randrange(3)))
    content = " ".join(chance.choices(_WORDS, k=chance.randrange(2, 14)))
    user = chance.choice(_WORDS)
    avatar = f"{chance.getrandbits(128):032x}"
    text = (
        '{"t":"%b","s":%d,"op":0,"d":{"type":0,"tts":false,"timestamp":"2026-01-01T00:00:00.000000+00:00",'
        '"pinned":false,"nonce":"%019d","mentions":[],"mention_roles":[],"mention_everyone":false,'
        f'"member":{{"roles":[{roles}],"premium_since":null,"pending":false,"nick":null,"mute":false,'
        '"joined_at":"2024-05-17T10:11:12.131415+00:00","flags":0,"deaf":false,"communication_disabled_until":null,'
        f'"banner":null,"avatar":null}},"id":"%d","flags":0,"embeds":[],"edited_timestamp":null,"content":"{content}",'
        f'"components":[],"channel_type":0,"channel_id":"{snowflake()}","author":{{"username":"{user}",'
        f'"public_flags":0,"primary_guild":null,"id":"{snowflake()}","global_name":"{user.title()}",'
        '"display_name_styles":null,"discriminator":"0","collectibles":null,"clan":null,'
        f'"avatar_decoration_data":null,"avatar":"{avatar}"}},"attachments":[],"guild_id":"{guild}"}}}}'
    )
    name = b"MESSAGE_CREATE" if chance.random() < 0.75 else b"MESSAGE_UPDATE"
    return name, text.encode()


def compressor(compression: str) -> Compress:
    """A fresh context of one connection: one payload in, the bytes of one websocket message out."""
    if compression == "zlib-stream":
        deflate = zlib_ng.compressobj(ZLIB_LEVEL)
        return lambda payload: deflate.compress(payload) + deflate.flush(zlib_ng.Z_SYNC_FLUSH)
    if compression == "zstd-stream":
        parameters = zstandard.ZstdCompressionParameters.from_level(ZSTD_LEVEL, window_log=ZSTD_WINDOW_LOG)
        stream = zstandard.ZstdCompressor(compression_params=parameters).compressobj()
        return lambda payload: stream.compress(payload) + stream.flush(zstandard.COMPRESSOBJ_FLUSH_BLOCK)
    return lambda payload: payload


def frame(message: bytes, *, text: bool) -> bytes:
    """One unmasked, final websocket frame."""
    first = 0x81 if text else 0x82
    size = len(message)
    if size < 126:
        return bytes((first, size)) + message
    if size < 1 << 16:
        return struct.pack("!BBH", first, 126, size) + message
    return struct.pack("!BBQ", first, 127, size) + message


class Stream:
    """Everything that one shard is sent, in the order of its compression context."""

    def __init__(self, *, shard: int, shards: int, compression: str, events: int, resume_url: str) -> None:
        self._compress = compressor(compression)
        self._text = compression == "none"
        self.hello = self.frame(hello())
        self.ready = self.frame(ready(shard, shards, resume_url=resume_url))
        self.dispatches = Dispatches(shard, shards)
        self.payload_bytes = 0
        self._ends = array("Q", [0])
        """Where each event's frame ends in the burst."""
        self.burst = b"".join(self._frames(events))

    def first(self, events: int) -> memoryview:
        """The frames of the burst's first *events*."""
        return memoryview(self.burst)[: self._ends[events]]

    def frame(self, payload: bytes) -> bytes:
        return frame(self._compress(payload), text=self._text)

    def _frames(self, events: int) -> Iterator[bytes]:
        for _ in range(events):
            payload = self.dispatches.next()
            self.payload_bytes += len(payload)
            framed = self.frame(payload)
            self._ends.append(self._ends[-1] + len(framed))
            yield framed
