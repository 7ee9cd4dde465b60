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

from discord_simulator.close_codes import CloseCode
from discord_simulator.events import HEARTBEAT_ACK, Event, EventKind
from discord_simulator.guilds import Guild, GuildRoster, guild_create_body, guild_delete_body
from discord_simulator.intents import GUILDS
from discord_simulator.schedule import Schedule
from discord_simulator.session_store import SessionStore
from discord_simulator.sessions import Session
from discord_simulator.settings import Settings
from discord_simulator.treatment import Treatment
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
        close: Callable[[Session, int], None],
    ) -> None:
        """*close* ends a session's connection with a code."""
        self._settings = settings
        self._now = now
        self._random = random
        self._schedule = schedule
        self._roster = roster
        self._sessions = sessions
        self._truth = truth
        self._close = close
        self.usual_treatment = Treatment(
            drop=settings.drop_probability,
            duplicate=settings.duplicate_probability,
            shuffle_keys=settings.shuffle_keys,
        )
        """How the settings have events reach sessions."""
        self.treatment = self.usual_treatment
        """How they reach sessions that start from now on."""

    def emit(self, event: Event, *, repeatable: bool = False) -> None:
        """Send one event to every session that sees it. *repeatable*: others may have the same name and body."""
        seeing = [session for session in self._sessions.seeing(event.guild) if event.visible_to(session.intents)]
        if not seeing:
            return
        if event.kind is EventKind.BROADCAST:
            self._truth.number(event, repeatable=repeatable)
        for session in seeing:
            if session.treatment.prompt and session.lag.idle:
                session.dispatch(event)
            else:
                self._copy(event, session)

    def _copy(self, event: Event, session: Session) -> None:
        """Send *event* to one session, as often and as late as its treatment says."""
        treatment = session.treatment
        copies = treatment.copies(self._random)
        counters = self._truth.counters
        counters.dropped += not copies
        counters.doubled += max(0, len(copies) - 1)
        for later in copies:
            if later > 0.0:
                self._schedule.after(later, partial(self._send, event, session))
            else:
                self._send(event, session)

    def _send(self, event: Event, session: Session) -> None:
        treatment, lag = session.treatment, session.lag
        if not session.alive:
            return
        if lag.idle and treatment.most <= 0.0:
            session.dispatch(event)
            return
        due = lag.hold(event, per_guild=treatment.per_guild, delay=treatment.delay(self._random), now=self._now())
        self._schedule.at(due, partial(self.pass_lagging, session))

    def pass_lagging(self, session: Session) -> None:
        """Dispatch what the session's lag has held back long enough."""
        if not session.alive:
            return
        for event in session.lag.due(self._now()):
            session.dispatch(event)

    def start_up(self, session: Session, guilds: list[Guild]) -> None:
        """After READY: the state of each of *guilds*, in any order and without an end mark."""
        if session.intents & GUILDS:
            ids = [guild.id for guild in guilds]
            self._random.shuffle(ids)
            session.bursting = True
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
            return
        session.bursting = False
        for _ in range(session.owed_acknowledgements):
            if session.connection is not None:
                session.connection.send(HEARTBEAT_ACK)
        session.owed_acknowledgements = 0

    def _state(self, guild: Guild) -> tuple[str, bytes]:
        if not guild.available:
            return "GUILD_DELETE", guild_delete_body(guild, outage=True)
        return "GUILD_CREATE", guild_create_body(guild, size=self._settings.guild_bytes, unavailable=False)

    def join_guild(self) -> Guild:
        """The bot joins a guild: a genuine GUILD_CREATE, without ``unavailable``."""
        guild = self._roster.join()
        body = guild_create_body(guild, size=self._settings.guild_bytes, unavailable=None)
        self.emit(Event(name="GUILD_CREATE", body=body, guild=guild.id))
        if self._settings.close_outgrown_sessions:
            self._close_outgrown(guild)
        return guild

    def _close_outgrown(self, guild: Guild) -> None:
        """Close the sessions that *guild* has made too big."""
        for session in list(self._sessions.seeing(guild.id)):
            guilds = self._roster.of_shard(session.shard, session.count)
            if len(guilds) > self._settings.max_guilds_per_session:
                self._close(session, CloseCode.SHARDING_REQUIRED)

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
