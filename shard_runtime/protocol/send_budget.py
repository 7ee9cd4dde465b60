"""What one session may send, and when.

Discord disconnects whoever sends more than 120 payloads in 60 s over one connection, and repeat offenders lose their
access; presence updates and requests for all members of a guild have limits of their own (docs/protocol.md, "Rate
limits"). Heartbeats, IDENTIFY and RESUME count too and cannot wait, so room for as many as there can be is set aside:
commands never use it, and neither do the heartbeats that Discord asks for out of turn.

All limits are sliding windows over the moments of sending. A window is somewhat longer here than Discord's, since what
we send within one may arrive closer together. Times are seconds on one monotonic clock.

https://discord.com/developers/docs/events/gateway#rate-limiting
"""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass
from typing import Final

from shard_runtime.protocol.opcodes import Opcode

SENDS: Final = 120
SENDS_SECONDS: Final = 60.0

PRESENCES: Final = 5
PRESENCES_SECONDS: Final = 20.0

ALL_MEMBERS_SECONDS: Final = 30.0
"""One request for all members of a guild in this time."""

MARGIN_SECONDS: Final = 2.0
"""How much closer together payloads may arrive than they were sent."""

LONGEST_HOLD: Final = 600.0
"""Seconds; Discord asking for more is believed this much at a time."""

HELD_AS_A_WHOLE: Final = frozenset(
    {
        Opcode.PRESENCE_UPDATE,
        Opcode.VOICE_STATE_UPDATE,
        Opcode.REQUEST_GUILD_MEMBERS,
        Opcode.REQUEST_SOUNDBOARD_SOUNDS,
        Opcode.REQUEST_CHANNEL_INFO,
    }
)
"""Opcodes that a RATE_LIMITED without a guild stops."""

HANDSHAKES: Final = 1
"""IDENTIFY or RESUME, once over a connection."""

REQUESTED_BEATS: Final = 3
"""Heartbeats out of turn, within a window, for which commands need not give way."""

