"""From one event to every session that sees it, and from a new session to the state of its guilds.

Discord's guild process makes an event once and copies it to the process of each session; how long the copy takes is
the session's lag, and a session gives the copy its sequence when it arrives. Source: docs/protocol.md, "Two sessions,
same guild".
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from random import Random
from typing import Final

from discord_simulator.events import Event, EventKind
from discord_simulator.guilds import Guild, GuildRoster, guild_create_body, guild_delete_body
from discord_simulator.intents import GUILDS
from discord_simulator.schedule import Schedule
from discord_simulator.session_store import SessionStore
from discord_simulator.sessions import Session
from discord_simulator.settings import Settings
from discord_simulator.truth import GroundTruth

_START_UP_STEP: Final = 25
"""Guilds of a start-up burst that are sent in one go; live events get between the goes."""


class Broadcast:
    def __init__(
        self,
        *,
        settings: Settings,
        now: Callable[[], float],
        random: Random,
        schedule: Schedule,
        roster: GuildRoster,
        sessions: SessionStore,
        truth: GroundTruth,
    ) -> None:
        self._settings = settings
        self._now = now
        self._random = random
        self._schedule = schedule
        self._roster = roster
        self._sessions = sessions
        self._truth = truth
        self.delay = (0.0, 0.0)
        """Least and most seconds that an event takes to reach a session started from now on."""

    def emit(self, event: Event, *, repeatable: bool = False) -> None:
        """Send one event to every session that sees it. *repeatable*: others may have the same name and body."""
        seeing = [session for session in self._sessions.seeing(event.guild) if event.visible_to(session.intents)]
        if not seeing:
            return
        if event.kind is EventKind.BROADCAST:
            self._truth.number(event, repeatable=repeatable)
        for session in seeing:
            if session.lag.idle:
                session.dispatch(event)
                continue
            lag = session.lag
            delay = lag.least + (lag.most - lag.least) * self._random.random()
            self._schedule.at(lag.hold(event, delay=delay, now=self._now()), partial(self.pass_lagging, session))

    def pass_lagging(self, session: Session) -> None:
        """Dispatch what the session's lag has held back long enough."""
        if not session.alive:
            return
        for event in session.lag.due(self._now()):
            session.dispatch(event)

    def start_up(self, session: Session, guilds: list[Guild]) -> None:
        """After READY: the state of each of *guilds*, in any order and without an end mark."""
        session.lag.least, session.lag.most = self.delay
        if session.intents & GUILDS:
            ids = [guild.id for guild in guilds]
            self._random.shuffle(ids)
            self._start_up_step(session, ids)

    def _start_up_step(self, session: Session, guilds: list[int]) -> None:
        if not session.alive:
            return
        for id in guilds[:_START_UP_STEP]:
            guild = self._roster.get(id)
            if guild is None:
                continue
            name, body = self._state(guild)
            session.dispatch(Event(name=name, body=body, guild=guild.id, kind=EventKind.SNAPSHOT))
        if len(guilds) > _START_UP_STEP:
            pause = _START_UP_STEP / self._settings.burst_guilds_per_second
            self._schedule.after(pause, partial(self._start_up_step, session, guilds[_START_UP_STEP:]))

    def _state(self, guild: Guild) -> tuple[str, bytes]:
        if not guild.available:
            return "GUILD_DELETE", guild_delete_body(guild, outage=True)
        return "GUILD_CREATE", guild_create_body(guild, size=self._settings.guild_bytes, unavailable=False)

    def join_guild(self) -> Guild:
        """The bot joins a guild: a genuine GUILD_CREATE, without ``unavailable``."""
        guild = self._roster.join()
        body = guild_create_body(guild, size=self._settings.guild_bytes, unavailable=None)
        self.emit(Event(name="GUILD_CREATE", body=body, guild=guild.id))
        return guild

    def leave_guild(self, guild: Guild) -> None:
        """The bot is removed from a guild."""
        self._roster.leave(guild.id)
        self.emit(Event(name="GUILD_DELETE", body=guild_delete_body(guild, outage=False), guild=guild.id))

    def set_available(self, guild: Guild, available: bool) -> None:
        """A guild's outage begins or ends."""
        if guild.available == available:
            return
        self._roster.set_available(guild, available)
        name, body = self._state(guild)
        self.emit(Event(name=name, body=body, guild=guild.id), repeatable=True)
