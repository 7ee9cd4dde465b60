"""Waits of the product that are longer than a run's patience, and right: they are let come to their end.

Each is known by what is true, not by a longer patience for everything: a shard whose three session starts of an hour
are used waits until the hour is over; a rollout waits for a quieter time while Discord would forget what a pod misses.
"""

from __future__ import annotations

from typing import Final

from gateway_operator.identify.gate import SHARE, SHARE_SECONDS
from system.story import System
from virtual.clock import VIRTUAL_EPOCH_MILLISECONDS

from shard_runtime.contract import ShardState

QUIET: Final = 0.2
"""Part of a run's events that is left in a quieter time."""


class Waits:
    """Of one run, while it waits to be at rest; no fault is in force any more."""

    def __init__(self, system: System) -> None:
        self._system = system
        self._waited_out: set[float] = set()
        self._is_quiet = False

    def have_what_they_wait_for(self, *, within: float) -> bool:
        """Whether something waits rightly that has what it waits for now, or will have it later than *within* seconds
        from now."""
        return self._share_is_over(within) or self._is_quieter()

    def _share_is_over(self, within: float) -> bool:
        """A shard that is not READY has used its share of an hour that is not over: nothing else can be waited for, so
        there need be no events meanwhile."""
        system = self._system
        now = system.world.clock.monotonic()
        over = self._hours_end() if self._is_said() else None
        if over is None or over in self._waited_out:
            return False
        if over > now:
            system.discord.load(0)
            return over > now + within
        self._waited_out.add(over)
        system.discord.load(system.rate)
        return True

    def _is_said(self) -> bool:
        return any(found["reason"] == "SessionsDoNotLast" for found in self._system.status.get("conditions") or ())

    def _hours_end(self) -> float | None:
        """When the last of the shards that wait for it may start a session again, by Discord's own journal."""
        system = self._system
        record = system.record
        if record is None or record.active is None:
            return None
        starts: dict[int, list[float]] = {}
        for entry in system.discord.truth().journal:
            pod = system.discord.held_by.get(entry.session or "", "")
            if entry.what == "identify" and entry.shard is not None and f"-g{record.active}-" in pod:
                at = (entry.at - VIRTUAL_EPOCH_MILLISECONDS) / 1000
                starts.setdefault(entry.shard, []).append(at)
        waiting = [
            shard.id
            for status in system.pod_statuses()
            if status.generation == record.active
            for shard in status.shards
            if shard.state is not ShardState.READY
        ]
        ends = [starts[shard][-SHARE] + SHARE_SECONDS for shard in waiting if len(starts.get(shard, ())) >= SHARE]
        return max(ends, default=None)

    def _is_quieter(self) -> bool:
        rollout = self._system.status.get("rollout") or {}
        if self._is_quiet or "waits for a quieter time" not in (rollout.get("message") or ""):
            return False
        self._is_quiet = True
        self._system.trace.note("story", "lets fewer events come")
        self._system.discord.load(QUIET * self._system.rate)
        return True
