"""Frames before the shard listens, after it left, and what a dispatch costs."""

from __future__ import annotations

import random

from virtual.sinks import RecordingSink

from shard_runtime.inbound import Inbound
from shard_runtime.protocol.envelope import Envelope
from shard_runtime.protocol.session import TAKING_TRIES, SessionMachine
from shard_runtime.shard_meter import ShardMeter


class RecordingOwner:
    def __init__(self) -> None:
        self.calls: list[str] = []

    def control(self, envelope: Envelope, payload: bytes) -> None:
        self.calls.append(f"control {envelope.op}")

    def guild_changed(self, name: str, payload: bytes) -> None:
        self.calls.append(name)

    def rate_limited(self, payload: bytes) -> None:
        self.calls.append("RATE_LIMITED")

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

    @property
    def received_bytes(self) -> int:
        return 0


def inbound() -> tuple[Inbound, RecordingOwner, RecordingSink]:
    owner, sink = RecordingOwner(), RecordingSink()
    machine = SessionMachine(chance=random.Random(1), watermark=sink.watermark, session_id="s", sequence=4)
    machine.receiving = True
    return Inbound(shard=0, machine=machine, sink=sink, inflate=None, owner=owner, meter=ShardMeter()), owner, sink


HELLO = b'{"op":10,"d":{"heartbeat_interval":41250}}'
EVENT = b'{"t":"TYPING_START","s":5,"op":0,"d":{}}'


async def test_frames_and_an_end_before_the_shard_listens_come_in_order_when_it_does() -> None:
    connection, owner, sink = inbound()
    connection.on_frames([HELLO])
    connection.on_frames([EVENT])
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
    connection.on_frames([EVENT])
    connection.on_frames([HELLO])
    connection.on_closed(None, "")
    assert owner.calls == [] and sink.events == []
    assert socket.calls == ["close 4000"]
    assert connection.gone.is_set()


async def test_a_connection_left_before_it_was_attached_keeps_nothing() -> None:
    connection, owner, _ = inbound()
    connection.on_frames([HELLO])
    connection.leave(None)
    connection.on_closed(None, "")
    assert owner.calls == []


async def test_a_dispatch_without_a_sequence_is_garbled_and_not_handed_over() -> None:
    connection, owner, sink = inbound()
    connection.attach(FakeSocket())
    connection.on_frames([b'{"t":"TYPING_START","op":0,"d":{}}'])
    connection.on_frames([b'{"s":5,"op":0,"d":{}}'])
    connection.on_frames([b"[]"])
    connection.on_frames([b"\x00\xff"])
    assert owner.calls == ["garbled"] * 4
    assert sink.events == []


def dispatches(*sequences: int, name: str = "TYPING_START") -> list[bytes]:
    return [b'{"t":"%b","s":%d,"op":0,"d":{"id":"7"}}' % (name.encode(), sequence) for sequence in sequences]


async def test_messages_that_come_together_are_handed_over_in_order_around_everything_else() -> None:
    connection, owner, sink = inbound()
    connection.attach(FakeSocket())
    [created] = dispatches(7, name="GUILD_CREATE")
    messages = [*dispatches(5, 6), created, HELLO, *dispatches(8, 8, 6, 11, 12), b"[]", *dispatches(13)]
    connection.on_frames(messages)
    assert [sequence for _, sequence, _ in sink.events] == [5, 6, 7, 8, 11, 12, 13]
    assert sink.payloads == [*dispatches(5, 6), created, *dispatches(8, 11, 12, 13)]
    assert owner.calls == ["GUILD_CREATE", "control 10", "garbled"]
    assert (connection._machine.sequence, connection._machine.repeated, connection._machine.missed) == (13, 2, 2)


async def test_what_came_before_an_unreadable_message_is_handed_over_and_what_comes_after_a_leave_is_not() -> None:
    connection, owner, sink = inbound()
    connection.attach(FakeSocket())

    def garbled(error: Exception, *, stream_broken: bool) -> None:
        owner.calls.append("garbled")
        connection.leave(4000)

    owner.garbled = garbled  # type: ignore[method-assign]
    connection.on_frames([*dispatches(5, 6), b"nonsense", *dispatches(7)])
    assert [sequence for _, sequence, _ in sink.events] == [5, 6]
    assert (owner.calls, connection._machine.sequence) == (["garbled"], 6)


async def test_nothing_of_what_a_sink_refuses_counts_as_handed_over() -> None:
    connection, owner, sink = inbound()
    connection.attach(FakeSocket())
    sink.fail_at = {6}
    connection.on_frames(dispatches(5, 6, 7))
    assert owner.calls == ["failed"]
    assert (sink.events, connection._machine.sequence) == ([], 4)
    connection.on_frames(dispatches(5, 6, 7))  # as a resume brings them again
    assert [sequence for _, sequence, _ in sink.events] == [5, 6, 7]


async def test_what_came_together_with_an_event_that_can_never_be_taken_is_handed_over() -> None:
    first, owner, sink = inbound()
    machine = first._machine
    sink.always_fail_at = {6}

    def connection_brings(*sequences: int) -> None:
        """As a resume does; the shard leaves a connection at which its own side failed."""
        connection = Inbound(shard=0, machine=machine, sink=sink, inflate=None, owner=owner, meter=ShardMeter())

        def failed(error: Exception) -> None:
            owner.calls.append("failed")
            connection.leave(4000)

        owner.failed = failed  # type: ignore[method-assign]
        connection.attach(FakeSocket())
        connection.on_frames(dispatches(*sequences))

    for _ in range(1 + TAKING_TRIES):
        connection_brings(*range(machine.sequence + 1, 9))
    assert owner.calls == ["failed"] * (1 + TAKING_TRIES), "together, and then alone"
    assert ([sequence for _, sequence, _ in sink.events], sink.dropped) == ([5], [])
    connection_brings(6, 7, 8)
    assert [sequence for _, sequence, _ in sink.events] == [5, 7, 8]
    assert sink.dropped == [("s", 6, "TYPING_START")]
    connection_brings(9, 10)
    assert (sink.events[-1][1], machine.sequence) == (10, 10)