LEAST_COMMANDS: Final = 10
"""Left for commands within a window, however often Discord wants to hear heartbeats."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """A payload that the bot wants sent on one session."""

    op: int
    payload: bytes
    """The whole payload, at most 4096 bytes."""
    all_members_of: int | None = None
    """The guild whose members are all asked for (op 8 with an empty query and no limit)."""


class Window:
    """At most *limit* in any *seconds*."""

    __slots__ = ("_held_until", "_limit", "_moments", "_seconds")

    def __init__(self, *, limit: int, seconds: float) -> None:
        self._limit = limit
        self._seconds = seconds
        self._moments: deque[float] = deque()
        self._held_until = float("-inf")

    def hold(self, until: float) -> None:
        """Nothing may be added before *until*, whatever has been."""
        self._held_until = max(self._held_until, until)

    def matters(self, now: float) -> bool:
        """Whether it may still say no."""
        return self._held_until > now or self.used(now) > 0

    def used(self, now: float) -> int:
        moments = self._moments
        while moments and now - moments[0] >= self._seconds:
            moments.popleft()
        return len(moments)

    def add(self, now: float) -> None:
        self.used(now)
        self._moments.append(now)

    def free_at(self, now: float, *, ahead: int, taken: int = 0) -> float:
        """When one more may be added, if *ahead* others come first and *taken* of the limit is not to be had."""
        room, used = self._limit - taken, self.used(now)
        if self._held_until > now:
            freed = self._held_until + self._seconds * (ahead // room)
            return max(freed, self._free_at(now, ahead=ahead, room=room, used=used))
        return self._free_at(now, ahead=ahead, room=room, used=used)

    def _free_at(self, now: float, *, ahead: int, room: int, used: int) -> float:
        last = used + ahead - room
        """Place, among those of the past and those ahead, of the one that has to be a window old."""
        if last < 0:
            return now
        if last < used:
            return self._moments[last] + self._seconds
        rounds, place = divmod(last, room)  # each of those ahead waits for the one that is *room* places before it
        at = self._moments[place] if place < used else now
        return at + self._seconds * (rounds + 1)

    def clear(self) -> None:
        self._moments.clear()


class SendBudget:
    """The budget of one session, over one connection after another."""

    __slots__ = ("_all_members", "_commands", "_held", "_presences", "_requested", "_set_aside")

    def __init__(self) -> None:
        self._commands = Window(limit=SENDS, seconds=SENDS_SECONDS + MARGIN_SECONDS)
        self._requested = Window(limit=SENDS, seconds=SENDS_SECONDS + MARGIN_SECONDS)
        self._presences = Window(limit=PRESENCES, seconds=PRESENCES_SECONDS + MARGIN_SECONDS)
        self._all_members: dict[int, Window] = {}
        self._held: dict[int, float] = {}
        """By opcode, until when Discord wants no more of it."""
        self._set_aside = HANDSHAKES

    def greeted(self, interval: float) -> None:
        """HELLO came over a new connection: a heartbeat is due every *interval* seconds.

        What was sent over the last connection does not count any more, but for the limits of single opcodes.
        """
        self._commands.clear()
        self._requested.clear()
        due = math.ceil((SENDS_SECONDS + MARGIN_SECONDS) / interval) + 1
        self._set_aside = min(due + HANDSHAKES, SENDS - REQUESTED_BEATS - LEAST_COMMANDS)

    def answers(self, now: float) -> bool:
        """Whether the heartbeat that Discord asks for may be sent; if so, it counts as sent."""
        if self._commands.used(now) + self._requested.used(now) + self._set_aside >= SENDS:
            return False
        self._requested.add(now)
        return True

    def free_at(self, command: Command, now: float, *, ahead: int = 0, alike: int = 0) -> float:
        """When *command* may be sent over this connection; *now* for at once.

        *ahead* commands will be sent before it, *alike* of which share the limit of its own.
        """
        taken = self._set_aside + max(REQUESTED_BEATS, self._requested.used(now))
        if taken >= SENDS:
            return now + SENDS_SECONDS
        at = self._commands.free_at(now, ahead=ahead, taken=taken)
        at = max(at, self._held.get(command.op, at))
        own = self._own_limit(command, now)
        return at if own is None else max(at, own.free_at(now, ahead=alike))

    def limited(self, *, op: int, guild: int | None, seconds: float, now: float) -> None:
        """Discord dropped a command and wants no more of its kind for *seconds*; *guild* is what RATE_LIMITED names.

        Another deployment with the same token may have used the limit up: Discord counts for the bot.
        """
        until = now + min(max(seconds, 0.0), LONGEST_HOLD)
        if op == Opcode.REQUEST_GUILD_MEMBERS and guild is not None:
            self._members_of(guild, now).hold(until)
        elif op in HELD_AS_A_WHOLE:
            self._held[op] = until

    def sent(self, command: Command, now: float) -> None:
        """*command* is sent, at a moment at which it may be."""
        self._commands.add(now)
        own = self._own_limit(command, now)
        if own is not None:
            own.add(now)

    def _own_limit(self, command: Command, now: float) -> Window | None:
        if command.op == Opcode.PRESENCE_UPDATE:
            return self._presences
        guild = command.all_members_of
        return None if guild is None else self._members_of(guild, now)

    def _members_of(self, guild: int, now: float) -> Window:
        known = self._all_members
        if guild not in known:
            # Those that have run out are forgotten here, so there are never more than a window's commands.
            self._all_members = known = {guild: window for guild, window in known.items() if window.matters(now)}
            known[guild] = Window(limit=1, seconds=ALL_MEMBERS_SECONDS + MARGIN_SECONDS)
        return known[guild]


def alike(one: Command, other: Command) -> bool:
    """Whether two commands share a limit of their own."""
    if one.op == Opcode.PRESENCE_UPDATE:
        return other.op == Opcode.PRESENCE_UPDATE
    return one.all_members_of is not None and one.all_members_of == other.all_members_of
