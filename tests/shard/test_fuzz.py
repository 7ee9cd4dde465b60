"""Whatever bytes come: never a crash, never a wrong `s`."""

from __future__ import annotations

import json
import random
import zlib
from typing import Any

import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st
from virtual.sinks import RecordingSink

from shard_runtime.connection.inflate import new_inflate
from shard_runtime.inbound import Inbound
from shard_runtime.protocol.envelope import Envelope
from shard_runtime.protocol.session import SessionMachine
from shard_runtime.shard_meter import ShardMeter

SESSION = "session"
START = 100


class Owner:
    """The machine's own answers, and nothing carried out."""

    def __init__(self, machine: SessionMachine) -> None:
        self.machine = machine
        self.failures: list[Exception] = []

    def control(self, envelope: Envelope, payload: bytes) -> None:
        self.machine.control(envelope, payload, 1.0)

    def guild_changed(self, name: str, payload: bytes) -> None: ...

    def garbled(self, error: Exception, *, stream_broken: bool) -> None: ...

    def failed(self, error: Exception) -> None:
        self.failures.append(error)

    def closed(self, code: int | None, reason: str) -> None: ...


class Socket:
    def send(self, data: bytes) -> None: ...

    def close(self, code: int) -> None: ...

    def abort(self) -> None: ...

    def pause_reading(self) -> None: ...

    def resume_reading(self) -> None: ...

    @property
    def received_bytes(self) -> int:
        return 0


SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(allow_nan=False),
    st.sampled_from(["", "1", "MESSAGE_CREATE", "ÿ"]),
)
KEYS = st.sampled_from(["s", "op", "t", "d", "id", "guild_id"])
ANY = SCALARS | st.lists(SCALARS, max_size=2) | st.dictionaries(KEYS, SCALARS, max_size=2)
NAMES = st.sampled_from(
    ["MESSAGE_CREATE", "GUILD_CREATE", "GUILD_DELETE", "READY", "RESUMED", "TYPING_START", "ünïcode"]
)
SEQUENCES = st.integers(START - 5, START + 50)


@st.composite
def payloads(draw: st.DrawFn) -> bytes:
    """A payload with its keys in any order, most of them right, or wrong in one place."""
    body: dict[str, Any] = {
        "op": draw(st.sampled_from([0] * 8 + [1, 7, 9, 10, 11, 3, 99])),
        "s": draw(SEQUENCES),
        "t": draw(NAMES),
        "d": draw(st.dictionaries(KEYS, ANY, max_size=3)),
    }
    match draw(st.integers(0, 7)):
        case 0:
            body[draw(st.sampled_from(sorted(body)))] = draw(ANY)
        case 1:
            del body[draw(st.sampled_from(sorted(body)))]
        case 2:
            body["d"] = json.loads("[" * 200 + "]" * 200)
        case _:
            pass
    keys = draw(st.permutations(sorted(body)))
    indent = draw(st.sampled_from([None, None, 1]))
    return json.dumps({key: body[key] for key in keys}, ensure_ascii=draw(st.booleans()), indent=indent).encode()


@st.composite
def mutated(draw: st.DrawFn) -> bytes:
    data = draw(payloads())
    match draw(st.sampled_from(["whole"] * 4 + ["cut", "flip", "double", "tail", "deep", "noise"])):
        case "cut":
            return data[: draw(st.integers(0, len(data)))]
        case "flip":
            at = draw(st.integers(0, len(data) - 1))
            return data[:at] + bytes([draw(st.integers(0, 255))]) + data[at + 1 :]
        case "double":
            return data + data
        case "tail":
            return data + draw(st.binary(min_size=1, max_size=5))
        case "deep":
            return b'{"op":0,"s":101,"t":"X","d":' + b"[" * 5000 + b"]" * 5000 + b"}"
        case "noise":
            return draw(st.binary(max_size=60))
    return data


