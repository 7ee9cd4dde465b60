"""The way in: from a connection's frames to the sink.

Every event of the gateway passes through :meth:`Inbound.on_frames`, so a dispatch costs a walk over its envelope and a
handful of steps: those that a read of the socket brings in order go to the sink together.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Final, Protocol

import msgspec

from shard_runtime.connection.inflate import Inflate, InflateError
from shard_runtime.ports import WebSocket
from shard_runtime.protocol.envelope import Envelope, UnreadableError, decode_envelope, read_envelope
from shard_runtime.protocol.guilds import GUILD_FLOW
from shard_runtime.protocol.session import SESSION_DISPATCHES, SessionMachine
from shard_runtime.shard_meter import ShardMeter
from shard_runtime.shard_ports import ShardSink

_RATE_LIMITED: Final = "RATE_LIMITED"
_SPECIAL: Final = SESSION_DISPATCHES | GUILD_FLOW | {_RATE_LIMITED}
_NOT_AT_ONCE: Final = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
_NEVER: Final = -1


class Owner(Protocol):
    """The shard, as its connection sees it."""

    def control(self, envelope: Envelope, payload: bytes) -> None:
        """Everything but the dispatches that went to the sink."""

    def guild_changed(self, name: str, payload: bytes) -> None:
        """A GUILD_CREATE or GUILD_DELETE went to the sink."""

    def rate_limited(self, payload: bytes) -> None:
        """A RATE_LIMITED went to the sink."""

    def errand_came(self, name: str, payload: bytes) -> None:
        """A dispatch that the session's errands want went to the sink."""

    def garbled(self, error: Exception, *, stream_broken: bool) -> None: ...

    def failed(self, error: Exception) -> None:
        """A sink, or the shard itself, raised."""

    def closed(self, code: int | None, reason: str) -> None: ...


