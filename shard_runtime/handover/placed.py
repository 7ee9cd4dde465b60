"""A place that was found, so that a restart needs not find it again.

A worker that restarts after its old pods are sealed gets again what it had not finished: from the middle of the
streams, at times that say nothing. Where a stream's place was found before, that is exact knowledge, and it is written
down before the first event behind it is delivered.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import msgspec

from shard_runtime.contract import WindowEvent, Wire
from shard_runtime.handover.alignment import Arrived, Decision, Evidence, Outcome
from shard_runtime.handover.holding import Held
from shard_runtime.handover.keys import Place


class Placed(Wire, frozen=True, kw_only=True):
    """Where one stream goes on from the new side."""

    guild: int
    channel: int = 0
    session: str
    sequence: int
    """Of *session*: the first event that the old side did not accept."""
    skipped: list[int] = msgspec.field(default_factory=list)
    """Later sequences that were skipped all the same."""
    outcome: str
    ambiguous: bool = False
    missed_by_old: int = 0

    @property
    def place(self) -> Place:
        return Place(self.guild, self.channel)


def placed(
    place: Place,
    answered: Iterable[tuple[Held, Decision]],
    *,
    outcome: Outcome,
    ambiguous: bool,
    missed_by_old: int,
) -> Placed | None:
    """What follows from the first answers for a stream; None if they are about no event that has a place in it."""
    events = [(event, decision) for event, decision in answered if event.subject is None and not event.reply]
    if not events:
        return None
    delivered = [event for event, decision in events if decision is not Decision.SKIP]
    first = delivered[0] if delivered else None
    last = events[-1][0]
    sequence = last.sequence + 1 if first is None else first.sequence
    return Placed(
        guild=place.guild,
        channel=place.channel,
        session=last.session if first is None else first.session,
        sequence=sequence,
        skipped=[
            event.sequence for event, decision in events if decision is Decision.SKIP and event.sequence > sequence
        ],
        outcome=outcome.value,
        ambiguous=ambiguous,
        missed_by_old=missed_by_old,
    )


class PlacedAlignment:
    """The alignment of a stream whose place an earlier life of the worker found."""

    def __init__(self, evidence: Evidence, found: Placed) -> None:
        self.outcome = Outcome(found.outcome)
        self.ambiguous = found.ambiguous
        self.missed_by_old = found.missed_by_old
        self._found = found
        self._skipped = frozenset(found.skipped)
        self._accepted = frozenset(event.key for event in evidence.events if event.unique)

    def feed(self, event: Arrived) -> Sequence[Decision]:
        if event.unique and event.key in self._accepted:
            return (Decision.SKIP,)
        if event.session == self._found.session and (
            event.sequence < self._found.sequence or event.sequence in self._skipped
        ):
            return (Decision.SKIP,)
        return (Decision.DELIVER,)

    def feed_many(self, events: Sequence[Arrived]) -> Sequence[Decision]:
        return [decision for event in events for decision in self.feed(event)]

    def learn(self, after: Iterable[WindowEvent], now: int) -> Sequence[Decision]:
        return ()

    def pass_time(self, now: int, *, silent: bool = False) -> Sequence[Decision]:
        return ()
