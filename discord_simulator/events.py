"""An event as one object, however many sessions it goes to.

Discord produces an event once and copies it to every session that may see it; so does the simulator. The event's
number is known to the ground truth alone and never appears in a body, because Discord has no such thing.
"""

from __future__ import annotations

import enum
from functools import lru_cache
from typing import Final

from discord_simulator.intents import MESSAGE_CONTENT, intents_for


class EventKind(enum.Enum):
    """What an event is to the ground truth: only broadcasts count as ``sent``."""

    BROADCAST = "broadcast"
    SESSION = "session"
    """READY and RESUMED."""
    SNAPSHOT = "snapshot"
    """A guild's first state after READY."""
    REPLY = "reply"
    """Sent to one session, because it asked."""
    VOICE = "voice"
    """The bot's own voice state, bound to the session that asked for it."""


@lru_cache(maxsize=512)
def _envelope_head(name: str) -> bytes:
    return b'{"t":"%b","s":' % name.encode()


class Event:
    """One dispatch before it has a sequence."""

    __slots__ = ("body", "guild", "head", "intents", "kind", "name", "number", "redacted", "sent", "stream")

    def __init__(
        self,
        *,
        name: str,
        body: bytes,
        guild: int = 0,
        stream: int = 0,
        kind: EventKind = EventKind.BROADCAST,
        redacted: bytes | None = None,
        number: int = 0,
    ) -> None:
        """*body* is ``d`` as JSON; *guild* 0 means that it has none and goes to shard 0.

        *stream* names what the event's order is judged in: the guild, or the channel of a direct message. *redacted*
        is the body for sessions without the MESSAGE_CONTENT intent, where that makes a difference.
        """
        self.name = name
        self.body = body
        self.guild = guild
        self.stream = stream or guild
        self.kind = kind
        self.redacted = redacted
        self.number = number
        self.sent = False
        self.head = _envelope_head(name)
        self.intents = intents_for(name, direct=guild == 0)

    def visible_to(self, intents: int) -> bool:
        return not self.intents or bool(self.intents & intents)

    def payload(self, *, sequence: int, intents: int) -> bytes:
        """The whole payload with a session's *sequence*, in the key order that Discord is seen to use."""
        body = self.body if self.redacted is None or intents & MESSAGE_CONTENT else self.redacted
        return b'%b%d,"op":0,"d":%b}' % (self.head, sequence, body)


HEARTBEAT_ACK: Final = b'{"t":null,"s":null,"op":11,"d":null}'
HEARTBEAT_REQUEST: Final = b'{"t":null,"s":null,"op":1,"d":null}'
RECONNECT: Final = b'{"t":null,"s":null,"op":7,"d":null}'


def invalid_session(*, resumable: bool) -> bytes:
    return b'{"t":null,"s":null,"op":9,"d":%b}' % (b"true" if resumable else b"false")


def hello(*, interval_milliseconds: int, trace: bool) -> bytes:
    extra = b',"_trace":["[\\"simulator\\",{}]"]' if trace else b""
    return b'{"t":null,"s":null,"op":10,"d":{"heartbeat_interval":%d%b}}' % (interval_milliseconds, extra)
