"""Where the old side's stream of a guild ends in the new side's: which events the new side still owes.

Theory of operation. Discord copies one stream to an old and a new session. The old side accepted the events that
reached it before its seal ``f`` (on the old pod's clock) and says which (the window ``A``, complete since ``r``). The
new side held what reached it and must deliver the rest: nothing lost; where it cannot be known, a duplicate.

The alignment is an interface with one answer per event, in order, and no answer is ever taken back:
:meth:`Alignment.feed` takes the guild's events as they come and returns the answers that are settled by now, for the
oldest events without one; :meth:`Alignment.pass_time` settles what only needed time. An alignment that waits for
more evidence just returns fewer answers. :class:`PlainAlignment` never waits.

The plain alignment. ``lag`` is (arrival at the new side - arrival at the old side) of one event, clock skew included;
``M`` is a margin of 2 s. For an event that arrived at ``a``:

    unique, in A                                    skip: proof, at any lag
    unique, not in A, a > r + M, a >= f - M         deliver: had the old side accepted it, A would hold it
    unique, not in A, a > r + M, a <  f - M         deliver, marked: as above, but only a stalled session explains it
    unique, not in A, a <= r + M                    A may not reach back to it: as a repeatable one
    repeatable, a < f - M                           skip: within the margin the old side had it before its seal
    repeatable, f - M <= a < f                      deliver, marked: either side of the seal is possible
    repeatable, a >= f, key in A within M of a      deliver, marked: may be the late copy of that one
    repeatable, a >= f, a <= r + M                  deliver, marked: A may not reach back to it (f is early then)
    repeatable, a >= f, otherwise                   deliver

Theorem: if |lag| <= M for every event, copies have equal keys, and the new side held everything since f - M, then no
event that the old side did not accept is skipped, and no event that it did accept is delivered unmarked. Marked
duplicates are repeatable events (or such as A does not reach back to) within M of the seal. Without the bound on the
lag: a unique event with a > r + M that the old side did not accept is still never skipped, and one in A is never
delivered.

Events that were replayed after a RESUME arrived late for a reason that has nothing to do with lag, so their arrival
says only that they happened before. Nothing is concluded from it: a unique one goes by A, a repeatable one is
delivered, marked where A holds its key at all.

An old pod that lost its state knows nothing of what it accepted: everything held is delivered, marked.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Iterable, Sequence
from typing import Final, Protocol, TypeAlias

import msgspec

from shard_runtime.contract import WindowEvent
from shard_runtime.handover.keys import UNIQUE, event_key

MARGIN_MILLISECONDS: Final = 2000
"""Bound on lag and skew that the plain alignment takes for granted."""

LATE_COPIES_MILLISECONDS: Final = 60_000
"""How long after a seal copies of accepted events may still arrive and are recognised."""


class Decision(enum.Enum):
    DELIVER = "deliver"
    DELIVER_MARKED = "deliverMarked"
    """``maybeDuplicate``: the old side may have delivered it too."""
    SKIP = "skip"
    """The old side accepted it."""


class Arrived(msgspec.Struct, frozen=True, gc=False):
    """An event at the new side, as the alignment sees it."""

    name: str
    payload: bytes
    arrival: int
    """Unix milliseconds of the new side's pod."""
    replayed: bool = False
    """Sent again after a RESUME, so *arrival* is later than the event by an unknown time."""


class Evidence(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of the old side's stream of one guild."""

    sealed_at: int
    recorded_since: int | None
    """None when the old pod lost its state: then *events* means nothing, and *sealed_at* is a moment at which it
    certainly accepted nothing more."""
    events: Sequence[WindowEvent] = ()


class Alignment(Protocol):
    """Finds the place of one guild. Deciding in order, so delivered order is the order of arrival."""

    def feed(self, event: Arrived) -> Sequence[Decision]:
        """Take the guild's next event; the answers for the oldest events that have none yet."""
        ...

    def pass_time(self, now: int) -> Sequence[Decision]:
        """Answers that only needed time, as of *now* (unix milliseconds of the new side's pod)."""
        ...


AlignmentFactory: TypeAlias = Callable[[Evidence], Alignment]


class PlainAlignment:
    """The plain alignment described above."""

    def __init__(self, evidence: Evidence) -> None:
        self._sealed_at = evidence.sealed_at
        self._since = evidence.recorded_since
        self._unique = frozenset(event.key for event in evidence.events if event.unique)
        self._repeatable: dict[int, list[int]] = _arrivals(event for event in evidence.events if not event.unique)

    def feed(self, event: Arrived) -> Sequence[Decision]:
        return (self._decide(event),)

    def pass_time(self, now: int) -> Sequence[Decision]:
        return ()

    def _decide(self, event: Arrived) -> Decision:
        if self._since is None:
            unsure = event.replayed or event.arrival < self._sealed_at + MARGIN_MILLISECONDS
            return Decision.DELIVER_MARKED if unsure else Decision.DELIVER
        stalled = not event.replayed and event.arrival < self._sealed_at - MARGIN_MILLISECONDS
        if stalled and event.name not in UNIQUE:
            return Decision.SKIP  # most of what was held; its key is not needed
        key, unique = event_key(event.name, event.payload)
        if not unique:
            return Decision.SKIP if stalled else self._decide_repeatable(key, event)
        if key in self._unique:
            return Decision.SKIP
        if self._is_before_record(event):
            return Decision.SKIP if stalled else Decision.DELIVER_MARKED
        return Decision.DELIVER_MARKED if stalled else Decision.DELIVER

    def _is_before_record(self, event: Arrived) -> bool:
        """Whether the old side may have accepted the event before it began to record."""
        return not event.replayed and self._since is not None and event.arrival <= self._since + MARGIN_MILLISECONDS

    def _decide_repeatable(self, key: int, event: Arrived) -> Decision:
        arrivals = self._repeatable.get(key, ())
        if event.replayed:
            return Decision.DELIVER_MARKED if arrivals else Decision.DELIVER
        if event.arrival < self._sealed_at or self._is_before_record(event):
            return Decision.DELIVER_MARKED
        copy = any(abs(event.arrival - arrival) <= MARGIN_MILLISECONDS for arrival in arrivals)
        return Decision.DELIVER_MARKED if copy else Decision.DELIVER


def _arrivals(events: Iterable[WindowEvent]) -> dict[int, list[int]]:
    by_key: dict[int, list[int]] = {}
    for event in events:
        by_key.setdefault(event.key, []).append(event.arrival)
    return by_key
