"""The load generator: guilds of very unequal activity, bodies of Discord's kinds, bursts.

Activity per guild is lognormal, so that a few guilds make most of the traffic, as at Discord. Part of the events have
bodies that repeat (webhook and integration updates, reactions switched on and off), because those are the ones that are
hard to tell apart on two sessions. Events are made in small steps of time; a step that comes late makes up for it, up
to a second's worth, so the rate holds on average and an overloaded machine is not drowned.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import accumulate
from random import Random
from typing import Final

import msgspec

from discord_simulator.bodies import (
    direct_channel,
    integrations_body,
    iso_timestamp,
    presence_body,
    reaction_body,
    typing_body,
    webhooks_body,
)
from discord_simulator.events import Event
from discord_simulator.gateway import Gateway
from discord_simulator.guilds import Guild

_STEP: Final = 0.005
_STEADY_PACE: Final = 0.2
_USERS: Final = 8
_DIRECT_USERS: Final = 32


class Mix(msgspec.Struct, kw_only=True, frozen=True):
    """Relative weights by what is made."""

    MESSAGE_CREATE: float = 60
    TYPING_START: float = 10
    MESSAGE_REACTION: float = 15
    """Adds and removes by turns, of one reaction per guild and user."""
    WEBHOOKS_UPDATE: float = 8
    GUILD_INTEGRATIONS_UPDATE: float = 5
    DIRECT_MESSAGE: float = 2
    """MESSAGE_CREATE without a guild: shard 0."""
    PRESENCE_UPDATE: float = 0


class Load(msgspec.Struct, rename="camel", kw_only=True, frozen=True):
    """What ``POST /control/load`` takes; each call replaces what was running."""

    rate: float
    """Events per second over all guilds; 0 stops."""
    seconds: float | None = None
    """None: until the next call."""
    events: int | None = None
    """Stop after so many events."""
    mix: Mix = Mix()
    sigma: float = 2.0
    """Of the lognormal activity of guilds; 0 makes all guilds equal."""
    burst_probability: float = 0.02
    """That an event with a repeating body comes as a burst."""
    burst_events: int = 10
    burst_seconds: float = 0.1
    constant_guilds: float = 0.0
    """Part of the guilds in which every event has a body that repeats; always the same guilds."""
    steady_guilds: int = 0
    """So many of those have, besides, a reaction switched on and off five times a second, on top of ``rate``."""


class Traffic:
    """Makes events on the gateway's schedule."""

    def __init__(self, *, gateway: Gateway) -> None:
        self._gateway = gateway
        self._random = gateway.random
        self.load: Load | None = None
        self.made = 0
        """Events made since the last change of load, whether anybody was to see them or not."""
        self._turn = 0
        self._owed = 0.0
        self._last_step = 0.0
        self._ends = 0.0
        self._weighted_for: tuple[int, float, float] | None = None
        self._constant: set[int] = set()
        self._guilds: list[Guild] = []
        self._activity: list[float] = []
        self._reacted: set[tuple[int, int]] = set()
        self._makers: dict[str, Callable[[Guild], None]] = {
            "MESSAGE_CREATE": self._message,
            "TYPING_START": self._typing,
            "MESSAGE_REACTION": self._reaction,
            "WEBHOOKS_UPDATE": self._webhooks,
            "GUILD_INTEGRATIONS_UPDATE": self._integrations,
            "DIRECT_MESSAGE": self._direct_message,
            "PRESENCE_UPDATE": self._presence,
        }
        self._bursting: Final = frozenset({"MESSAGE_REACTION", "WEBHOOKS_UPDATE", "GUILD_INTEGRATIONS_UPDATE"})

    def change(self, load: Load) -> None:
        """Start, change or (at rate 0) stop the load."""
        self._turn += 1
        self.made = 0
        self._owed = 0.0
        if load.rate <= 0:
            self.load = None
            return
        self.load = load
        self._names = list(msgspec.structs.asdict(load.mix))
        self._weights = list(accumulate(msgspec.structs.asdict(load.mix).values()))
        now = self._gateway.now()
        self._last_step = now
        self._ends = now + (load.seconds if load.seconds is not None else float("inf"))
        self._plan(self._turn)
        if load.steady_guilds:
            self._toggle(self._turn)

    def _plan(self, turn: int) -> None:
        assert self.load is not None
        self._gateway.schedule.after(max(_STEP, 1.0 / self.load.rate), lambda: self._step(turn))

    def _step(self, turn: int) -> None:
        load = self.load
        if turn != self._turn or load is None:
            return
        now = min(self._gateway.now(), self._ends)
        self._owed = min(self._owed + load.rate * (now - self._last_step), max(load.rate, 1.0))
        self._last_step = now
        events = max(0, int(self._owed + 1e-9))
        if load.events is not None:
            events = min(events, load.events - self.made)
        self._owed -= events
        self._make(events, load)
        if now >= self._ends or (load.events is not None and self.made >= load.events):
            self.load = None
            return
        self._plan(turn)

    def _toggle(self, turn: int) -> None:
        load = self.load
        if turn != self._turn or load is None:
            return
        self._weigh_guilds(load)
        steady = [guild for guild in self._guilds if guild.id in self._constant][: load.steady_guilds]
        for guild in steady:
            self._reaction(guild)
        self._gateway.schedule.after(_STEADY_PACE, lambda: self._toggle(turn))

    def _make(self, events: int, load: Load) -> None:
        self._weigh_guilds(load)
        if not self._guilds or events <= 0:
            return
        self._timestamp = iso_timestamp(self._gateway.now())
        guilds = self._random.choices(self._guilds, cum_weights=self._activity, k=events)
        names = self._random.choices(self._names, cum_weights=self._weights, k=events)
        for guild, name in zip(guilds, names, strict=True):
            if load.events is not None and self.made >= load.events:
                return
            self.made += 1
            if guild.id in self._constant and name not in self._bursting:
                name = "WEBHOOKS_UPDATE"
            make = self._makers[name]
            make(guild)
            if name in self._bursting and self._random.random() < load.burst_probability:
                self._burst(make, guild, load)

    def _burst(self, make: Callable[[Guild], None], guild: Guild, load: Load) -> None:
        """More of the same in the same guild within a moment; they are part of the rate."""
        more = load.burst_events - 1
        if load.events is not None:
            more = min(more, load.events - self.made)
        self._owed -= more
        self.made += more
        for _ in range(more):
            self._gateway.schedule.after(
                self._random.random() * load.burst_seconds, lambda: self._make_if_member(make, guild)
            )

    def _make_if_member(self, make: Callable[[Guild], None], guild: Guild) -> None:
        if self._gateway.roster.get(guild.id) is guild and guild.available:
            make(guild)

    def _weigh_guilds(self, load: Load) -> None:
        """Give every guild its activity, anew when guilds have come or gone. A guild keeps its activity for life."""
        version = (self._gateway.roster.version, load.sigma, load.constant_guilds)
        if self._weighted_for == version:
            return
        self._weighted_for = version
        self._guilds = [guild for guild in self._gateway.roster.all() if guild.available]
        weights = []
        for guild in self._guilds:
            # The generator's own random source would give another activity at each change; the id gives the same.
            weights.append(_lognormal(guild.id, load.sigma))
        self._activity = list(accumulate(weights))
        self._constant = {
            guild.id for guild in self._guilds if Random(f"{guild.id} constant").random() < load.constant_guilds
        }

    def _message(self, guild: Guild) -> None:
        gateway = self._gateway
        body, redacted = gateway.messages.of_guild(
            message=gateway.snowflakes.next(gateway.now()),
            guild=guild,
            timestamp=self._timestamp,
            author=self._random.getrandbits(6),
        )
        gateway.broadcast.emit(Event(name="MESSAGE_CREATE", body=body, redacted=redacted, guild=guild.id))

    def _direct_message(self, guild: Guild) -> None:
        del guild
        gateway = self._gateway
        channel = direct_channel(self._random.randrange(_DIRECT_USERS))
        body = gateway.messages.direct(
            message=gateway.snowflakes.next(gateway.now()),
            channel=channel,
            timestamp=self._timestamp,
            author=self._random.getrandbits(6),
        )
        gateway.broadcast.emit(Event(name="MESSAGE_CREATE", body=body, stream=channel))

    def _typing(self, guild: Guild) -> None:
        body = typing_body(guild=guild, user=self._random.randrange(_USERS), now=self._gateway.now())
        self._gateway.broadcast.emit(Event(name="TYPING_START", body=body, guild=guild.id), repeatable=True)

    def _reaction(self, guild: Guild) -> None:
        user = self._random.randrange(_USERS)
        key = (guild.id, user)
        added = key not in self._reacted
        self._reacted ^= {key}
        name = "MESSAGE_REACTION_ADD" if added else "MESSAGE_REACTION_REMOVE"
        body = reaction_body(guild=guild, user=user, added=added)
        self._gateway.broadcast.emit(Event(name=name, body=body, guild=guild.id), repeatable=True)

    def _webhooks(self, guild: Guild) -> None:
        self._gateway.broadcast.emit(
            Event(name="WEBHOOKS_UPDATE", body=webhooks_body(guild=guild), guild=guild.id), repeatable=True
        )

    def _integrations(self, guild: Guild) -> None:
        body = integrations_body(guild=guild)
        self._gateway.broadcast.emit(
            Event(name="GUILD_INTEGRATIONS_UPDATE", body=body, guild=guild.id), repeatable=True
        )

    def _presence(self, guild: Guild) -> None:
        user = self._random.randrange(_USERS)
        body = presence_body(guild=guild, user=user, online=self._random.random() < 0.5)
        self._gateway.broadcast.emit(Event(name="PRESENCE_UPDATE", body=body, guild=guild.id), repeatable=True)


def _lognormal(seed: int, sigma: float) -> float:
    return Random(seed).lognormvariate(0.0, sigma)
