"""What the session machine asks its driver to do."""

from __future__ import annotations

from dataclasses import dataclass

from shard_runtime.contract import PermitOutcome
from shard_runtime.protocol.payloads import Ready


@dataclass(frozen=True, slots=True)
class SendHeartbeat:
    sequence: int | None


@dataclass(frozen=True, slots=True)
class SendIdentify:
    pass


@dataclass(frozen=True, slots=True)
class SendResume:
    session_id: str
    sequence: int


@dataclass(frozen=True, slots=True)
class Close:
    """Close the connection with *code* and listen to it no more."""

    code: int


@dataclass(frozen=True, slots=True)
class NeedPermit:
    """Ask for a permit, unless one has been asked for already."""


@dataclass(frozen=True, slots=True)
class PermitSettled:
    """What became of the permit that the last IDENTIFY used."""

    outcome: PermitOutcome
    sent_at: float
    """When the IDENTIFY was sent, on the machine's clock."""
    arrived_at: float | None
    """When it was known that Discord had it; None while it may be under way."""


@dataclass(frozen=True, slots=True)
class Opened:
    """READY: a new session."""

    ready: Ready


@dataclass(frozen=True, slots=True)
class Replayed:
    """READY of the held session, replayed by a resume because it had not been acknowledged."""

    ready: Ready


@dataclass(frozen=True, slots=True)
class Passed:
    """A sequence number that the session used up itself, with nothing to deliver."""

    session_id: str
    sequence: int
    missing: int = 0
    """How many numbers before it nobody has seen: a replay leaves out what earlier connections used up."""
    unreadable: int = 0
    """Of them, those of frames that were given up."""
    lost: int = 0
    """And those that Discord left out of a live session."""


@dataclass(frozen=True, slots=True)
class Resumed:
    session_id: str


@dataclass(frozen=True, slots=True)
class Lost:
    """The session is gone; a new one will be identified."""

    session_id: str
    sequence: int
    """The last one that came."""
    cause: str
    """Why, for a person."""


@dataclass(frozen=True, slots=True)
class Stopped:
    """No further connection will be made until the machine is started again."""


Action = (
    SendHeartbeat
    | SendIdentify
    | SendResume
    | Close
    | NeedPermit
    | PermitSettled
    | Opened
    | Replayed
    | Passed
    | Resumed
    | Lost
    | Stopped
)
