"""Faults on demand: what Discord does to clients on its bad days, aimed at all sessions or some.

Each action is a row of the table at the end. Source: docs/protocol.md, simulator checklist, "Server-side faults".
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Final

import msgspec

from discord_simulator.events import HEARTBEAT_REQUEST, RECONNECT, invalid_session
from discord_simulator.fault_windows import AIMED, WINDOWS, Target
from discord_simulator.gateway import Gateway
from discord_simulator.sessions import Session
from discord_simulator.treatment import Treatment


class Fault(msgspec.Struct, rename="camel", kw_only=True, forbid_unknown_fields=True):
    """What ``POST /control/faults`` takes. ``session``, ``shard`` and ``count`` narrow it down; none of them: all."""

    action: str
    session: str | None = None
    shard: int | None = None
    count: int | None = None
    code: int = 4000
    resumable: bool = False
    milliseconds: tuple[float, float] = (0.0, 0.0)
    """Of ``delay``, ``delayHeartbeatAcks``, and of the further copies of ``unreliable``: the least and the most."""
    per_guild: bool = False
    """Of ``delay``: keep order within a guild only."""
    drop: float = 0.0
    duplicate: float = 0.0
    """Of ``unreliable``: chances from 0 to 1."""
    enabled: bool = True
    """Of ``shuffleKeys``."""
    seconds: float = 0.0
    status: int = 500
    times: int | None = None
    """Of the faults with a duration: they also end after having struck so often."""
    remaining: int = 0

    @property
    def target(self) -> Target:
        return Target(session=self.session, shard=self.shard, count=self.count)

    @property
    def span(self) -> tuple[float, float]:
        """``milliseconds`` in seconds."""
        return self.milliseconds[0] / 1000, self.milliseconds[1] / 1000


class FaultResult(msgspec.Struct, rename="camel"):
    affected: int
    """Sessions or connections that it struck; 0 for a window that was opened."""


class UnknownFaultError(ValueError):
    """The action is not one of the table, or it cannot be aimed."""


def inject(gateway: Gateway, fault: Fault) -> FaultResult:
    """Do *fault*. Raises :class:`UnknownFaultError` with a sentence that lists the actions."""
    if fault.action in WINDOWS:
        return _open_window(gateway, fault)
    if fault.action == "clear":
        return _clear(gateway)
    if fault.action == "budget":
        gateway.application.set_remaining(fault.remaining, gateway.now())
        return FaultResult(affected=0)
    strike = _STRIKES.get(fault.action)
    if strike is None:
        known = ", ".join(sorted({*_STRIKES, *WINDOWS, "clear", "budget"}))
        raise UnknownFaultError(f'action "{fault.action}" is not one of {known}')
    if fault.action in _TREATMENTS and fault.target.everybody:
        gateway.broadcast.treatment = _treated(gateway.broadcast.treatment, fault)
    targets = [session for session in gateway.sessions.all() if fault.target.means(session)]
    for session in targets:
        strike(gateway, session, fault)
    return FaultResult(affected=len(targets))


def _open_window(gateway: Gateway, fault: Fault) -> FaultResult:
    if fault.action not in AIMED and not fault.target.everybody:
        aimed = ", ".join(sorted(AIMED))
        raise UnknownFaultError(
            f'"{fault.action}" is for everybody: of the faults with a duration, only {aimed} take a target'
        )
    least, most = fault.span
    if fault.action == "api":
        least = most = float(fault.status)
    elif fault.action not in ("delayReady", "delayHeartbeatAcks"):
        least = most = 1.0
    gateway.faults.open(
        fault.action, seconds=fault.seconds, least=least, most=most, times=fault.times, target=fault.target
    )
    return FaultResult(affected=0)


def _clear(gateway: Gateway) -> FaultResult:
    gateway.faults.clear()
    gateway.broadcast.treatment = gateway.broadcast.usual_treatment
    for session in gateway.sessions.all():
        session.treatment = gateway.broadcast.usual_treatment
        session.lag.stalled_until = 0.0
    return FaultResult(affected=len(gateway.sessions))


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
    if session.connection is not None:
        gateway.drop(session.connection)
    gateway.end_session(session, "killed")


def _request_heartbeat(gateway: Gateway, session: Session, fault: Fault) -> None:
    del gateway, fault
    if session.connection is not None:
        session.connection.send(HEARTBEAT_REQUEST)


def _treated(treatment: Treatment, fault: Fault) -> Treatment:
    """What *treatment* becomes by a fault of ``_TREATMENTS``."""
    least, most = fault.span
    if fault.action == "delay":
        return replace(treatment, least=least, most=most, per_guild=fault.per_guild)
    if fault.action == "unreliable":
        return replace(
            treatment, drop=fault.drop, duplicate=fault.duplicate, duplicate_least=least, duplicate_most=most
        )
    return replace(treatment, shuffle_keys=fault.enabled)


def _treat(gateway: Gateway, session: Session, fault: Fault) -> None:
    del gateway
    session.treatment = _treated(session.treatment, fault)


def _stall(gateway: Gateway, session: Session, fault: Fault) -> None:
    session.lag.stalled_until = gateway.now() + fault.seconds
    gateway.schedule.at(session.lag.stalled_until, partial(gateway.broadcast.pass_lagging, session))


_TREATMENTS: Final = frozenset({"delay", "unreliable", "shuffleKeys"})
"""Without a target they are also for sessions to come."""

_STRIKES: Final[dict[str, Callable[[Gateway, Session, Fault], None]]] = {
    "close": _close,
    "drop": _drop,
    "reconnect": _reconnect,
    "invalidate": _invalidate,
    "kill": _kill,
    "requestHeartbeat": _request_heartbeat,
    "delay": _treat,
    "unreliable": _treat,
    "shuffleKeys": _treat,
    "stall": _stall,
}
