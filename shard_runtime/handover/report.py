"""What a cutover came to: streams by how they were aligned, duplicates, pauses."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable

import msgspec

from shard_runtime.contract import PAUSE_BOUNDS_MILLISECONDS, HandoverStatus
from shard_runtime.handover.alignment import Alignment, Outcome
from shard_runtime.handover.lags import Bounds
from shard_runtime.handover.rehearsal import Rehearsal

_PLACED = (Outcome.ANCHORED, Outcome.SILENT, Outcome.COUNTED)


class Report:
    def __init__(self) -> None:
        self.skipped = 0
        self._marked = 0
        self._held_guilds: set[int] = set()
        self._pauses: dict[int, int] = {}
        """By released guild, the longest time that one of its events was held back, in milliseconds."""
        self._aligned = self._by_occurrence = self._ambiguous = self._repaired = self._missed = 0

    def held(self, guild: int) -> None:
        """An event of *guild* is held back after the commit."""
        if guild not in self._pauses:
            self._held_guilds.add(guild)

    def released(self, guild: int) -> None:
        """Events of *guild* are held back no more."""
        self._held_guilds.discard(guild)
        self._pauses.setdefault(guild, 0)

    def delivered(self, guild: int, pause: int, *, marked: bool) -> None:
        """An event of *guild* is delivered after having been held back for *pause* milliseconds."""
        self._marked += marked
        if pause > self._pauses.get(guild, pause):
            self._pauses[guild] = pause

    def keep(self, alignments: Iterable[Alignment]) -> None:
        """Count *alignments*, which will not be passed again."""
        for alignment in alignments:
            self._aligned += alignment.outcome in _PLACED
            self._by_occurrence += alignment.outcome is Outcome.COUNTED
            self._ambiguous += alignment.ambiguous
            self._repaired += alignment.outcome is Outcome.REPAIRED
            self._missed += alignment.missed_by_old

    def status(
        self,
        alignments: Iterable[Alignment],
        *,
        rehearsals: Iterable[Rehearsal],
        bounds: Iterable[Bounds],
        base: HandoverStatus,
    ) -> HandoverStatus:
        """*base* with the counts, those of *alignments* and the kept ones."""
        counted = Report()
        counted.keep(alignments)
        extremes = [rehearsal.extremes for rehearsal in rehearsals if rehearsal.extremes is not None]
        means = [rehearsal.mean for rehearsal in rehearsals if rehearsal.mean is not None]
        measured = [bound for bound in bounds if bound.samples]
        pauses = [0] * (len(PAUSE_BOUNDS_MILLISECONDS) + 1)
        for pause in self._pauses.values():
            pauses[bisect_left(PAUSE_BOUNDS_MILLISECONDS, pause)] += 1
        mean = [bound.mean for bound in measured] or means
        return msgspec.structs.replace(
            base,
            lag_least_milliseconds=min((least for least, _ in extremes), default=None),
            lag_most_milliseconds=max((most for _, most in extremes), default=None),
            lag_mean_milliseconds=sum(mean) / len(mean) if mean else None,
            aligned=self._aligned + counted._aligned,
            by_occurrence=self._by_occurrence + counted._by_occurrence,
            ambiguous=self._ambiguous + counted._ambiguous,
            repaired=self._repaired + counted._repaired,
            missed_by_old=self._missed + counted._missed,
            held_guilds=len(self._held_guilds),
            released_guilds=len(self._pauses),
            delivered_marked=self._marked,
            skipped=self.skipped,
            longest_pause_milliseconds=float(max(self._pauses.values(), default=0)),
            pauses=pauses,
        )
