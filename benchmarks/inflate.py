"""CPU time to inflate one gateway message, by library: what the choice in pyproject.toml rests on.

Run with ``python benchmarks/inflate.py``. Libraries that are not installed are left out; to compare them all:
``pip install isal zlib-ng`` into an environment of your own. The messages are MESSAGE_CREATEs of about 0.9 KB with
text of changing words and ids, in one stream per connection with a flush after each, as Discord sends them.
"""

from __future__ import annotations

import importlib
import json
import random
import time
import zlib
from collections.abc import Callable
from typing import Any

import zstandard

from shard_runtime.connection.inflate import new_inflate

MESSAGES = 20_000
ROUNDS = 5
WORDS = [
    "".join(random.Random(seed).choices("etaoinshrdlucmfwypvbgkqjxz", k=2 + seed % 9)) for seed in range(2000)
]  # frequent words get compressed, as they do in chat


def messages() -> list[bytes]:
    chance = random.Random(1)
    made = []
    for number in range(1, MESSAGES + 1):
        author = {
            "id": str(chance.getrandbits(60)),
            "username": chance.choice(WORDS),
            "avatar": f"{chance.getrandbits(128):032x}",
            "discriminator": "0",
            "public_flags": 0,
        }
        body = {
            "type": 0,
            "tts": False,
            "timestamp": f"2026-01-01T00:00:{number % 60:02d}.{number % 1000:03d}000+00:00",
            "mentions": [],
            "member": {"roles": [str(chance.getrandbits(60)) for _ in range(3)], "nick": None, "mute": False},
            "id": str(chance.getrandbits(60)),
            "content": " ".join(chance.choices(WORDS, k=60)),
            "channel_id": str(chance.getrandbits(60)),
            "author": author,
            "attachments": [],
            "guild_id": str(chance.getrandbits(60)),
        }
        made.append(
            json.dumps({"t": "MESSAGE_CREATE", "s": number, "op": 0, "d": body}, separators=(",", ":")).encode()
        )
    return made


def zlib_stream(payloads: list[bytes]) -> list[bytes]:
    stream = zlib.compressobj(6)
    return [stream.compress(data) + stream.flush(zlib.Z_SYNC_FLUSH) for data in payloads]


def zstd_stream(payloads: list[bytes]) -> list[bytes]:
    stream = zstandard.ZstdCompressor(level=3).compressobj()
    return [stream.compress(data) + stream.flush(zstandard.COMPRESSOBJ_FLUSH_BLOCK) for data in payloads]


Run = Callable[[list[bytes]], None]
"""Inflates the messages of one connection."""


def library(make: Callable[[], Callable[[bytes], bytes]]) -> Run:
    def run(stream: list[bytes]) -> None:
        decompress = make()
        for message in stream:
            decompress(message)

    return run


def runtime(mode: str) -> Run:
    """What the runtime does, with its bounds."""

    def run(stream: list[bytes]) -> None:
        inflate = new_inflate(mode)
        assert inflate is not None
        for message in stream:
            inflate.one(message)

    return run


def candidates() -> list[tuple[str, str, Run]]:
    found: list[tuple[str, str, Run]] = []
    for name in ("zlib", "zlib_ng.zlib_ng", "isal.isal_zlib"):
        try:
            module: Any = importlib.import_module(name)
        except ImportError:
            print(f"{name} is not installed")
            continue
        found.append(("zlib-stream", name, library(lambda module=module: module.decompressobj().decompress)))
    found.append(("zlib-stream", "the runtime", runtime("zlib-stream")))
    zstd = library(lambda: zstandard.ZstdDecompressor().decompressobj().decompress)
    return [*found, ("zstd-stream", "zstandard", zstd), ("zstd-stream", "the runtime", runtime("zstd-stream"))]


def main() -> None:
    payloads = messages()
    plain = sum(map(len, payloads))
    streams = {"zlib-stream": zlib_stream(payloads), "zstd-stream": zstd_stream(payloads)}
    for mode, stream in streams.items():
        print(f"{mode}: {plain / MESSAGES:.0f} bytes inflated, {sum(map(len, stream)) / MESSAGES:.0f} on the wire")
    for mode, name, run in candidates():
        best = float("inf")
        for _ in range(ROUNDS):
            start = time.process_time()
            run(streams[mode])
            best = min(best, time.process_time() - start)
        print(f"{mode:12} {name:16} {best / MESSAGES * 1e6:6.2f} µs a message  {plain / best / 1e6:6.0f} MB/s")


if __name__ == "__main__":
    main()
