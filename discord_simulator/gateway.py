"""The gateway without sockets: connections in, payloads out, on a clock and a random source that are passed in.

How a session lives: a connection is greeted with HELLO; an IDENTIFY that passes its checks makes a session, which is
told READY and the state of its guilds; from then on every event that its intents and its shard let it see gets its
next sequence. When the connection ends the session stays, unless the client closed with 1000 or 1001, and goes on
collecting events until a RESUME or its expiry. The owner calls ``connection_opened``, ``frame_received`` and
``connection_lost`` as things happen, and ``advance`` when ``next_due`` has come. Source of every rule:
docs/protocol.md.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from random import Random

import msgspec

from discord_simulator.application import Application
from discord_simulator.bodies import MessageBodies
from discord_simulator.broadcast import Broadcast
from discord_simulator.close_codes import CLIENT_ENDS_SESSION, ENDS_SESSION, CloseCode
from discord_simulator.commands import Commands
from discord_simulator.compression import Encoder
from discord_simulator.connection import LARGEST_SEND, Connection, Transport
from discord_simulator.events import HEARTBEAT_ACK, HEARTBEAT_REQUEST, RECONNECT, hello
from discord_simulator.fault_windows import FaultWindows
from discord_simulator.guilds import GuildRoster
from discord_simulator.handshake import Handshake
from discord_simulator.schedule import Schedule
from discord_simulator.session_store import SessionStore
from discord_simulator.sessions import Session
from discord_simulator.settings import API_VERSIONS, Settings
from discord_simulator.snowflakes import SnowflakeSource
from discord_simulator.truth import GroundTruth


class _Frame(msgspec.Struct):
    op: int
    d: msgspec.Raw = msgspec.Raw(b"null")


class Gateway:
    """One application's gateway: the only entry point to the simulated Discord.

    *now* gives unix seconds that never go back.
    """

    def __init__(self, *, settings: Settings, now: Callable[[], float], random: Random) -> None:
        self.settings = settings
        self.now = now
        self.random = random
        self.application = Application(settings=settings)
        self.roster = GuildRoster(random=random, members=settings.members_per_guild)
        self.sessions = SessionStore()
        self.connections: set[Connection] = set()
        self.truth = GroundTruth(now=now, digests=settings.digests)
        self.schedule = Schedule(now=now)
        self.faults = FaultWindows(now=now)
        self.snowflakes = SnowflakeSource()
        self.messages = MessageBodies(size=settings.message_bytes)
        self.broadcast = Broadcast(
            settings=settings,
            now=now,
            random=random,
            schedule=self.schedule,
            roster=self.roster,
            sessions=self.sessions,
            truth=self.truth,
            close=self.close_session,
        )
        self._handshake = Handshake(gateway=self)
        self._commands = Commands(gateway=self)
        for _ in range(settings.guilds):
            self.roster.join()

    # --- Time ---------------------------------------------------------------------------------------------------------

    def next_due(self) -> float | None:
        """When ``advance`` is to be called next (unix seconds), None if nothing is planned."""
        return self.schedule.next_due()

    def advance(self) -> None:
        """Do all that is due by now."""
        self.schedule.run_due()

    # --- Connections --------------------------------------------------------------------------------------------------

    def connection_opened(
        self,
        transport: Transport,
        *,
        url: str,
        encoder: Encoder,
        version: str | None = None,
        encoding: str | None = None,
    ) -> Connection:
        """A websocket was opened. *url* is where the client reached us (``ws://host:port``)."""
        now = self.now()
        number = int(version) if version is not None and version.isdecimal() else 6
        connection = Connection(transport=transport, encoder=encoder, url=url, version=number, opened=now)
        self.truth.counters.connections += 1
        self.connections.add(connection)
        if (version is not None and version not in API_VERSIONS) or encoding not in (None, "json"):
            self.close(connection, CloseCode.INVALID_API_VERSION)
            return connection
        if self.faults.strikes("reconnectInsteadOfHello"):
            connection.send(RECONNECT)
        else:
            settings = self.settings
            connection.send(hello(interval_milliseconds=settings.heartbeat_interval_milliseconds, trace=settings.trace))
            self._plan_heartbeat_request(connection)
        self.schedule.at(now + self._silence_allowed(), partial(self._check_heartbeat, connection))
        return connection

    def connection_lost(self, connection: Connection, code: int | None) -> None:
        """The client closed with *code*, or the connection dropped (None)."""
        if connection.closed:
            return
        counters = self.truth.counters
        outcome = "dropped" if code is None else str(code)
        counters.raise_by_one(counters.closed_by_client, outcome)
        self._note_close("clientClose", outcome, connection)
        self._let_go(connection, end="clientClose" if code in CLIENT_ENDS_SESSION else None)

    def close(self, connection: Connection, code: int) -> None:
        """Close from the server's side; what becomes of the session follows from *code*."""
        if connection.closed:
            return
        counters = self.truth.counters
        counters.raise_by_one(counters.closed_by_server, str(code))
        self._note_close("serverClose", str(code), connection)
        self._let_go(connection, end=f"closed:{code}" if code in ENDS_SESSION else None)
        connection.transport.close(code)

    def close_session(self, session: Session, code: int) -> None:
        """Close a session's connection with *code*; one that nobody is connected to ends if the code says so."""
        if session.connection is not None:
            self.close(session.connection, code)
        elif code in ENDS_SESSION:
            self.end_session(session, f"closed:{code}")

    def drop(self, connection: Connection) -> None:
        """Cut the connection without a close frame."""
        if connection.closed:
            return
        counters = self.truth.counters
        counters.raise_by_one(counters.closed_by_server, "dropped")
        self._note_close("serverClose", "dropped", connection)
        self._let_go(connection, end=None)
        connection.transport.drop()

    def _note_close(self, what: str, outcome: str, connection: Connection) -> None:
        session = connection.session
        if session is None:
            self.truth.note(what, outcome)
        else:
            self.truth.note(what, outcome, session=session.id, shard=session.shard, count=session.count)

    def _let_go(self, connection: Connection, *, end: str | None) -> None:
        connection.closed = True
        self.connections.discard(connection)
        session = connection.session
        if session is None:
            return
        if end is not None:
            self.end_session(session, end)
            return
        self.detach(connection)

    def detach(self, connection: Connection) -> None:
        """Part a connection from its session, which waits for a RESUME until it expires."""
        session = connection.session
        if session is None:
            return
        connection.session = None
        session.connection = None
        session.detached_at = self.now()
        due = session.detached_at + self.settings.session_expiry_seconds
        self.schedule.at(due, partial(self._expire, session, session.detached_at))

    def _expire(self, session: Session, detached_at: float) -> None:
        if session.alive and session.detached_at == detached_at:
            self.end_session(session, "expired")

    def end_session(self, session: Session, how: str) -> None:
        """Forget the session; its connection, if any, stays without one."""
        if not session.alive:
            return
        session.alive = False
        self.sessions.remove(session)
        self.truth.session_ended(session.log, how)
        if session.connection is not None:
            session.connection.session = None
            session.connection = None

    def _silence_allowed(self) -> float:
        return self.settings.heartbeat_interval_milliseconds / 1000 * self.settings.heartbeat_tolerance

    def _check_heartbeat(self, connection: Connection) -> None:
        if connection.closed:
            return
        deadline = connection.last_heartbeat + self._silence_allowed()
        if self.now() < deadline:
            self.schedule.at(deadline, partial(self._check_heartbeat, connection))
            return
        self.truth.counters.heartbeat_timeouts += 1
        self.close(connection, self.settings.heartbeat_close_code)

    def _plan_heartbeat_request(self, connection: Connection, *, due: bool = False) -> None:
        """Ask for a heartbeat if that is *due*, and again at random moments, where the settings say so."""
        every = self.settings.heartbeat_request_seconds
        if every <= 0.0 or connection.closed:
            return
        if due:
            connection.send(HEARTBEAT_REQUEST)
        self.schedule.after(
            self.random.expovariate(1 / every), partial(self._plan_heartbeat_request, connection, due=True)
        )

    # --- Frames from clients ------------------------------------------------------------------------------------------

    def frame_received(self, connection: Connection, frame: bytes) -> None:
        """One message from the client, never compressed."""
        if connection.closed:
            return
        if not connection.within_send_budget(self.now()):
            self.close(connection, CloseCode.RATE_LIMITED)
            return
        try:
            if len(frame) > LARGEST_SEND:
                raise msgspec.DecodeError(f"{len(frame)} bytes")
            message = msgspec.json.decode(frame, type=_Frame)
            self._obey(connection, message)
        except (msgspec.DecodeError, UnicodeDecodeError):
            self.close(connection, CloseCode.DECODE_ERROR)

    def _obey(self, connection: Connection, message: _Frame) -> None:
        if message.op == 1:
            self._heartbeat(connection, msgspec.json.decode(message.d, type=int | None))
        elif message.op == 2:
            self._handshake.identify(connection, message.d)
        elif message.op == 6:
            self._handshake.resume(connection, message.d)
        elif message.op not in self._commands.opcodes:
            self.close(connection, CloseCode.UNKNOWN_OPCODE)
        elif connection.session is None:
            self.close(connection, CloseCode.NOT_AUTHENTICATED)
        else:
            counters = self.truth.counters
            counters.raise_by_one(counters.commands, str(message.op))
            self._commands.obey(connection.session, message.op, message.d)

    def _heartbeat(self, connection: Connection, sequence: int | None) -> None:
        connection.last_heartbeat = self.now()
        self.truth.counters.heartbeats += 1
        if self.settings.trim_replay_by_heartbeat and connection.session is not None and sequence is not None:
            connection.session.trim(sequence)
        session = connection.session
        if self.faults.strikes("dropHeartbeatAcks", session):
            return
        if session is not None and session.bursting and self.settings.acknowledgements_behind_bursts:
            session.owed_acknowledgements += 1
            return
        delay = self.faults.delay("delayHeartbeatAcks", self.random, session)
        if delay > 0.0:
            self.schedule.after(delay, partial(connection.send, HEARTBEAT_ACK))
        else:
            connection.send(HEARTBEAT_ACK)
