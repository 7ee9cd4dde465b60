"""One shard: carries out what the session machine decides, over a real or a virtual network.

Nothing is decided here. One loop lives as long as the shard and does what is due: connect, beat, time out. Frames
arrive by callback: a dispatch goes straight to the sink, everything else through the machine. Whatever fails
unexpectedly is logged and ends the connection, and the loop goes on with backoff; the session resumes from what was
handed over.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
from collections.abc import Callable
from typing import Any, Final

from gateway_hooks import Hooks
from shard_runtime import contract
from shard_runtime.connection.address import GatewayAddress
from shard_runtime.connection.inflate import check, new_inflate
from shard_runtime.contract import ShardState
from shard_runtime.inbound import Inbound
from shard_runtime.outbound import Outbound
from shard_runtime.permission import Permission
from shard_runtime.ports import Chance, Clock, Network, NetworkError, WebSocket
from shard_runtime.protocol import actions as act
from shard_runtime.protocol import close_codes, payloads
from shard_runtime.protocol.envelope import Envelope, UnreadableError
from shard_runtime.protocol.guilds import Guilds
from shard_runtime.protocol.opcodes import Opcode
from shard_runtime.protocol.send_budget import Command
from shard_runtime.protocol.session import SessionMachine
from shard_runtime.protocol.transitions import Phase
from shard_runtime.shard_meter import ShardMeter
from shard_runtime.shard_ports import Log, Permits, SavedSession, ShardOptions, ShardSink
from shard_runtime.voice import Voice

__all__ = ["Log", "Permits", "SavedSession", "Shard", "ShardOptions", "ShardSink"]

CONNECT_SECONDS: Final = 20.0
FAREWELL_SECONDS: Final = 3.0
"""How long a stop waits for the last close handshake and the last permit report."""

_STATES: Final = {
    Phase.STOPPED: ShardState.STOPPED,
    Phase.IDLE: ShardState.CONNECTING,
    Phase.CONNECTING: ShardState.CONNECTING,
    Phase.GREETING: ShardState.CONNECTING,
    Phase.WAITING: ShardState.WAITING,
    Phase.IDENTIFYING: ShardState.IDENTIFYING,
    Phase.RESUMING: ShardState.RESUMING,
    Phase.LIVE: ShardState.READY,
}


class Shard:
    """One shard of one generation. Raises ``ValueError`` for a compression that Discord does not have."""

    def __init__(
        self,
        *,
        shard_id: int,
        options: ShardOptions,
        token: Callable[[], str],
        sink: ShardSink,
        permits: Permits,
        clock: Clock,
        chance: Chance,
        network: Network,
        log: Log,
        saved: SavedSession | None = None,
        address: GatewayAddress | None = None,
        meter: ShardMeter | None = None,
        hooks: Hooks | None = None,
    ) -> None:
        """*token* is asked at each IDENTIFY and RESUME, so that a new one is used as soon as it is known. *address* may
        be shared by shards, so that they ask Discord for it once; and *meter*, so that they are measured together."""
        check(options.compression)
        self._id = shard_id
        self._options = options
        self._sink = sink
        self._clock = clock
        self._network = network
        self._log = log
        self._meter = meter or ShardMeter()
        self._address = address or GatewayAddress(
            network=network, api_url=options.api_url, gateway_url=options.gateway_url
        )
        self._machine = SessionMachine(
            chance=chance,
            watermark=sink.watermark,
            session_id=saved.session_id if saved else None,
            resume_url=saved.resume_url if saved else None,
            sequence=saved.sequence if saved else 0,
            kept=saved.kept if saved else contract.NOTHING_KEPT,
            endings=self._meter.endings,
        )
        self._guilds = Guilds.restored(saved.guilds if saved else 0)
        self._started_at = saved.started_at if saved else None
        self._received = saved.received if saved else 0
        self._connection: Inbound | None = None
        self._left: Inbound | None = None
        self._opening: asyncio.Task[WebSocket] | None = None
        self._permission = Permission(
            shard=shard_id,
            permits=permits,
            clock=clock,
            waiting=lambda: self._machine.phase is Phase.WAITING,
            granted=lambda at: self._do(self._machine.permitted(at)),
            failed=self.failed,
        )
        self._due = asyncio.Event()
        self._finished = asyncio.Event()
        self._finished.set()
        self._problem: str | None = None
        self._voice = Voice(
            shard=shard_id,
            options=options,
            token=token,
            connection=lambda: self._connection,
            identifying=lambda: self._machine.phase is Phase.IDENTIFYING,
            identified=lambda: self._do(self._machine.identify_sent(self._clock.monotonic())),
            failed=self.failed,
            meter=self._meter,
            log=log,
            hooks=hooks,
        )
        self._outbound = Outbound(
            shard=shard_id,
            budget=self._machine.budget,
            clock=clock,
            write=self._voice.send,
            wake=self._due.set,
            sent=self._machine.errands.sent,
        )

    # --- Life -------------------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Hold the shard's session until :meth:`stop`, or until a close code forbids a further try (see
        :meth:`status`). May be called again after it returned; a session that is still held is resumed."""
        machine = self._machine
        self._problem = None
        self._finished.clear()
        machine.start(self._clock.monotonic())
        try:
            while machine.phase is not Phase.STOPPED:
                try:
                    await self._turn()
                except NetworkError as error:
                    self._log("connect_failed", shard=self._id, error=str(error))
                    self._do(machine.unreachable(self._clock.monotonic()))
                except Exception as error:  # noqa: BLE001 — the outermost ladder: a shard lives on, with backoff
                    self.failed(error)
        finally:
            await self._farewell()

    async def stop(self, *, end_session: bool) -> None:
        """Close with 1000 and end the session, or with 4000 so that it can be resumed; return once :meth:`run` has."""
        self._do(self._machine.stop(end_session=end_session))
        if self._opening is not None:
            self._opening.cancel()
        await self._finished.wait()

    async def _turn(self) -> None:
        """Wait for what is due next, and do it."""
        self._due.clear()
        self._outbound.pump()
        machine = self._machine
        now = self._clock.monotonic()
        due = machine.deadline()
        if (wait := min(due, self._outbound.due()) - now) > 0:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(None if wait == math.inf else wait):
                    await self._due.wait()
        elif due > now:
            return  # room for a command came up just now
        elif machine.phase is Phase.IDLE:
            await self._connect()
        else:
            if self._connection is not None and self._connection.paused:
                machine.heartbeat.excused = True  # it may well have answered; nobody has looked
            self._do(machine.tick(now))

    async def _connect(self) -> None:
        machine = self._machine
        self._do(machine.give_up_session(self._clock.monotonic()))
        resume_url = machine.connecting(self._clock.monotonic())
        connection = Inbound(
            shard=self._id,
            machine=machine,
            sink=self._sink,
            inflate=new_inflate(self._options.compression),
            owner=self,
            meter=self._meter,
        )
        self._opening = asyncio.create_task(self._open(resume_url, connection), name=f"connect shard {self._id}")
        try:
            socket = await self._opening
        except asyncio.CancelledError:
            if self._opening.cancelled() and machine.phase is Phase.STOPPED:
                return  # by stop(), and not this task itself
            self._opening.cancel()
            raise
        finally:
            self._opening = None
        if machine.phase is not Phase.CONNECTING:
            socket.close(close_codes.KEEP_SESSION)  # stopped in the very moment
            return
        self._connection = connection
        machine.connected(self._clock.monotonic())
        connection.attach(socket)

    async def _open(self, resume_url: str | None, connection: Inbound) -> WebSocket:
        base = resume_url or await self._address.url()
        url = self._address.connection_url(base, compression=self._options.compression)
        try:
            return await self._network.connect(url, connection, timeout=CONNECT_SECONDS)
        except NetworkError:
            if resume_url is None:
                self._address.doubt()
            raise

    async def _farewell(self) -> None:
        """Let go of everything that belongs to this run, within a bounded time."""
        self._permission.give_up()
        self._voice.end()
        if self._machine.phase is not Phase.STOPPED:  # run() was cancelled
            self._do(self._machine.stop(end_session=False))
        reports = self._permission.reports
        waits: set[asyncio.Task[Any]] = {*reports}
        if self._left is not None:
            waits.add(asyncio.create_task(self._left.gone.wait(), name=f"close of shard {self._id}"))
        if waits:
            _, late = await asyncio.wait(waits, timeout=FAREWELL_SECONDS)
            for task in late - reports:
                task.cancel()
        self._finished.set()

    # --- What the machine asks for ----------------------------------------------------------------------------------

    def _do(self, actions: list[act.Action], payload: bytes = b"") -> None:
        for action in actions:
            self._carry_out(action, payload)
        if self._machine.phase is Phase.LIVE:
            self._outbound.live()
        elif self._machine.phase is Phase.STOPPED:
            self._outbound.stopped()
        else:
            self._outbound.down()
        self._due.set()  # also without actions: what is due next may have changed

    def _carry_out(self, action: act.Action, payload: bytes) -> None:
        shard, sink = self._id, self._sink
        match action:
            case act.SendHeartbeat(sequence):
                self._voice.beat(sequence)
            case act.SendIdentify():
                self._voice.identify()
            case act.SendResume(session_id, sequence):
                self._voice.resume(session_id, sequence)
            case act.Close(code):
                connection, self._connection = self._connection, None
                if connection is not None:
                    self._meter.wire += connection.received_bytes
                    connection.leave(code)
                    self._left = connection
            case act.NeedPermit():
                self._permission.ask()
            case act.PermitSettled(outcome, sent_at, arrived_at):
                self._settle_permit(outcome, sent_at, arrived_at)
            case act.Opened(ready):
                self._opened(ready, payload)
            case act.Replayed(ready):
                sink.session_started(shard, ready.session_id, payload)
            case act.Passed(session_id, sequence, missing, unreadable, lost):
                if missing:
                    sink.sequences_missing(
                        shard, session_id, sequence - missing, sequence - 1, unreadable=unreadable, lost=lost
                    )
                sink.sequence_passed(shard, session_id, sequence)
            case act.Resumed(session_id):
                self._meter.resumes += 1
                self._log("resumed", shard=shard, session=session_id, sequence=self._machine.sequence)
                sink.session_resumed(shard, session_id)
            case act.Lost(session_id, sequence, cause):
                self._log("session_lost", shard=shard, session=session_id, cause=cause)
                self._started_at = None
                self._received = 0
                sink.session_lost(shard, session_id, sequence, cause)
            case act.Stopped():
                self._stopped()

    def _opened(self, ready: payloads.Ready, payload: bytes) -> None:
        self._log("ready", shard=self._id, session=ready.session_id, guilds=len(ready.guilds))
        self._guilds = Guilds.after_ready(ready.guilds, intents=self._options.intents, now=self._clock.monotonic())
        self._started_at = self._clock.unix_milliseconds()
        self._sink.session_started(self._id, ready.session_id, payload)

    def _settle_permit(self, outcome: contract.PermitOutcome, sent_at: float, arrived_at: float | None) -> None:
        now = self._clock.monotonic()
        result = contract.PermitResult(
            outcome=outcome,
            sent_milliseconds_ago=int((now - sent_at) * 1000),
            arrived_milliseconds_ago=None if arrived_at is None else int((now - arrived_at) * 1000),
            under_way=arrived_at is None,
        )
        self._permission.settle(result)

    def _stopped(self) -> None:
        code = self._machine.close_code
        if code is not None and close_codes.after_close(code) is close_codes.After.STOP:
            self._problem = close_codes.problem(
                code, shard=self._id, shard_count=self._options.shard_count, intents=self._options.intents
            )
        self._log("stopped", shard=self._id, close_code=code, problem=self._problem)

    # --- inbound.Owner: what a connection brings --------------------------------------------------------------------

    def control(self, envelope: Envelope, payload: bytes) -> None:
        self._do(self._machine.control(envelope, payload, self._clock.monotonic()), payload)
        if envelope.op == Opcode.HEARTBEAT_ACK and (latency := self._machine.heartbeat.latency) is not None:
            self._meter.beats.observe(latency)

    def guild_changed(self, name: str, payload: bytes) -> None:
        try:
            news = payloads.read_guild_news(payload)
        except UnreadableError as error:
            self._log("guild_unreadable", shard=self._id, name=name, error=str(error))
            return
        if name == "GUILD_CREATE":
            self._guilds.created(news)
        else:
            self._guilds.deleted(news)

    def rate_limited(self, payload: bytes) -> None:
        try:
            limited = payloads.read_limited(payload)
        except UnreadableError as error:
            self._log("rate_limit_unreadable", shard=self._id, error=str(error))
            return
        now = self._clock.monotonic()
        self._machine.budget.limited(op=limited.op, guild=limited.guild, seconds=limited.seconds, now=now)
        self._due.set()  # commands that wait have to wait longer

    def errand_came(self, name: str, payload: bytes) -> None:
        session = self._machine.session_id
        if session is not None:
            self._machine.errands.came(name, payload, session=session, now=self._clock.monotonic())

    def garbled(self, error: Exception, *, stream_broken: bool) -> None:
        self._log("frame_unreadable", shard=self._id, sequence=self._machine.sequence, error=str(error))
        self._do(self._machine.garbled(self._clock.monotonic(), stream_broken=stream_broken))

    def failed(self, error: Exception) -> None:
        self._log("shard_failed", shard=self._id, error=f"{type(error).__name__}: {error}")
        self._do(self._machine.failed(self._clock.monotonic()))

    def closed(self, code: int | None, reason: str) -> None:
        self._meter.closed(code)
        if self._connection is not None:
            self._meter.wire += self._connection.received_bytes
        self._connection = None
        self._log("closed", shard=self._id, code=code, reason=reason[:200])
        self._do(self._machine.closed(code, self._clock.monotonic()))

    # --- What others want to know -----------------------------------------------------------------------------------

    async def command(self, command: Command) -> None:
        """Send *command* on the live session, within Discord's limits; return once it is sent.

        Raises :class:`~shard_runtime.outbound.NoSessionError` or :class:`~shard_runtime.outbound.BusyError` for one
        that cannot be sent within some seconds.
        """
        await self._outbound.send(command)
        self._meter.commands += 1

    def pause_reading(self, paused: bool) -> None:
        """Stop reading, or go on. Heartbeats go on in any case; a session that is not live yet is always read."""
        if self._connection is not None and (not paused or self._machine.phase is Phase.LIVE):
            self._connection.pause(paused)

    def probe(self, wanted: bool) -> None:
        """Make sure often that the session is there, within Discord's limits, or no more."""
        self._machine.probe(wanted, self._clock.monotonic())
        self._due.set()

    def hurry(self) -> None:
        """Make sure now that the session is there, within Discord's limits."""
        self._machine.hurry(self._clock.monotonic())
        self._due.set()

    @property
    def kept(self) -> contract.Kept:
        """What the session has for its bot besides events."""
        return self._machine.errands.kept

    def awaited(self) -> int:
        """How many requests on the session have no complete answer yet."""
        return self._machine.errands.awaited(self._clock.monotonic())

    @property
    def guilds(self) -> int:
        return self._guilds.count

    @property
    def sequence(self) -> int:
        """The last sequence of the session that was handed over."""
        return self._machine.sequence

    @property
    def received_bytes(self) -> int:
        """On the connection that there is now."""
        return 0 if self._connection is None else self._connection.received_bytes

    def saved(self) -> SavedSession | None:
        """The session as another process would resume it; None where none is held."""
        machine = self._machine
        if machine.session_id is None or self._started_at is None:
            return None
        return SavedSession(
            session_id=machine.session_id,
            resume_url=machine.resume_url,
            sequence=self._sink.watermark(machine.session_id) or 0,
            guilds=self._guilds.count,
            started_at=self._started_at,
            received=max(self._received, machine.sequence),
            kept=machine.errands.kept,
        )

    def status(self) -> contract.ShardStatus:
        """A snapshot; ``queued`` is the delivery's to fill in."""
        machine, now = self._machine, self._clock.monotonic()
        session = machine.session_id
        latency = machine.heartbeat.latency
        age = None if self._started_at is None else (self._clock.unix_milliseconds() - self._started_at) / 1000
        return contract.ShardStatus(
            id=self._id,
            state=_STATES[machine.phase],
            settled=session is not None and self._guilds.settled(now),
            session_seconds=age,
            sequence=None if session is None else machine.sequence,
            watermark=None if session is None else self._sink.watermark(session),
            guilds=self._guilds.count,
            heartbeat_milliseconds=None if latency is None else latency * 1000,
            silent_seconds=machine.heartbeat.silent_seconds(now),
            behind_seconds=machine.heartbeat.behind_seconds(now),
            identifies=machine.identifies,
            resumes=machine.resumes,
            close_code=machine.close_code,
            problem=self._problem,
        )