def sent(payload: bytes) -> tuple[int, str] | None:
    """(s, t) of *payload*, if it is a dispatch to a strict reader of JSON, whatever the bytes within texts."""
    try:
        body = json.loads(payload.decode(errors="replace"), parse_constant=lambda name: 1 / 0)
    except (ValueError, RecursionError, ZeroDivisionError):
        return None
    right = isinstance(body, dict) and type(body.get("op")) is int and body["op"] == 0
    right = right and type(body.get("s")) is int and type(body.get("t")) is str
    return (body["s"], body["t"]) if right else None


def run(
    frames: list[bytes], compression: str, *, together: bool = False
) -> tuple[RecordingSink, SessionMachine, Owner]:
    sink = RecordingSink()
    machine = SessionMachine(
        chance=random.Random(1), watermark=sink.watermark, session_id=SESSION, resume_url=None, sequence=START
    )
    machine.start(0.0)
    machine.connecting(0.0)
    machine.connected(0.0)
    hello = b'{"op":10,"d":{"heartbeat_interval":41250}}'
    machine.control(Envelope(op=10), hello, 0.0)
    owner = Owner(machine)
    connection = Inbound(
        shard=0, machine=machine, sink=sink, inflate=new_inflate(compression), owner=owner, meter=ShardMeter()
    )
    connection.attach(Socket())
    if together:
        connection.on_frames(frames)
    else:
        for data in frames:
            connection.on_frames([data])
            assert owner.failures == [], data
    assert owner.failures == []
    return sink, machine, owner


def check(sink: RecordingSink, machine: SessionMachine, owner: Owner) -> None:
    sequences = [sequence for _, sequence, _ in sink.events]
    for (session, sequence, name), payload in zip(sink.events, sink.payloads, strict=True):
        assert session == SESSION
        assert sent(payload) == (sequence, name)
    assert sequences == sorted(set(sequences))
    assert all(sequence > START for sequence in sequences)
    handed = sequences + [sequence for _, sequence in sink.passed]
    assert machine.session_id is None or machine.sequence >= max(handed, default=START)


@settings(max_examples=200, deadline=None)
@given(st.lists(mutated(), max_size=5))
def test_frames(frames: list[bytes]) -> None:
    one_by_one = run(frames, "none")
    check(*one_by_one)
    together = run(frames, "none", together=True)
    check(*together)
    assert together[0] == one_by_one[0]


@settings(max_examples=200, deadline=None)
@given(
    st.sampled_from(["payload", "zlib-stream", "zstd-stream"]),
    st.lists(st.tuples(mutated(), st.sampled_from(["whole"] * 6 + ["cut", "flip", "plain", "noise"])), max_size=8),
    st.randoms(use_true_random=False),
)
def test_compressed_frames(compression: str, frames: list[tuple[bytes, str]], chance: random.Random) -> None:
    zlib_stream = zlib.compressobj()
    zstd_stream = zstandard.ZstdCompressor().compressobj()
    messages = []
    for payload, damage in frames:
        if compression == "payload":
            data = zlib.compress(payload)
        elif compression == "zlib-stream":
            data = zlib_stream.compress(payload) + zlib_stream.flush(zlib.Z_SYNC_FLUSH)
        else:
            data = zstd_stream.compress(payload) + zstd_stream.flush(zstandard.COMPRESSOBJ_FLUSH_BLOCK)
        if damage == "cut":
            data = data[: chance.randrange(len(data) + 1)]
        elif damage == "flip" and data:
            at = chance.randrange(len(data))
            data = data[:at] + chance.randbytes(1) + data[at + 1 :]
        elif damage == "noise":
            data = chance.randbytes(chance.randrange(40)) + b"\x00\x00\xff\xff"
        messages.append(payload if damage == "plain" else data)
    check(*run(messages, compression))
    check(*run(messages, compression, together=True))


@pytest.mark.parametrize("compression", ["none", "payload", "zlib-stream", "zstd-stream"])
def test_nothing_at_all(compression: str) -> None:
    for together in (False, True):
        check(*run([b"", b"\x00", b"\x00\x00\xff\xff", b"null"], compression, together=together))


def test_the_oracle_takes_what_is_right() -> None:
    right = b'{"t":"X","d":{"s":7},"s":101,"op":0}'
    sink, machine, _ = run([right], "none")
    assert (sink.events, machine.sequence) == ([(SESSION, 101, "X")], 101)
