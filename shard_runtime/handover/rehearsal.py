"""Whether the two sides see the same streams, and how far apart: an alignment of an unsealed old pod, without effect.

A cutover cannot be taken back, so before it every old pod's windows are compared with what is held. Of the streams in
which the old side has events with an id, almost all must have one in common; where they do not, the two generations see
different things (other intents, another bot, a session that hangs), and nothing may be committed.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

from shard_runtime.contract import GuildWindow
from shard_runtime.handover.holding import Held
from shard_runtime.handover.keys import Place
from shard_runtime.handover.lags import UNMEASURED_MILLISECONDS, Overlap

CONSISTENT: Final = 0.9
"""Least part of the streams that must have a common event."""


class Rehearsal:
    """Rehearsals with one old pod. Times are unix milliseconds."""

    def __init__(self, *, overlap: int) -> None:
        """*overlap* is how much of the past both sides keep, in milliseconds."""
        self._overlap = overlap
        self.problem: str | None = "The windows of the old pods have not been compared yet."
        self.extremes: tuple[int, int] | None = None
        """Least and most lag of all rehearsals, as measured."""
        self.mean: float | None = None
        self.compared = self.common = 0
        """Streams in which the old side had events with an id, and those of them of which this side has one too."""

    def doubt(self, problem: str) -> None:
        """What an earlier comparison showed does not hold any more, for the reason that *problem* says."""
        self.problem = problem

    def take(
        self,
        *,
        overlap: Overlap,
        windows: Mapping[Place, GuildWindow],
        held: Iterable[Held],
        recorded_since: int | None,
        held_since: int,
        now: int,
        until: int,
    ) -> None:
        """Compare what an old pod recorded (its clock) with what is *held* (ours). *until*: when the old pod's sessions
        certainly had everything that Discord had sent by then."""
        if recorded_since is None:
            self.problem = "An old pod does not record yet."
            return
        since = max(recorded_since, held_since)
        if now - since < self._overlap // 2:
            self.problem = f"Both sides have recorded the same events for {max(0, now - since) / 1000:.0f} s only."
            return
        if until - since < self._overlap // 2:
            self.problem = silence(now - until)
            return
        measured = overlap.measured(sealed_at=now, complete_since=recorded_since, stall_rule=False)
        if measured.least is not None and measured.most is not None:
            least, most = self.extremes or (measured.least, measured.most)
            self.extremes = (min(least, measured.least), max(most, measured.most))
            self.mean = measured.bounds.mean
        # Without the ends, where an event may have reached one side only.
        edge = min(UNMEASURED_MILLISECONDS, (until - since) // 4)
        begin, end = since + edge, until - edge
        ours = {event.key for event in held if event.unique}
        self.compared = self.common = 0
        for window in windows.values():
            theirs = [event.key for event in window.events if event.unique]
            if any(event.unique and begin <= event.arrival <= end for event in window.events):
                self.compared += 1
                self.common += not ours.isdisjoint(theirs)
        if self.common < CONSISTENT * self.compared:
            self.problem = (
                f"Only {self.common} of {self.compared} guilds have an event in common with the old generation; "
                "the two do not see the same events."
            )
        else:
            self.problem = None


def silence(behind: int) -> str:
    """The problem of an old session that has been without a sign of life for *behind* milliseconds."""
    return (
        f"An old session has not been heard for {behind / 1000:.0f} s; what Discord sent it may be missing until it "
        "resumes."
    )
