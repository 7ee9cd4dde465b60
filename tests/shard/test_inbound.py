"""Frames before the shard listens, after it left, and what a dispatch costs."""

from __future__ import annotations

import random

from virtual.sinks import RecordingSink

from shard_runtime.inbound import Inbound
from shard_runtime.protocol.envelope import Envelope
from shard_runtime.protocol.session import SessionMachine


class RecordingOwner:
    def __init__(self) -> None:
        self.calls: list[str] = []

    def control(self, envelope: Envelope, payload: bytes) -> None:
        self.calls.append(f"control {envelope.op}")

    def guild_changed(self, name: str, payload: bytes) -> None:
        self.calls.append(name)

    def garbled(self, error: Exception, *, stream_broken: bool) -> None:
        self.calls.append("garbled")

    def failed(self, error: Exception) -> None:
        self.calls.append("failed")

    def closed(self, code: int | None, reason: str) -> None:
        self.calls.append(f"closed {code}")


class FakeSocket:
    def __init__(self) -> None:
        self.calls: list[str] = []

    def send(self, data: bytes) -> None:
        self.calls.append("send")

    def close(self, code: int) -> None:
        self.calls.append(f"close {code}")

    def abort(self) -> None:
        self.calls.append("abort")

    def pause_reading(self) -> None: ...

    def resume_reading(self) -> None: ...


def inbound() -> tuple[Inbound, RecordingOwner, RecordingSink]:
    owner, sink = RecordingOwner(), RecordingSink()
    machine = SessionMachine(chance=random.Random(1), watermark=sink.watermark, session_id="s", sequence=4)
    machine.receiving = True
    return Inbound(shard=0, machine=machine, sink=sink, inflate=None, owner=owner), owner, sink


HELLO = b'{"op":10,"d":{"heartbeat_interval":41250}}'
EVENT = b'{"t":"TYPING_START","s":5,"op":0,"d":{}}'


async def test_frames_and_an_end_before_the_shard_listens_come_in_order_when_it_does() -> None:
    connection, owner, sink = inbound()
    connection.on_frame(HELLO, False)
    connection.on_frame(EVENT, False)
    connection.on_closed(4004, "")
    assert owner.calls == []
    connection.attach(FakeSocket())
    assert owner.calls == ["control 10", "closed 4004"]
    assert [sequence for _, sequence, _ in sink.events] == [5]


async def test_a_left_connection_is_silent_also_about_its_end() -> None:
    connection, owner, sink = inbound()
    socket = FakeSocket()
    connection.attach(socket)
    connection.leave(4000)
    connection.on_frame(EVENT, False)
    connection.on_frame(HELLO, False)
    connection.on_closed(None, "")
    assert owner.calls == [] and sink.events == []
    assert socket.calls == ["close 4000"]
    assert connection.gone.is_set()


async def test_a_connection_left_before_it_was_attached_keeps_nothing() -> None:
    connection, owner, _ = inbound()
    connection.on_frame(HELLO, False)
    connection.leave(None)
    connection.on_closed(None, "")
    assert owner.calls == []


async def test_a_dispatch_without_a_sequence_is_garbled_and_not_handed_over() -> None:
    connection, owner, sink = inbound()
    connection.attach(FakeSocket())
    connection.on_frame(b'{"t":"TYPING_START","op":0,"d":{}}', False)
    connection.on_frame(b'{"s":5,"op":0,"d":{}}', False)
    connection.on_frame(b"[]", False)
    connection.on_frame(b"\x00\xff", True)
    assert owner.calls == ["garbled"] * 4
    assert sink.events == []
