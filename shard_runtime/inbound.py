"""The way in: from a connection's frames to the sink.

Every event of the gateway passes through :meth:`Inbound.on_frame`, so a dispatch costs a walk over its envelope and a
handful of steps, and leaves nothing behind but what the sink keeps.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final, Protocol

from shard_runtime.connection.inflate import Inflate, InflateError
from shard_runtime.ports import WebSocket
from shard_runtime.protocol.envelope import Envelope, UnreadableError, read_envelope
from shard_runtime.protocol.guilds import GUILD_FLOW
from shard_runtime.protocol.session import SESSION_DISPATCHES, SessionMachine
from shard_runtime.shard_ports import ShardSink

_SESSION: Final = 1
_GUILD: Final = 2
_SPECIAL: Final[dict[str | None, int]] = {
    **dict.fromkeys(SESSION_DISPATCHES, _SESSION),
    **dict.fromkeys(GUILD_FLOW, _GUILD),
}


class Owner(Protocol):
    """The shard, as its connection sees it."""

    def control(self, envelope: Envelope, payload: bytes) -> None:
        """Everything but the dispatches that went to the sink."""

    def guild_changed(self, name: str, payload: bytes) -> None:
        """A GUILD_CREATE or GUILD_DELETE went to the sink."""

    def garbled(self, error: Exception, *, stream_broken: bool) -> None: ...

    def failed(self, error: Exception) -> None:
        """A sink, or the shard itself, raised."""

    def closed(self, code: int | None, reason: str) -> None: ...


class Inbound:
    """One connection's frames, until the shard leaves it or it ends."""

    __slots__ = (
        "_early",
        "_heartbeat",
        "_inflate",
        "_machine",
        "_open",
        "_owner",
        "_shard",
        "_sink",
        "_socket",
        "gone",
        "paused",
    )

    def __init__(
        self, *, shard: int, machine: SessionMachine, sink: ShardSink, inflate: Inflate | None, owner: Owner
    ) -> None:
        self._shard = shard
        self._machine = machine
        self._heartbeat = machine.heartbeat
        self._sink = sink
        self._inflate = inflate
        self._owner = owner
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

    def pause(self, paused: bool) -> None:
        """Stop reading, or go on; harmless when repeated."""
        if self._socket is None or paused == self.paused:
            return
        self.paused = paused
        self._heartbeat.heard = True  # silence that is our own doing is no sign of a dead peer
        if paused:
            self._socket.pause_reading()
        else:
            self._socket.resume_reading()

    # --- ports.FrameListener ----------------------------------------------------------------------------------------

    def on_frame(self, data: bytes, binary: bool) -> None:
        if not self._open:
            if self._early is not None:
                self._early.append(lambda: self.on_frame(data, binary))
            return
        try:
            self._heartbeat.heard = True
            payload = data
            if self._inflate is not None:
                inflated = self._inflate(data, binary)
                if inflated is None:
                    return  # a part of a payload
                payload = inflated
            envelope = read_envelope(payload)
            machine = self._machine
            name, sequence = envelope.t, envelope.s
            special = _SPECIAL.get(name)
            if machine.receiving and envelope.op == 0 and special is not _SESSION:
                if sequence is None or name is None or machine.session_id is None:
                    raise UnreadableError("a dispatch without s or t")
                step = sequence - machine.sequence
                if step != 1:
                    if step <= 0:
                        machine.repeated += 1
                        return
                    machine.missed += step - 1
                    self._sink.sequences_missing(self._shard, machine.session_id, machine.sequence + 1, sequence - 1)
                self._sink.dispatch(self._shard, machine.session_id, sequence, name, payload)
                machine.sequence = sequence
                if special is not None:
                    self._owner.guild_changed(name, payload)
            else:
                self._owner.control(envelope, payload)
        except UnreadableError as error:
            self._owner.garbled(error, stream_broken=False)
        except InflateError as error:
            self._owner.garbled(error, stream_broken=True)
        except Exception as error:  # noqa: BLE001 — whatever a sink raises is the shard's to recover from
            self._owner.failed(error)

    def on_closed(self, code: int | None, reason: str) -> None:
        self.gone.set()
        if self._open:
            self._open = False
            self._owner.closed(code, reason)
        elif self._early is not None:
            self._early.append(lambda: self.on_closed(code, reason))
