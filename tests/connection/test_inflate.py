"""Compression of a connection, as Discord's servers produce it."""

from __future__ import annotations

import contextlib
import json
import random
import tracemalloc
import zlib
from itertools import pairwise

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from shard_runtime.connection.inflate import (
    COMPRESSIONS,
    LONGEST_INFLATED,
    ZLIB_SLICE,
    ZSTD_SLICE,
    Inflate,
    InflateError,
    new_inflate,
    query_value,
)
from shard_runtime.protocol.envelope import UnreadableError

PAYLOADS = st.lists(st.binary(min_size=1, max_size=2000) | st.just(b"same " * 100), max_size=20)


def context(compression: str) -> Inflate:
    inflate = new_inflate(compression)
    assert inflate is not None
    return inflate


def zstd_stream(payloads: list[bytes]) -> list[bytes]:
    """One frame that never ends, flushed after each payload."""
    compressor = zstandard.ZstdCompressor().compressobj()
    return [compressor.compress(data) + compressor.flush(zstandard.COMPRESSOBJ_FLUSH_BLOCK) for data in payloads]


def zlib_stream(payloads: list[bytes], *, level: int = 6) -> list[bytes]:
    """One stream that never ends, flushed after each payload."""
    compressor = zlib.compressobj(level)
    return [compressor.compress(data) + compressor.flush(zlib.Z_SYNC_FLUSH) for data in payloads]


STREAMS = {"zstd-stream": zstd_stream, "zlib-stream": zlib_stream}
streams = pytest.mark.parametrize("compression", STREAMS)


@streams
@given(payloads=PAYLOADS)
def test_one_message_is_one_payload_over_a_shared_context(compression: str, payloads: list[bytes]) -> None:
    inflate = context(compression)
    assert [inflate.one(message) for message in STREAMS[compression](payloads)] == payloads


@streams
@given(payloads=st.lists(PAYLOADS, min_size=1, max_size=4))
def test_messages_that_come_together_are_the_same_payloads(compression: str, payloads: list[list[bytes]]) -> None:
    inflate = context(compression)
    messages = iter(STREAMS[compression]([b"{}", *(payload for read in payloads for payload in read)]))
    assert inflate.one(next(messages)) == b"{}"
    for read in payloads:
        if read:
            assert inflate.several([next(messages) for _ in read]) == read


@streams
def test_what_came_before_a_broken_message_is_there(compression: str) -> None:
    inflate = context(compression)
    first, second, third, _ = STREAMS[compression]([b"one", b"two", b"three", b"four"])
    assert inflate.one(first) == b"one"
    with pytest.raises(InflateError) as raised:
        inflate.several([second, third, b"\xff" * 20 + b"\x00\x00\xff\xff"])
    assert raised.value.before == [b"two", b"three"]


def test_parts_the_first_message_and_large_ones_are_taken_one_by_one() -> None:
    first, second, third = zlib_stream([b"one", b"two", random.Random(1).randbytes(ZLIB_SLICE)])
    inflate = context("zlib-stream")
    for left_alone in ([first, second], [first[:5], first[5:]]):
        assert inflate.several(left_alone) is None
    assert inflate.one(first) == b"one"
    for left_alone in ([second[:4], second[4:]], [second, third]):
        assert inflate.several(left_alone) is None
    assert inflate.one(second[:4]) is None
    assert inflate.several([second[4:]]) is None
    assert inflate.one(second[4:]) == b"two"
    large = context("zstd-stream")
    [big] = zstd_stream([random.Random(1).randbytes(ZSTD_SLICE)])
    assert large.several([big]) is None
    assert large.one(big) == random.Random(1).randbytes(ZSTD_SLICE)


def test_flushes_without_a_payload_are_nothing_among_others() -> None:
    inflate = context("zlib-stream")
    first, second, third = zlib_stream([b"one", b"two", b"three"])
    nothing = b"\x00\x00\x00\xff\xff"
    assert inflate.one(first) == b"one"
    assert inflate.several([nothing, second, nothing, third]) == [b"two", b"three"]


@pytest.mark.parametrize("header", [b"\x79\x9c", b"\x88\x1c", b"\x78\x9d", b"\x78\xbb", b""])
def test_a_zlib_stream_begins_with_its_header(header: bytes) -> None:
    [message] = zlib_stream([b"one"])
    with pytest.raises(InflateError, match="begins so"):
        context("zlib-stream").one(header + message[2:])


@streams
def test_a_payload_of_megabytes(compression: str) -> None:
    inflate = context(compression)
    big = json.dumps({"members": [{"id": str(number)} for number in range(200_000)]}).encode()
    assert [inflate.one(message) for message in STREAMS[compression]([b"[]", big, b"{}"])] == [b"[]", big, b"{}"]