class Inbound:
    """One connection's frames, until the shard leaves it or it ends."""

    __slots__ = (
        "_early",
        "_errands",
        "_heartbeat",
        "_inflate",
        "_machine",
        "_meter",
        "_open",
        "_owner",
        "_shard",
        "_sink",
        "_socket",
        "gone",
        "paused",
    )

    def __init__(
        self,
        *,
        shard: int,
        machine: SessionMachine,
        sink: ShardSink,
        inflate: Inflate | None,
        owner: Owner,
        meter: ShardMeter,
    ) -> None:
        self._shard = shard
        self._machine = machine
        self._heartbeat = machine.heartbeat
        self._errands = machine.errands
        self._sink = sink
        self._inflate = inflate
        self._owner = owner
        self._meter = meter
        self._socket: WebSocket | None = None
        self._open = False
        self._early: list[Callable[[], None]] | None = []
        """What came before :meth:`attach` (HELLO often does); None once the shard listens or has left."""
        self.paused = False
        self.gone = asyncio.Event()
        """Set when the connection has ended."""

    def attach(self, socket: WebSocket) -> None:
        """Begin to listen, with what came before."""
        self._socket = socket
        self._open = True
        early, self._early = self._early or [], None
        for arrival in early:
            arrival()

    def leave(self, code: int | None) -> None:
        """Close with *code*, or drop where None, and listen no more: what is under way will be replayed."""
        self._open = False
        self._early = None
        if self._socket is not None:
            if code is None:
                self._socket.abort()
            else:
                self._socket.close(code)

    def send(self, payload: bytes) -> None:
        if self._socket is not None:
            self._socket.send(payload)

    @property
    def received_bytes(self) -> int:
        return 0 if self._socket is None else self._socket.received_bytes

    def pause(self, paused: bool) -> None:
        """Stop reading, or go on; harmless when repeated."""
        if self._socket is None or paused == self.paused:
            return
        self.paused = paused
        self._heartbeat.excused = True  # silence that is our own doing is no sign of a dead peer
        if paused:
            self._socket.pause_reading()
        else:
            self._socket.resume_reading()

    # --- ports.FrameListener ----------------------------------------------------------------------------------------

    def on_frames(self, messages: Sequence[bytes]) -> None:
        if not self._open:
            if self._early is not None:
                self._early.append(lambda: self.on_frames(messages))
            return
        self._heartbeat.heard = True
        inflate = self._inflate
        names: list[str] = []
        payloads: list[bytes] = []
        wanted = self._errands.wanted
        special = _SPECIAL | wanted if wanted else _SPECIAL
        due = self._due()
        broken: InflateError | None = None
        if inflate is not None and len(messages) > 1:
            try:
                inflated = inflate.several(messages)
            except InflateError as error:
                inflated, broken = error.before, error
            if inflated is not None:
                messages, inflate = inflated, None
        for message in messages:
            try:
                payload = message if inflate is None else inflate.one(message)
                if payload is None:
                    continue  # a part of a payload
                try:
                    envelope = decode_envelope(payload)
                except _NOT_AT_ONCE:
                    envelope = read_envelope(payload)
                name = envelope.t
                if envelope.s == due and envelope.op == 0 and name is not None and name not in special:
                    names.append(name)
                    payloads.append(payload)
                    due += 1
                    continue
                self._hand_over(names, payloads)
                self._look_at(envelope, payload)
            except UnreadableError as error:
                self._give_up(names, payloads, error, stream_broken=False)
            except InflateError as error:
                self._give_up(names, payloads, error, stream_broken=True)
            except Exception as error:  # noqa: BLE001 — whatever a sink raises is the shard's to recover from
                self._owner.failed(error)
            if not self._open:
                return
            names, payloads = [], []
            due = self._due()
        if broken is not None:
            self._give_up(names, payloads, broken, stream_broken=True)
            return
        try:
            self._hand_over(names, payloads)
        except Exception as error:  # noqa: BLE001 — as above
            self._owner.failed(error)

    def _due(self) -> int:
        """The sequence that a dispatch must have to follow the last one that was handed over."""
        machine = self._machine
        if not machine.receiving or machine.session_id is None or machine.sequence < machine.wary_until:
            return _NEVER
        return machine.sequence + 1

    def _hand_over(self, names: list[str], payloads: list[bytes]) -> None:
        """Consecutive dispatches to the sink, which has them or raises; a resume brings them again then."""
        if payloads:
            machine, count = self._machine, len(payloads)
            assert machine.session_id is not None
            self._meter.received(names)
            if self._inflate is not None:
                self._meter.inflated += sum(map(len, payloads))
            first = machine.sequence + 1
            try:
                self._sink.dispatch(self._shard, machine.session_id, first, names, payloads)
            except BaseException:
                machine.refused(first, first + count - 1)
                raise
            machine.sequence += count

    def _look_at(self, envelope: Envelope, payload: bytes) -> None:
        """All that is not the next of a session's dispatches, or concerns more than the sink."""
        machine = self._machine
        name, sequence = envelope.t, envelope.s
        if self._inflate is not None:
            self._meter.inflated += len(payload)
        if envelope.op == 0 and name is not None:
            self._meter.received([name])
        if not machine.receiving or envelope.op != 0 or name in SESSION_DISPATCHES:
            self._owner.control(envelope, payload)
            return
        if sequence is None or name is None or machine.session_id is None:
            raise UnreadableError("a dispatch without s or t")
        step = sequence - machine.sequence
        if step != 1:
            if step <= 0:
                machine.repeated += 1
                return
            unreadable, lost = machine.left_out(step - 1)
            self._sink.sequences_missing(
                self._shard, machine.session_id, machine.sequence + 1, sequence - 1, unreadable=unreadable, lost=lost
            )
            machine.sequence = sequence - 1  # told once, whatever becomes of this dispatch
        if machine.gives_up(sequence):
            self._sink.given_up(self._shard, machine.session_id, sequence, name)
            machine.sequence = sequence
            return
        try:
            self._sink.dispatch(self._shard, machine.session_id, sequence, [name], [payload])
        except BaseException:
            machine.refused(sequence, sequence)
            raise
        machine.sequence = sequence
        if name in GUILD_FLOW:
            self._owner.guild_changed(name, payload)
        elif name == _RATE_LIMITED:
            self._owner.rate_limited(payload)
        if name in self._errands.wanted:
            self._owner.errand_came(name, payload)

    def _give_up(self, names: list[str], payloads: list[bytes], error: Exception, *, stream_broken: bool) -> None:
        """A message is no payload; what came before it is handed over."""
        try:
            self._hand_over(names, payloads)
        except Exception as failure:  # noqa: BLE001 — whatever a sink raises is the shard's to recover from
            self._owner.failed(failure)
        else:
            self._owner.garbled(error, stream_broken=stream_broken)

    def on_closed(self, code: int | None, reason: str) -> None:
        self.gone.set()
        if self._open:
            self._open = False
            self._owner.closed(code, reason)
        elif self._early is not None:
            self._early.append(lambda: self.on_closed(code, reason))
