"""The control API: guilds, load, faults, single events and the ground truth, as JSON below ``/control``.

Pure like the gateway: a request in, an answer out. It needs no token, since the simulator holds nothing worth one.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, TypeVar

import msgspec

from discord_simulator.events import Event
from discord_simulator.faults import Fault, UnknownFaultError, inject
from discord_simulator.gateway import Gateway
from discord_simulator.traffic import Load, Traffic
from discord_simulator.truth import Counters
from discord_simulator.wire import Answer, Request, answer, refused

_MOST_GUILDS: Final = 200_000


class GuildsChange(msgspec.Struct, rename="camel", kw_only=True, forbid_unknown_fields=True):
    """What ``POST /control/guilds`` takes; several changes happen in this order."""

    add: int = 0
    remove: int = 0
    """The guilds joined last leave first."""
    unavailable: int | None = None
    """So many guilds, in the order of joining, are in an outage; all others are not. Absent: no change."""


class GuildsAnswer(msgspec.Struct, rename="camel", kw_only=True):
    count: int
    unavailable: int
    ids: list[str]


class EventRequest(msgspec.Struct, rename="camel", kw_only=True, forbid_unknown_fields=True):
    """What ``POST /control/events`` takes: one event, sent as it is."""

    name: str
    d: msgspec.Raw
    guild: str | None = None
    """Id of the guild it belongs to; absent: shard 0. The body is not looked into."""
    repeat: int = 1
    unique: bool = True
    """False: other events may have the same body, so that it is judged by count."""


class LoadAnswer(msgspec.Struct, rename="camel", kw_only=True):
    load: Load | None
    made: int


class ReadySessions(msgspec.Struct, rename="camel", kw_only=True):
    """Sessions of one shard count."""

    sessions: int
    connected: int
    shards: int
    """Distinct shards among those connected."""


class BudgetAnswer(msgspec.Struct, rename="camel", kw_only=True):
    total: int
    remaining: int
    max_concurrency: int


class Summary(msgspec.Struct, rename="camel", kw_only=True):
    """``GET /control/truth?summary=1``: cheap enough to ask for every second."""

    now: int
    counters: Counters
    sent: int
    """Distinct countable events that were sent to any session so far."""
    guilds: int
    connections: int
    lagging: int
    """Events on their way to sessions that are delayed or stalled."""
    sessions: dict[str, ReadySessions]
    """By shard count."""
    budget: BudgetAnswer
    load: Load | None


_Body = TypeVar("_Body")


class Control:
    def __init__(self, *, gateway: Gateway, traffic: Traffic) -> None:
        self._gateway = gateway
        self._traffic = traffic
        self._handlers: dict[tuple[str, str], Callable[[Request], Answer]] = {
            ("GET", "/control/guilds"): self._list_guilds,
            ("POST", "/control/guilds"): self._change_guilds,
            ("GET", "/control/load"): self._show_load,
            ("POST", "/control/load"): self._change_load,
            ("POST", "/control/events"): self._emit,
            ("POST", "/control/faults"): self._fault,
            ("GET", "/control/truth"): self._truth,
            ("DELETE", "/control/truth"): self._forget,
        }

    def handle(self, request: Request) -> Answer:
        """Answer one control call; 400 with a sentence for a body that does not fit."""
        handler = self._handlers.get((request.method, request.path))
        if handler is None:
            known = ", ".join(f"{method} {path}" for method, path in self._handlers)
            return refused(404, f"{request.method} {request.path} is not one of {known}")
        try:
            return handler(request)
        except (msgspec.DecodeError, UnknownFaultError) as problem:
            return refused(400, f"{request.path}: {problem}")

    def summary(self) -> Summary:
        gateway = self._gateway
        budget = gateway.application.budget(gateway.now())
        by_count: dict[str, ReadySessions] = {}
        shards: dict[str, set[int]] = {}
        for session in gateway.sessions.all():
            row = by_count.setdefault(str(session.count), ReadySessions(sessions=0, connected=0, shards=0))
            row.sessions += 1
            if session.connection is not None:
                row.connected += 1
                shards.setdefault(str(session.count), set()).add(session.shard)
        for count, row in by_count.items():
            row.shards = len(shards.get(count, ()))
        return Summary(
            now=round(gateway.now() * 1000),
            counters=gateway.truth.counters,
            sent=gateway.truth.counters.sent,
            guilds=len(gateway.roster),
            connections=len(gateway.connections),
            lagging=sum(session.lag.waiting() for session in gateway.sessions.all()),
            sessions=by_count,
            budget=BudgetAnswer(total=budget.total, remaining=budget.remaining, max_concurrency=budget.max_concurrency),
            load=self._traffic.load,
        )

    def _list_guilds(self, request: Request) -> Answer:
        del request
        guilds = self._gateway.roster.all()
        return answer(
            GuildsAnswer(
                count=len(guilds),
                unavailable=sum(not guild.available for guild in guilds),
                ids=[str(guild.id) for guild in guilds],
            )
        )

    def _change_guilds(self, request: Request) -> Answer:
        change = _decode(request, GuildsChange)
        if not 0 <= change.add <= _MOST_GUILDS or change.remove < 0 or (change.unavailable or 0) < 0:
            return refused(400, f"add must be 0..{_MOST_GUILDS}, remove and unavailable not negative")
        for _ in range(change.add):
            self._gateway.broadcast.join_guild()
        for guild in self._gateway.roster.all()[::-1][: change.remove]:
            self._gateway.broadcast.leave_guild(guild)
        if change.unavailable is not None:
            for index, guild in enumerate(self._gateway.roster.all()):
                self._gateway.broadcast.set_available(guild, index >= change.unavailable)
        return self._list_guilds(request)

    def _show_load(self, request: Request) -> Answer:
        del request
        return answer(LoadAnswer(load=self._traffic.load, made=self._traffic.made))

    def _change_load(self, request: Request) -> Answer:
        self._traffic.change(_decode(request, Load))
        return self._show_load(request)

    def _emit(self, request: Request) -> Answer:
        event = _decode(request, EventRequest)
        guild = int(event.guild) if event.guild is not None and event.guild.isdecimal() else 0
        for _ in range(event.repeat):
            self._gateway.broadcast.emit(
                Event(name=event.name, body=bytes(event.d), guild=guild),
                repeatable=not event.unique or event.repeat > 1,
            )
        return answer(self.summary())

    def _fault(self, request: Request) -> Answer:
        return answer(inject(self._gateway, _decode(request, Fault)))

    def _truth(self, request: Request) -> Answer:
        if request.query.get("summary") not in (None, "", "0"):
            return answer(self.summary())
        return answer(self._gateway.truth.truth())

    def _forget(self, request: Request) -> Answer:
        del request
        self._gateway.truth.forget()
        return answer(self.summary())


def _decode(request: Request, into: type[_Body]) -> _Body:
    return msgspec.json.decode(request.body, type=into)
