"""Faults on demand: what Discord does to clients on its bad days, aimed at all sessions or some.

Each action is a row of the table at the end. Source: docs/protocol.md, simulator checklist, "Server-side faults".
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Final

import msgspec

from discord_simulator.events import HEARTBEAT_REQUEST, RECONNECT, invalid_session
from discord_simulator.fault_windows import WINDOWS
from discord_simulator.gateway import Gateway
from discord_simulator.sessions import Session


class Fault(msgspec.Struct, rename="camel", kw_only=True, forbid_unknown_fields=True):
    """What ``POST /control/faults`` takes. ``session``, ``shard`` and ``count`` narrow it down; none of them: all."""

    action: str
    session: str | None = None
    shard: int | None = None
    count: int | None = None
    code: int = 4000
    resumable: bool = False
    milliseconds: tuple[float, float] = (0.0, 0.0)
    """Of ``delay``: the least and the most."""
    per_guild: bool = False
    """Of ``delay``: keep order within a guild only."""
    seconds: float = 0.0
    status: int = 500
    remaining: int = 0


class FaultResult(msgspec.Struct, rename="camel"):
    affected: int
    """Sessions or connections that it struck; 0 for a window that was opened."""


class UnknownFaultError(ValueError):
    """The action is not one of the table."""


def inject(gateway: Gateway, fault: Fault) -> FaultResult:
    """Do *fault*. Raises :class:`UnknownFaultError` with a sentence that lists the actions."""
    if fault.action in WINDOWS:
        value = {"api": float(fault.status), "delayReady": fault.milliseconds[1] / 1000}.get(fault.action, 1.0)
        gateway.faults.open(fault.action, seconds=fault.seconds, value=value)
        return FaultResult(affected=0)
    if fault.action == "clear":
        gateway.faults.clear()
        gateway.broadcast.delay = (0.0, 0.0)
        for session in gateway.sessions.all():
            _set_lag(gateway, session, Fault(action="delay"))
            session.lag.stalled_until = 0.0
        return FaultResult(affected=len(gateway.sessions))
    if fault.action == "budget":
        gateway.application.set_remaining(fault.remaining, gateway.now())
        return FaultResult(affected=0)
    if fault.action == "delay" and fault.session is None and fault.shard is None and fault.count is None:
        gateway.broadcast.delay = (fault.milliseconds[0] / 1000, fault.milliseconds[1] / 1000)
    strike = _STRIKES.get(fault.action)
    if strike is None:
        known = ", ".join(sorted({*_STRIKES, *WINDOWS, "clear", "budget"}))
        raise UnknownFaultError(f'action "{fault.action}" is not one of {known}')
    targets = [session for session in gateway.sessions.all() if _meant(fault, session)]
    for session in targets:
        strike(gateway, session, fault)
    return FaultResult(affected=len(targets))


def _meant(fault: Fault, session: Session) -> bool:
    return (
        fault.session in (None, session.id)
        and fault.shard in (None, session.shard)
        and fault.count in (None, session.count)
    )


def _close(gateway: Gateway, session: Session, fault: Fault) -> None:
    if session.connection is not None:
        gateway.close(session.connection, fault.code)


def _drop(gateway: Gateway, session: Session, fault: Fault) -> None:
    del fault
    if session.connection is not None:
        gateway.drop(session.connection)


def _reconnect(gateway: Gateway, session: Session, fault: Fault) -> None:
    """Op 7; with ``seconds`` the server closes after so long if the client has not."""
    connection = session.connection
    if connection is None:
        return
    connection.send(RECONNECT)
    if fault.seconds > 0:
        gateway.schedule.after(fault.seconds, partial(gateway.close, connection, fault.code))


def _invalidate(gateway: Gateway, session: Session, fault: Fault) -> None:
    """Op 9. The connection stays; with ``d`` false the session is gone, with true it waits for a RESUME."""
    connection = session.connection
    if connection is not None:
        connection.send(invalid_session(resumable=fault.resumable))
    if not fault.resumable:
        gateway.end_session(session, "invalidated")
    elif connection is not None:
        gateway.detach(connection)


def _kill(gateway: Gateway, session: Session, fault: Fault) -> None:
    """The session is gone and nobody is told: the connection drops, and a RESUME finds nothing."""
    del fault
    connection = session.connection
    gateway.end_session(session, "killed")
    if connection is not None:
        gateway.drop(connection)


def _request_heartbeat(gateway: Gateway, session: Session, fault: Fault) -> None:
    del gateway, fault
    if session.connection is not None:
        session.connection.send(HEARTBEAT_REQUEST)


def _set_lag(gateway: Gateway, session: Session, fault: Fault) -> None:
    del gateway
    session.lag.least, session.lag.most = fault.milliseconds[0] / 1000, fault.milliseconds[1] / 1000
    session.lag.per_guild = fault.per_guild


def _stall(gateway: Gateway, session: Session, fault: Fault) -> None:
    session.lag.stalled_until = gateway.now() + fault.seconds
    gateway.schedule.at(session.lag.stalled_until, partial(gateway.broadcast.pass_lagging, session))


_STRIKES: Final[dict[str, Callable[[Gateway, Session, Fault], None]]] = {
    "close": _close,
    "drop": _drop,
    "reconnect": _reconnect,
    "invalidate": _invalidate,
    "kill": _kill,
    "requestHeartbeat": _request_heartbeat,
    "delay": _set_lag,
    "stall": _stall,
}
