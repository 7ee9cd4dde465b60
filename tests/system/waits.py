"""Waits of the product that are longer than a run's patience, and right: they are let come to their end.

Each is known by what is true, not by a longer patience for everything: a shard whose three session starts of an hour
are used waits until the hour is over; sessions that Discord's budget has no room for wait until its day is over; a
rollout waits for a quieter time while Discord would forget what a pod misses.
"""

from __future__ import annotations

from typing import Final

from gateway_operator.identify.gate import SHARE, SHARE_SECONDS
from system.story import System
from virtual.clock import VIRTUAL_EPOCH_MILLISECONDS

from shard_runtime.contract import ShardState

QUIET: Final = 0.2
"""Part of a run's events that is left in a quieter time."""


MOST_REQUESTS: Final = 3
FOR_WANT_OF_STARTS: Final = (
    "IdentifyBudget",
    "IdentifyBudgetExhausted",
    "IdentifyBudgetAtRisk",
    "spec.reshard.identifyReserve",
)
"""What the gateway's status has, as a reason or in a sentence, where sessions wait for Discord's day to end."""


class Waits:
    """Of one run, while it waits to be at rest; no fault is in force any more."""

    def __init__(self, system: System, *, scarce: bool) -> None:
        """*scarce*: few session starts are left."""
        self._system = system
        self._scarce = scarce
        self._asked = 0
        self._days_over: float | None = None
        self._waited_out: set[float] = set()
        self._is_quiet = False

    def have_what_they_wait_for(self, *, within: float) -> bool:
        """Whether something waits rightly that has what it waits for now, or will have it later than *within* seconds
        from now."""
        return self._asks_again() or self._share_is_over(within) or self._day_is_over(within) or self._is_quieter()

    def _asks_again(self) -> bool:
        """A reshard whose sessions there were no starts for was given up, and a person does what is asked of them."""
        if not self._scarce or not self._is_said("ReshardGivenUp"):
            return False
        self._asked += 1
        self._system.patch({"reshard": {"requestID": f"again-{self._asked}"}})
        return self._asked <= MOST_REQUESTS

    def _share_is_over(self, within: float) -> bool:
        """A shard that is not READY has used its share of an hour that is not over."""
        return self._is_waited_out(self._hours_end() if self._is_said("SessionsDoNotLast") else None, within)

    def _day_is_over(self, within: float) -> bool:
        """Sessions were not started for want of session starts, in a day of Discord's that is not over."""
        if self._days_over is None and self._scarce and self._is_said(*FOR_WANT_OF_STARTS):
            self._days_over = self._days_end()
        return self._is_waited_out(self._days_over, within)

    def _is_waited_out(self, over: float | None, within: float) -> bool:
        """Nothing else than that moment can be waited for, so there need be no events meanwhile."""
        system = self._system
        now = system.world.clock.monotonic()
        if over is None or over in self._waited_out:
            return False
        if over > now:
            system.discord.load(0)
            return over > now + within
        self._waited_out.add(over)
        system.discord.load(system.rate)
        return True

    def _is_said(self, *reasons: str) -> bool:
        """Whether the gateway's status has one of *reasons*, or a sentence with one."""
        return any(
            reason == found["reason"] or reason in found.get("message", "")
            for found in self._system.status.get("conditions") or ()
            for reason in reasons
        )

    def _days_end(self) -> float:
        """When Discord counts anew, by its own clock."""
        now = self._system.world.clock.monotonic()
        return now + self._system.discord.budget.reset_after_milliseconds / 1000

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
