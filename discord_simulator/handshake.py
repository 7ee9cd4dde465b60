"""How a connection comes by a session: IDENTIFY makes one, RESUME takes an old one up.

Source: Discord, "Identifying" and "Resuming"; docs/protocol.md. The checks themselves are in ``identify_checks``.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import msgspec

from discord_simulator.close_codes import CloseCode
from discord_simulator.connection import Connection
from discord_simulator.events import Event, EventKind, invalid_session
from discord_simulator.guilds import Guild, own_user_body
from discord_simulator.identify_checks import Identify, check_identify
from discord_simulator.sessions import Session, replay_capacity

if TYPE_CHECKING:
    from discord_simulator.gateway import Gateway


class Resume(msgspec.Struct):
    """``d`` of op 6."""

    token: str
    session_id: str
    seq: int


class Handshake:
    """Opcodes 2 and 6. Both raise ``msgspec.DecodeError`` for a malformed ``d``."""

    def __init__(self, *, gateway: Gateway) -> None:
        self._gateway = gateway
        self._counters = gateway.truth.counters

    def identify(self, connection: Connection, data: msgspec.Raw) -> None:
        counters = self._counters
        counters.identify_attempts += 1
        if connection.session is not None or connection.identifying:
            self._identify_refused("twice", None)
            self._gateway.close(connection, CloseCode.ALREADY_AUTHENTICATED)
            return
        try:
            request = msgspec.json.decode(data, type=Identify)
        except msgspec.DecodeError:
            self._identify_refused("decode", None)
            raise
        if self._refused(connection, request):
            return
        counters.identifies_accepted += 1
        if request.compress:
            connection.compress_payloads()
        connection.identifying = True
        delay = self._gateway.faults.value("delayReady")
        if delay > 0.0:
            self._gateway.schedule.after(delay, partial(self._start_session, connection, request))
        else:
            self._start_session(connection, request)

    def _identify_refused(self, reason: str, request: Identify | None) -> None:
        self._counters.raise_by_one(self._counters.identifies_rejected, reason)
        shard, count = (request and request.shard) or (None, None)
        self._gateway.truth.note("identify", reason, shard=shard, count=count)

    def _refused(self, connection: Connection, request: Identify) -> bool:
        gateway, counters = self._gateway, self._counters
        shard, count = request.shard or (0, 1)
        refusal = check_identify(
            request,
            application=gateway.application,
            settings=gateway.settings,
            guilds=len(gateway.roster.of_shard(shard, count)) if count > 0 else 0,
            now=gateway.now(),
        )
        if refusal is None:
            return False
        self._identify_refused(refusal.reason, request)
        counters.bucket_violations += refusal.reason == "bucket"
        if refusal.overrun:
            self._punish_overrun()
        elif refusal.close is not None:
            gateway.close(connection, refusal.close)
        else:
            connection.send(invalid_session(resumable=False))
        return True

    def _punish_overrun(self) -> None:
        """What Discord does to an application that starts more sessions than it may."""
        gateway = self._gateway
        self._counters.budget_overruns += 1
        gateway.application.reset_token(gateway.random)
        for session in gateway.sessions.all():
            gateway.end_session(session, "tokenReset")
        for connection in list(gateway.connections):
            gateway.close(connection, CloseCode.AUTHENTICATION_FAILED)

    def _start_session(self, connection: Connection, request: Identify) -> None:
        if connection.closed:
            return
        gateway = self._gateway
        shard, count = request.shard or (0, 1)
        intents = request.intents or 0
        guilds = gateway.roster.of_shard(shard, count)
        id = f"{gateway.random.getrandbits(128):032x}"
        session = Session(
            id=id,
            shard=shard,
            count=count,
            sharded=request.shard is not None,
            intents=intents,
            capacity=gateway.settings.replay_events or replay_capacity(len(guilds)),
            treatment=gateway.broadcast.treatment,
            log=gateway.truth.session_started(id=id, shard=shard, count=count, intents=intents),
            truth=gateway.truth,
        )
        gateway.truth.note("identify", "accepted", session=id, shard=shard, count=count)
        session.compresses_payloads = bool(request.compress)
        gateway.sessions.add(session)
        connection.identifying = False
        connection.session, session.connection = session, connection
        body = self._ready_body(connection, session, guilds)
        session.dispatch(Event(name="READY", body=body, kind=EventKind.SESSION))
        gateway.broadcast.start_up(session, guilds)

    def _ready_body(self, connection: Connection, session: Session, guilds: list[Guild]) -> bytes:
        application = self._gateway.application
        ready: dict[str, object] = {
            "v": connection.version,
            "user": own_user_body(application.id),
            "session_type": "normal",
            "session_id": session.id,
            "resume_gateway_url": f"{connection.url}/resume",
            "private_channels": [],
            "guilds": [{"unavailable": True, "id": str(guild.id)} for guild in guilds],
            "application": {"id": str(application.id), "flags": 0},
            "_trace": ["simulator"],
        }
        if session.sharded:
            ready["shard"] = [session.shard, session.count]
        return msgspec.json.encode(ready)

    def resume(self, connection: Connection, data: msgspec.Raw) -> None:
        gateway = self._gateway
        if connection.session is not None or connection.identifying:
            self._resume_refused("twice", None)
            gateway.close(connection, CloseCode.ALREADY_AUTHENTICATED)
            return
        try:
            request = msgspec.json.decode(data, type=Resume)
        except msgspec.DecodeError:
            self._resume_refused("decode", None)
            raise
        session = gateway.sessions.get(request.session_id)
        if gateway.faults.strikes("resetResumes", session):
            self._resume_refused("fault", request)
            gateway.drop(connection)
        elif not gateway.application.accepts(request.token):
            self._resume_refused("token", request)
            gateway.close(connection, CloseCode.AUTHENTICATION_FAILED)
        elif session is None:
            self._resume_refused("unknown", request)
            connection.send(invalid_session(resumable=False))
        elif request.seq > session.sequence:
            self._resume_refused("sequence", request)
            gateway.end_session(session, f"closed:{CloseCode.INVALID_SEQUENCE}")
            gateway.close(connection, CloseCode.INVALID_SEQUENCE)
        elif request.seq < session.evicted_through:
            self._resume_refused("evicted", request)
            gateway.end_session(session, "evicted")
            connection.send(invalid_session(resumable=False))
        else:
            self._take_up(connection, session, request.seq)

    def _resume_refused(self, reason: str, request: Resume | None) -> None:
        self._counters.raise_by_one(self._counters.resumes_refused, reason)
        self._gateway.truth.note("resume", reason, session=None if request is None else request.session_id)

    def _take_up(self, connection: Connection, session: Session, sequence: int) -> None:
        """Replay and go on. A socket that still carries the session loses it; how Discord treats it is not known."""
        old = session.connection
        if old is not None:
            old.session = None
            self._gateway.close(old, CloseCode.UNKNOWN_ERROR)
        session.connection, connection.session = connection, session
        session.detached_at = None
        if session.compresses_payloads:
            connection.compress_payloads()
        session.log.resumes += 1
        self._counters.resumes_accepted += 1
        self._gateway.truth.note("resume", "accepted", session=session.id, shard=session.shard, count=session.count)
        for payload in session.replay(sequence):
            self._counters.replayed += 1
            connection.send(payload)
        session.dispatch(Event(name="RESUMED", body=b'{"_trace":["simulator"]}', kind=EventKind.SESSION))
