"""What a shard needs from its worker, and what it is told and tells: the types around :mod:`shard_runtime.shard`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from shard_runtime import contract


class ShardSink(Protocol):
    """Where a shard's session and its dispatches go. Called on the event loop; must not block."""

    def session_started(self, shard: int, session_id: str, payload: bytes) -> None:
        """READY came; *payload* is its whole envelope, with the sequence it used up.

        Called again for the same session when a resume replays READY because nothing had been acknowledged.
        """
        ...

    def session_resumed(self, shard: int, session_id: str) -> None:
        """RESUMED came. The replayed dispatches have been handed over before, from the first one on also for a session
        of which this process knows nothing else than that it was saved."""
        ...

    def session_lost(self, shard: int, session_id: str, sequence: int, cause: str) -> None:
        """The session is gone, and a new one will be identified. *sequence* is the last one that came, *cause* why it
        is gone, for a person."""
        ...

    def dispatch(self, shard: int, session_id: str, sequence: int, names: list[str], payloads: list[bytes]) -> None:
        """Every dispatch but READY and RESUMED, in order, never twice the same (session, sequence) by one shard object.

        One or more with consecutive sequences, the first of which is *sequence*. *payloads* are the envelopes as
        Discord sent them. Both lists are the sink's from now on. When this raises, none of the events
        counts as handed over: the connection is replaced, and a resume asks for them again. One at which this raises
        every time is given up after some tries.
        """
        ...

    def sequence_passed(self, shard: int, session_id: str, sequence: int) -> None:
        """RESUMED used up *sequence*; there is nothing to deliver for it."""
        ...

    def sequences_missing(
        self, shard: int, session_id: str, first: int, last: int, *, unreadable: int, lost: int
    ) -> None:
        """Discord went on to a later sequence without *first* to *last*, which therefore never come.

        *unreadable* of them were given up, since they could not be read twice; *lost* of them Discord left out of a
        live session. The others are no loss: what earlier RESUMEDs used up is not replayed.
        """
        ...

    def given_up(self, shard: int, session_id: str, sequence: int, name: str) -> None:
        """:meth:`dispatch` has raised at *sequence* again and again; the session goes on without it."""
        ...

    def watermark(self, session_id: str) -> int | None:
        """Up to where the session needs no replay; None where nothing is known."""
        ...


class Permits(Protocol):
    """The identify gate as a shard sees it."""

    async def acquire(self, shard: int) -> contract.Permit:
        """Wait as long as it takes for leave to identify.

        The life of the answer counts from the return, so the implementation takes off what the answer took on its way
        (zero or less: it came too late). It hands back a permit that arrives after cancellation.
        """
        ...

    async def report(self, permit: contract.Permit, result: contract.PermitResult) -> None:
        """Tell the gate what became of *permit*; retried in the background, never raises."""
        ...


class Log(Protocol):
    """One structured line for each event."""

    def __call__(self, event: str, /, **fields: object) -> None: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class SavedSession:
    """What it takes to resume a session from another process or pod."""

    session_id: str
    resume_url: str | None
    sequence: int
    """The watermark: where to resume from."""
    guilds: int
    """How many guilds the shard has."""
    started_at: int
    """When READY came, unix milliseconds."""
    received: int = 0
    """The last sequence that came: what lies after the watermark is lost if the session is."""
    kept: contract.Kept = contract.NOTHING_KEPT
    finished: tuple[int, ...] = ()
    """Bounds of runs above the watermark that need nothing more."""
    unsure: tuple[int, ...] = ()
    """Sequences above the watermark of which a handover had not decided whether they are to be delivered."""
    late: tuple[int, ...] = ()
    """Keys of events that the generation before delivered and whose copies had not come."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ShardOptions:
    """What all shards of a generation have in common."""

    shard_count: int
    intents: int
    compression: str
    identify: contract.IdentifyOptions
    api_url: str
    gateway_url: str | None
