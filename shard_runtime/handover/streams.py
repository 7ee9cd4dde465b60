"""One stream's whole handover: the exact alignment of what has a place, and rules for what has none.

Without a place (docs/protocol.md, "Two sessions, same guild"):

- *Replies* to a session's own requests are delivered: no other session gets them.
- *Latest*: presences, the bot's own voice state, voice servers. Discord may give the two sessions different numbers of
  copies, so they are not aligned; what matters is that the bot ends with the latest. An event about a subject is
  skipped if it can only be older than the last one that the old side sent about it, or is the copy of that one; from
  the first other one on, all are delivered. Delivered ones that may be copies are marked.

Answers stay in order: what has no place waits for what came before it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence

from shard_runtime.contract import WindowEvent
from shard_runtime.handover.alignment import Alignment, Arrived, Decision, Evidence, Outcome
from shard_runtime.handover.exact import ExactAlignment
from shard_runtime.handover.lags import UNMEASURED_MILLISECONDS
from shard_runtime.handover.placed import Placed, PlacedAlignment


class StreamAlignment:
    """The alignment that a cutover uses."""

    def __init__(self, evidence: Evidence, found: Placed | None = None) -> None:
        """*found*: the place, if an earlier life of the worker found it."""
        self._placed: Alignment
        if found is not None:
            self._placed = PlacedAlignment(evidence, found)
        elif evidence.recorded_since is None:
            self._placed = BlindAlignment(evidence)
        else:
            self._placed = ExactAlignment(evidence)
        self._latest = Latest(evidence)
        self._order: deque[Decision | None] = deque()
        """Events without an answer, oldest first: None for one that the alignment has to place."""

    @property
    def outcome(self) -> Outcome:
        return self._placed.outcome

    @property
    def ambiguous(self) -> bool:
        return self._placed.ambiguous

    @property
    def missed_by_old(self) -> int:
        return self._placed.missed_by_old

    def feed(self, event: Arrived) -> Sequence[Decision]:
        if event.reply:
            self._order.append(Decision.DELIVER)
            return self._answers(())
        if event.subject is not None:
            self._order.append(self._latest.decide(event, event.subject))
            return self._answers(())
        if not self._order and self._placed.outcome is not Outcome.WAITING:
            return self._placed.feed(event)
        self._order.append(None)
        return self._answers(self._placed.feed(event))

    def feed_many(self, events: Sequence[Arrived]) -> Sequence[Decision]:
        if any(event.reply or event.subject is not None for event in events):
            return [decision for event in events for decision in self.feed(event)]
        if not self._order and self._placed.outcome is not Outcome.WAITING:
            return self._placed.feed_many(events)
        self._order.extend(None for _ in events)
        return self._answers(self._placed.feed_many(events))

    def learn(self, after: Iterable[WindowEvent], now: int) -> Sequence[Decision]:
        return self._answers(self._placed.learn(after, now))

    def pass_time(self, now: int, *, silent: bool = False) -> Sequence[Decision]:
        return self._answers(self._placed.pass_time(now, silent=silent))

    def _answers(self, placed: Sequence[Decision]) -> Sequence[Decision]:
        order = self._order
        answers: list[Decision] = []
        for decision in placed:
            while order[0] is not None:
                answers.append(order.popleft())  # type: ignore[arg-type]
            order.popleft()
            answers.append(decision)
        while order and order[0] is not None:
            answers.append(order.popleft())  # type: ignore[arg-type]
        return answers


class BlindAlignment:
    """For an old pod that knows nothing of what it accepted: all that may have been is delivered, marked."""

    outcome = Outcome.BLIND
    ambiguous = True
    missed_by_old = 0

    def __init__(self, evidence: Evidence) -> None:
        self._accepted_until = evidence.sealed_at + UNMEASURED_MILLISECONDS

    def feed(self, event: Arrived) -> Sequence[Decision]:
        unsure = event.earliest < self._accepted_until
        return (Decision.DELIVER_MARKED if unsure else Decision.DELIVER,)

    def feed_many(self, events: Sequence[Arrived]) -> Sequence[Decision]:
        return [decision for event in events for decision in self.feed(event)]

    def learn(self, after: Iterable[WindowEvent], now: int) -> Sequence[Decision]:
        return ()

    def pass_time(self, now: int, *, silent: bool = False) -> Sequence[Decision]:
        return ()


class Latest:
    """What is delivered of the events of which only the latest counts."""

    def __init__(self, evidence: Evidence) -> None:
        self._last = {event.subject: event for event in evidence.latest}
        self._bounds = evidence.bounds
        self._since = evidence.recorded_since
        self._sealed_at = evidence.sealed_at
        self._flowing: set[int] = set()
        """Subjects of which everything is delivered from now on."""

    def decide(self, event: Arrived, subject: int) -> Decision:
        if subject in self._flowing:
            return Decision.DELIVER
        last = self._last.get(subject)
        if last is None:
            since = self._sealed_at if self._since is None else self._since
            if self._since is not None and event.arrival < since + self._bounds.most:
                return Decision.SKIP  # the old side sent nothing about it since
        else:
            if event.arrival < last.arrival + self._bounds.least:
                return Decision.SKIP
            self._flowing.add(subject)
            if event.key == last.key and event.earliest <= last.arrival + self._bounds.most:
                return Decision.SKIP
        self._flowing.add(subject)
        may_be_copy = last is not None and event.earliest <= last.arrival + self._bounds.most
        return Decision.DELIVER_MARKED if may_be_copy or self._since is None else Decision.DELIVER
