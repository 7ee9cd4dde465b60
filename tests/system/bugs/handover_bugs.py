"""Bugs of the handover: seals, and where one generation's events end and the next one's begin."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final
from unittest.mock import patch

import msgspec
from system.bugs.planting import Change, Planted

from shard_runtime.contract import Role, WindowEvent
from shard_runtime.handover import cutover
from shard_runtime.handover.alignment import Arrived, Decision, Evidence, Outcome
from shard_runtime.handover.old_pod import OldPod
from shard_runtime.handover.streams import StreamAlignment
from shard_runtime.supervisor import pod as supervisor_pod
from shard_runtime.supervisor.standing import Standing, initial_standing
from shard_runtime.worker.sealing import OldSide


def _delivers_after_its_seal() -> Iterable[Change]:
    kept = OldSide._put_in_force

    def put_in_force(self: OldSide, sealed: Any, *, complete: bool) -> None:
        with patch.object(self._flow, "fence", lambda accepted: None):
            kept(self, sealed, complete=complete)

    yield OldSide, "_put_in_force", put_in_force


def _forgets_its_seal() -> Iterable[Change]:
    def initial(found: Standing | None, **more: Any) -> Standing:
        standing = initial_standing(found, **more)
        return msgspec.structs.replace(standing, role=Role.ACTIVE) if standing.role is Role.SEALED else standing

    yield supervisor_pod, "initial_standing", initial
    yield OldSide, "restore", lambda self: False


def _released_at_the_seal() -> Iterable[Change]:
    yield OldPod, "released", lambda self, guild: self.reply is not None


def _marks_everything() -> Iterable[Change]:
    kept = cutover.Deliver

    yield cutover, "Deliver", lambda event, marked: kept(event, True)


class SeenSet:
    """Takes every event whose key the old side has accepted for accepted."""

    outcome = Outcome.ANCHORED
    ambiguous = False
    missed_by_old = 0

    def __init__(self, evidence: Evidence) -> None:
        self._seen = {event.key for event in evidence.events}

    def feed(self, event: Arrived) -> Sequence[Decision]:
        return (Decision.SKIP if event.key in self._seen else Decision.DELIVER,)

    def feed_many(self, events: Sequence[Arrived]) -> Sequence[Decision]:
        return [decision for event in events for decision in self.feed(event)]

    def learn(self, after: Iterable[WindowEvent], now: int) -> Sequence[Decision]:
        return ()

    def pass_time(self, now: int, *, silent: bool = False) -> Sequence[Decision]:
        return ()


class ByTime(SeenSet):
    """Takes what arrives after the moment of the seal for new."""

    def __init__(self, evidence: Evidence) -> None:
        self._sealed_at = evidence.sealed_at

    def feed(self, event: Arrived) -> Sequence[Decision]:
        return (Decision.SKIP if event.arrival <= self._sealed_at else Decision.DELIVER,)


def _aligned_by(alignment: type) -> Callable[[], Iterable[Change]]:
    def changes() -> Iterable[Change]:
        kept = OldPod.feed

        def feed(self: OldPod, place: Any, events: Any, make: Any) -> Any:
            return kept(self, place, events, alignment if make is StreamAlignment else make)

        yield OldPod, "feed", feed

    return changes


BUGS: Final[Mapping[str, Planted]] = {
    "old pod delivers after its seal": Planted(
        what="A sealed worker goes on accepting.",
        breaks="nothing comes twice",
        seeds=(1, 5, 3, 6),
        changes=_delivers_after_its_seal,
    ),
    "everything is marked": Planted(
        what="What a new pod delivers first is said to be perhaps a duplicate, whatever is known of it.",
        breaks="nothing comes twice",
        seeds=(137, 141, 184, 192),
        changes=_marks_everything,
    ),
    "restarted pod forgets its seal": Planted(
        what="A sealed pod that is started again is active again.",
        breaks="nothing comes twice",
        seeds=(210, 1743, 412),
        changes=_forgets_its_seal,
    ),
    "release before acknowledgement": Planted(
        what="A guild's events flow from the new side although the old side's are not acknowledged.",
        breaks="order in a guild",
        seeds=(16, 109, 176, 2),
        changes=_released_at_the_seal,
    ),
    "a seen-set instead of alignment": Planted(
        what="An event is taken for delivered if the old side accepted one with an equal body.",
        breaks="nothing is lost",
        seeds=(23, 19, 4),
        changes=_aligned_by(SeenSet),
    ),
    "alignment by time": Planted(
        what="An event is taken for delivered if it arrived before the seal.",
        breaks="nothing is lost",
        seeds=(8, 9, 6),
        changes=_aligned_by(ByTime),
    ),
}
