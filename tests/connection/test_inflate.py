"""Compression of a connection, as Discord's servers produce it."""

from __future__ import annotations

import contextlib
import json

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from shard_runtime.connection.inflate import InflateError, new_inflate


def compress_stream(payloads: list[bytes]) -> list[bytes]:
    """One frame that never ends, flushed after each payload."""
    compressor = zstandard.ZstdCompressor().compressobj()
    return [compressor.compress(data) + compressor.flush(zstandard.COMPRESSOBJ_FLUSH_BLOCK) for data in payloads]


@given(st.lists(st.binary(max_size=2000) | st.just(b"same " * 100), max_size=20))
def test_one_message_is_one_payload_over_a_shared_context(payloads: list[bytes]) -> None:
    inflate = new_inflate("zstd-stream")
    assert inflate is not None
    assert [inflate(message) for message in compress_stream(payloads)] == payloads


def test_a_payload_of_megabytes() -> None:
    inflate = new_inflate("zstd-stream")
    assert inflate is not None
    big = json.dumps({"members": [{"id": str(number)} for number in range(200_000)]}).encode()
    assert [inflate(message) for message in compress_stream([big, b"{}"])] == [big, b"{}"]


@given(st.binary(min_size=1, max_size=200))
def test_garbage_is_an_inflate_error_and_never_a_crash(data: bytes) -> None:
    inflate = new_inflate("zstd-stream")
    assert inflate is not None
    with contextlib.suppress(InflateError):
        inflate(data)


def test_each_connection_has_a_context_of_its_own() -> None:
    first, second = compress_stream([b"one", b"two"])
    inflate, other = new_inflate("zstd-stream"), new_inflate("zstd-stream")
    assert inflate is not None and other is not None
    assert inflate(first) == b"one"
    with pytest.raises(InflateError):
        other(second)


def test_none_is_none_and_what_does_not_work_yet_says_so() -> None:
    assert new_inflate("none") is None
    for name in ("zlib-stream", "payload", "brotli"):
        with pytest.raises(ValueError, match=f'spec.compression: "{name}" is not supported'):
            new_inflate(name)
