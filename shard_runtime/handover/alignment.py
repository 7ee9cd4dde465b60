"""What it is to find the place where the old side's stream of a guild ends in the new side's.

Discord copies one stream to an old and a new session. The old side accepted what reached it before its seal and says
which (the window ``A``, complete since some moment); the new side held what reached it (``B``) and must deliver the
rest: nothing lost, nothing twice; where it cannot be known, a duplicate, marked.

The interface is one answer per event, in order, and no answer is ever taken back: :meth:`Alignment.feed` takes the
stream's events as they come and returns the answers that are settled by now, for the oldest events without one;
:meth:`Alignment.learn` and :meth:`Alignment.pass_time` settle what needed evidence or time. An alignment that waits
just returns fewer answers. How the place is found is in ``exact``; ``streams`` adds what has no place.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Iterable, Sequence
from typing import Final, Protocol, TypeAlias

import msgspec

from shard_runtime.contract import LatestEvent, WindowEvent
from shard_runtime.handover.lags import UNMEASURED, Bounds, LagProfile

LATE_COPIES_MILLISECONDS: Final = 60_000
"""How long after a seal copies of accepted events may still arrive and are recognised."""


class Decision(enum.Enum):
    DELIVER = "deliver"
    DELIVER_MARKED = "deliverMarked"
    """``maybeDuplicate``: the old side may have delivered it too."""
    SKIP = "skip"
    """The old side accepted it, or was never given it."""


class Outcome(enum.Enum):
    """How the place of a stream was found."""

    WAITING = "waiting"
    ANCHORED = "anchored"
    """By an event with an id of its own that both sides have."""
    SILENT = "silent"
    """The old side accepted nothing lately."""
    COUNTED = "counted"
    """By occurrence only: the whole of what was accepted fits in one place."""
    AMBIGUOUS = "ambiguous"
    """It fits in several; the earliest was taken."""
    REPAIRED = "repaired"
    """The two sides' streams disagree near the seal, and were matched event by event."""
    BLIND = "blind"
    """The old pod lost what it knew."""


class Arrived(msgspec.Struct, frozen=True, gc=False):
    """An event at the new side, as the alignment sees it. Times are unix milliseconds of the new side's pod."""

    key: int
    unique: bool
    arrival: int
    earliest: int
    """When it could have arrived at the earliest, had its session not been stalled, or away and resumed; usually
    *arrival*."""
    replayed: bool = False
    """It was sent again by a resume, so that it is known to be late."""
    subject: int | None = None
    """Whose state it is, if only the latest of it counts (:func:`shard_runtime.handover.keys.latest_subject`)."""
    reply: bool = False
    """An answer to a request of its own session."""
    session: str = ""
    sequence: int = 0


class Evidence(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of the old side's stream. Times are the old pod's, but for *held_since*."""

    sealed_at: int
    """Every event that arrived before was accepted."""
    recorded_since: int | None
    """None when the old pod lost its state: then *events* means nothing, and *sealed_at* is a moment at which it
    certainly accepted nothing more."""
    events: Sequence[WindowEvent] = ()
    latest: Sequence[LatestEvent] = ()
    accepted_until: int | None = None
    """When the old session accepted its last event of any guild, if that is known: earlier than the seal where the
    session was stalled."""
    held_since: int = 0
    """The new side has everything of this stream that arrived there since this moment (of its own clock)."""
    bounds: Bounds = UNMEASURED
    lags: LagProfile | None = None
    """Lags between the two sessions over time, where there were enough samples."""


class Alignment(Protocol):
    """Finds the place of one stream. Deciding in order, so delivered order is the order of arrival."""

    @property
    def outcome(self) -> Outcome: ...

    @property
    def ambiguous(self) -> bool:
        """Whether something could not be told and was decided for the duplicate."""
        ...

    @property
    def missed_by_old(self) -> int:
        """Events with an id of their own that the old side was never given and that are too old to be delivered."""
        ...

    def feed(self, event: Arrived) -> Sequence[Decision]:
        """Take the stream's next event; the answers for the oldest events that have none yet."""
        ...

    def feed_many(self, events: Sequence[Arrived]) -> Sequence[Decision]:
        """The same for the stream's next events, of which there is at least one, at once: what was held when the old
        side's answer came. No other answers follow than from feeding them one by one; it only costs less."""
        ...

    def learn(self, after: Iterable[WindowEvent], now: int) -> Sequence[Decision]:
        """What the old session received after the seal, without accepting it; empty where that is not known."""
        ...

    def pass_time(self, now: int, *, silent: bool = False) -> Sequence[Decision]:
        """Answers that only needed time, as of *now* (unix milliseconds of the new side's pod). *silent*: the new
        session gives nothing at present, so that what is missing may only be late."""
        ...


AlignmentFactory: TypeAlias = Callable[[Evidence], Alignment]
"""Makes the alignment of one stream. A place that was found before a restart is used without it."""


def counts_of(outcomes: Iterable[Outcome]) -> dict[Outcome, int]:
    """How many streams were aligned how."""
    counts = dict.fromkeys(Outcome, 0)
    for outcome in outcomes:
        counts[outcome] += 1
    return counts