@given(payloads=PAYLOADS, level=st.integers(0, 9), data=st.data())
def test_a_zlib_payload_may_be_split_over_messages_anywhere(
    payloads: list[bytes], level: int, data: st.DataObject
) -> None:
    inflate = context("zlib-stream")
    for payload, message in zip(payloads, zlib_stream(payloads, level=level), strict=True):
        cuts = sorted(data.draw(st.lists(st.integers(0, len(message)), max_size=4)))
        parts = [message[start:end] for start, end in pairwise([0, *cuts, len(message)])]
        # A payload whose own bytes end a part like a flush, stored as they are, cannot be told from a whole one.
        if any(b"".join(parts[: end + 1]).endswith(b"\x00\x00\xff\xff") for end in range(len(parts) - 1)):
            parts = [message]
        assert [inflate.one(part) for part in parts] == [None] * (len(parts) - 1) + [payload]


def test_a_zlib_suffix_may_be_split_byte_by_byte() -> None:
    inflate = context("zlib-stream")
    first, second = zlib_stream([b"one", b"two"])
    answers = [inflate.one(first[at : at + 1]) for at in range(len(first))]
    assert answers == [None] * (len(first) - 1) + [b"one"]
    assert inflate.one(second) == b"two"


def test_a_flush_without_a_payload_is_nothing() -> None:
    inflate = context("zlib-stream")
    compressor = zlib.compressobj()
    head = compressor.compress(b"") + compressor.flush(zlib.Z_SYNC_FLUSH)
    assert inflate.one(head) is None
    assert inflate.one(b"\x00\x00\x00\xff\xff") is None
    assert inflate.one(compressor.compress(b"{}") + compressor.flush(zlib.Z_SYNC_FLUSH)) == b"{}"


def test_a_stream_that_ends_has_to_be_replaced() -> None:
    for compression, ended in (
        ("zlib-stream", zlib.compress(b"{}") + b"\x00\x00\xff\xff"),
        ("zstd-stream", zstandard.ZstdCompressor().compress(b"{}")),
    ):
        inflate = context(compression)
        inflate.one(ended)
        with pytest.raises(InflateError):
            inflate.one(ended)


@given(st.binary(min_size=1, max_size=200), st.sampled_from(["zstd-stream", "zlib-stream", "payload"]))
def test_garbage_is_an_error_and_never_a_crash(data: bytes, compression: str) -> None:
    inflate = context(compression)
    with contextlib.suppress(InflateError, UnreadableError):
        inflate.one(data)
    with contextlib.suppress(InflateError, UnreadableError):
        inflate.one(data + b"\x00\x00\xff\xff")


@streams
def test_each_connection_has_a_context_of_its_own(compression: str) -> None:
    first, second = STREAMS[compression]([b"one", b"two"])
    inflate, other = context(compression), context(compression)
    assert inflate.one(first) == b"one"
    with pytest.raises(InflateError):
        other.one(second)


def test_payload_compression_leaves_text_alone_and_inflates_each_blob_by_itself() -> None:
    inflate = context("payload")
    blob = zlib.compress(b'{"op":0}')
    assert [inflate.one(blob), inflate.one(b'{"op":11}'), inflate.one(blob)] == [
        b'{"op":0}',
        b'{"op":11}',
        b'{"op":0}',
    ]


def test_a_broken_blob_costs_itself_and_not_the_connection() -> None:
    inflate = context("payload")
    blob = zlib.compress(b'{"op":0}')
    for broken in (blob[:-1], blob[:5], b"", blob[:-1] + b"\x00", b"no zlib"):
        with pytest.raises(UnreadableError):
            inflate.one(broken)
    assert inflate.one(blob) == b'{"op":0}'


@pytest.mark.parametrize("compression", ["zstd-stream", "zlib-stream", "payload"])
def test_a_message_that_would_inflate_without_bound_is_refused_before_it_does(compression: str) -> None:
    bomb = b"\x00" * (8 * LONGEST_INFLATED)
    if compression == "payload":
        message = zlib.compress(bomb)
    else:
        (message,) = STREAMS[compression]([bomb])
    del bomb
    inflate = context(compression)
    tracemalloc.start()
    try:
        with pytest.raises((InflateError, UnreadableError), match=str(LONGEST_INFLATED)):
            inflate.one(message)
        # Blocks of growing size and the joined whole may both be there for a moment.
        assert tracemalloc.get_traced_memory()[1] < 3 * LONGEST_INFLATED
    finally:
        tracemalloc.stop()


def test_a_zlib_message_without_an_end_is_bounded() -> None:
    inflate = context("zlib-stream")
    part = bytes(LONGEST_INFLATED // 4)
    with pytest.raises(InflateError, match="without an end"):
        for _ in range(5):
            assert inflate.one(part) is None


def test_only_the_streams_stand_in_the_url_and_none_needs_no_context() -> None:
    assert {name: query_value(name) for name in COMPRESSIONS} == {
        "none": None,
        "payload": None,
        "zlib-stream": "zlib-stream",
        "zstd-stream": "zstd-stream",
    }
    assert new_inflate("none") is None
    with pytest.raises(ValueError, match='"brotli" is not one of none, payload, zlib-stream'):
        new_inflate("brotli")
