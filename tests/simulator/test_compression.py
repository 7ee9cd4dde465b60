"""Where a zlib-stream is split, and where it is not."""

from __future__ import annotations

import zlib
from random import Random

from discord_simulator.compression import encoder


def test_a_zlib_stream_is_split_anywhere_but_within_the_sync_flush():
    """discord.py waits for ever for a payload whose last message is only a part of the flush."""
    encode = encoder("zlib-stream", zlib_parts=4, random=Random(5)).encode
    inflate = zlib.decompressobj()
    counts, lengths = set(), set()
    for number in range(500):
        payload = b'{"op":11,"d":%d}' % number
        messages = encode(payload)
        assert all(binary and data for data, binary in messages)
        assert messages[-1][0].endswith(b"\x00\x00\xff\xff")
        assert inflate.decompress(b"".join(data for data, _ in messages)) == payload
        counts.add(len(messages))
        lengths.add(len(messages[-1][0]))
    assert counts == {1, 2, 3, 4}
    assert min(lengths) == 4
