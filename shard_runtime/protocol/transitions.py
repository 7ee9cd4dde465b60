"""The session machine's tables: which phase follows from which input, and what each ending of a connection means.

A pair that is missing from ``TRANSITIONS`` is one that cannot happen or that changes nothing; the machine ignores such
an ending and raises ``KeyError`` for anything else, which would be a fault of its own.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final


class Phase(enum.Enum):
    STOPPED = "stopped"
    IDLE = "idle"
    """No connection; the next one is due at ``retry_at``."""
    CONNECTING = "connecting"
    GREETING = "greeting"
    """Connected, HELLO awaited."""
    WAITING = "waiting"
    """Greeted, no session held, a permit awaited; heartbeats run."""
    IDENTIFYING = "identifying"
    RESUMING = "resuming"
    """RESUME sent; missed dispatches are replayed until RESUMED."""
    LIVE = "live"


class Input(enum.Enum):
    START = "start"
    CONNECT = "connect"
    CONNECTED = "connected"
    HELLO_WITH_SESSION = "hello, a session is held"
    HELLO_WITHOUT_SESSION = "hello, no session is held"
    PERMIT = "permit"
    READY = "ready"
    RESUMED = "resumed"

    UNREACHABLE = "unreachable"
    """No connection came about."""
    RECONNECT = "op 7"
    INVALID_RESUMABLE = "op 9 true"
    INVALID = "op 9 false"
    CLOSED = "closed, the session may live"
    CLOSED_GONE = "closed, the session is gone"
    TIMEOUT = "timeout"
    """No HELLO, READY or RESUMED in time."""
    SILENCE = "silence"
    """A heartbeat is due and nothing came since the last one."""
    GARBLED = "garbled"
    """A frame that is no gateway payload."""
    FAILED = "failed"
    """Our own side failed at something."""
    REFUSED = "refused"
    """A close code after which no further try is made."""
    STOP = "stop"


class Pause(enum.Enum):
    NONE = "none"
    """At once after a connection that lived, else with backoff."""
    BACKOFF = "backoff"
    INVALID_SESSION = "invalid session"
    """1 to 5 s, as Discord asked for after op 9 until 2022 and its staff still do; longer with backoff."""


@dataclass(frozen=True, slots=True)
class Ending:
    """What an ended connection means."""

    keeps_session: bool
    pause: Pause
    close: bool
    """Whether the connection is still open and ours to close (with 4000)."""


ENDINGS: Final[Mapping[Input, Ending]] = {
    Input.UNREACHABLE: Ending(keeps_session=True, pause=Pause.BACKOFF, close=False),
    Input.RECONNECT: Ending(keeps_session=True, pause=Pause.NONE, close=True),
    Input.INVALID_RESUMABLE: Ending(keeps_session=True, pause=Pause.INVALID_SESSION, close=True),
    Input.INVALID: Ending(keeps_session=False, pause=Pause.INVALID_SESSION, close=True),
    Input.CLOSED: Ending(keeps_session=True, pause=Pause.BACKOFF, close=False),
    Input.CLOSED_GONE: Ending(keeps_session=False, pause=Pause.BACKOFF, close=False),
    Input.TIMEOUT: Ending(keeps_session=True, pause=Pause.BACKOFF, close=True),
    Input.SILENCE: Ending(keeps_session=True, pause=Pause.BACKOFF, close=True),
    Input.GARBLED: Ending(keeps_session=True, pause=Pause.BACKOFF, close=True),
    Input.FAILED: Ending(keeps_session=True, pause=Pause.BACKOFF, close=True),
}

_OPEN_ENDINGS: Final[Mapping[Input, Phase]] = {
    Input.RECONNECT: Phase.IDLE,
    Input.INVALID_RESUMABLE: Phase.IDLE,
    Input.INVALID: Phase.IDLE,
    Input.CLOSED: Phase.IDLE,
    Input.CLOSED_GONE: Phase.IDLE,
    Input.TIMEOUT: Phase.IDLE,
    Input.SILENCE: Phase.IDLE,
    Input.GARBLED: Phase.IDLE,
    Input.FAILED: Phase.IDLE,
    Input.REFUSED: Phase.STOPPED,
    Input.STOP: Phase.STOPPED,
}
"""How an open connection can end, whatever its phase: Discord may send op 7 and close before HELLO too."""

TRANSITIONS: Final[Mapping[Phase, Mapping[Input, Phase]]] = {
    Phase.STOPPED: {Input.START: Phase.IDLE},
    Phase.IDLE: {
        Input.CONNECT: Phase.CONNECTING,
        Input.FAILED: Phase.IDLE,
        Input.STOP: Phase.STOPPED,
    },
    Phase.CONNECTING: {
        Input.CONNECTED: Phase.GREETING,
        Input.UNREACHABLE: Phase.IDLE,
        Input.FAILED: Phase.IDLE,
        Input.STOP: Phase.STOPPED,
    },
    Phase.GREETING: {
        **_OPEN_ENDINGS,
        Input.HELLO_WITH_SESSION: Phase.RESUMING,
        Input.HELLO_WITHOUT_SESSION: Phase.WAITING,
    },
    Phase.WAITING: {**_OPEN_ENDINGS, Input.PERMIT: Phase.IDENTIFYING},
    Phase.IDENTIFYING: {**_OPEN_ENDINGS, Input.READY: Phase.LIVE},
    Phase.RESUMING: {**_OPEN_ENDINGS, Input.RESUMED: Phase.LIVE},
    Phase.LIVE: _OPEN_ENDINGS,
}
