"""Compression of a connection, as Discord's servers produce it."""

from __future__ import annotations

import contextlib
import json
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
    assert [inflate(message) for message in STREAMS[compression](payloads)] == payloads


@streams
def test_a_payload_of_megabytes(compression: str) -> None:
    inflate = context(compression)
    big = json.dumps({"members": [{"id": str(number)} for number in range(200_000)]}).encode()
    assert [inflate(message) for message in STREAMS[compression]([b"[]", big, b"{}"])] == [b"[]", big, b"{}"]


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
        assert [inflate(part) for part in parts] == [None] * (len(parts) - 1) + [payload]


def test_a_zlib_suffix_may_be_split_byte_by_byte() -> None:
    inflate = context("zlib-stream")
    first, second = zlib_stream([b"one", b"two"])
    answers = [inflate(first[at : at + 1]) for at in range(len(first))]
    assert answers == [None] * (len(first) - 1) + [b"one"]
    assert inflate(second) == b"two"


def test_a_flush_without_a_payload_is_nothing() -> None:
    inflate = context("zlib-stream")
    compressor = zlib.compressobj()
    head = compressor.compress(b"") + compressor.flush(zlib.Z_SYNC_FLUSH)
    assert inflate(head) is None
    assert inflate(b"\x00\x00\x00\xff\xff") is None
    assert inflate(compressor.compress(b"{}") + compressor.flush(zlib.Z_SYNC_FLUSH)) == b"{}"


def test_a_stream_that_ends_has_to_be_replaced() -> None:
    for compression, ended in (
        ("zlib-stream", zlib.compress(b"{}") + b"\x00\x00\xff\xff"),
        ("zstd-stream", zstandard.ZstdCompressor().compress(b"{}")),
    ):
        inflate = context(compression)
        inflate(ended)
        with pytest.raises(InflateError):
            inflate(ended)


@given(st.binary(min_size=1, max_size=200), st.sampled_from(["zstd-stream", "zlib-stream", "payload"]))
def test_garbage_is_an_error_and_never_a_crash(data: bytes, compression: str) -> None:
    inflate = context(compression)
    with contextlib.suppress(InflateError, UnreadableError):
        inflate(data)
    with contextlib.suppress(InflateError, UnreadableError):
        inflate(data + b"\x00\x00\xff\xff")


@streams
def test_each_connection_has_a_context_of_its_own(compression: str) -> None:
    first, second = STREAMS[compression]([b"one", b"two"])
    inflate, other = context(compression), context(compression)
    assert inflate(first) == b"one"
    with pytest.raises(InflateError):
        other(second)


def test_payload_compression_leaves_text_alone_and_inflates_each_blob_by_itself() -> None:
    inflate = context("payload")
    blob = zlib.compress(b'{"op":0}')
    assert [inflate(blob), inflate(b'{"op":11}'), inflate(blob)] == [
        b'{"op":0}',
        b'{"op":11}',
        b'{"op":0}',
    ]


def test_a_broken_blob_costs_itself_and_not_the_connection() -> None:
    inflate = context("payload")
    blob = zlib.compress(b'{"op":0}')
    for broken in (blob[:-1], blob[:5], b"", blob[:-1] + b"\x00", b"no zlib"):
        with pytest.raises(UnreadableError):
            inflate(broken)
    assert inflate(blob) == b'{"op":0}'


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
            inflate(message)
        # Blocks of growing size and the joined whole may both be there for a moment.
        assert tracemalloc.get_traced_memory()[1] < 3 * LONGEST_INFLATED
    finally:
        tracemalloc.stop()


def test_a_zlib_message_without_an_end_is_bounded() -> None:
    inflate = context("zlib-stream")
    part = bytes(LONGEST_INFLATED // 4)
    with pytest.raises(InflateError, match="without an end"):
        for _ in range(5):
            assert inflate(part) is None


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
