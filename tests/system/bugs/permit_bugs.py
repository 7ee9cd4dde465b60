"""Bugs of the identify gate, and of pods that have a permit."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

from gateway_operator.identify import gate
from gateway_operator.identify.gate import IdentifyGate
from gateway_operator.planning import budget, decide
from system.bugs.planting import Change, Planted

from shard_runtime.contract import PermitResult
from shard_runtime.permission import Permission

LOOK_SECONDS: Final = 0.05


def _late_permit() -> Iterable[Change]:
    async def ask(self: Permission) -> None:
        try:
            permit = await self._permits.acquire(self._shard)
            while not self._waiting():
                await self._clock.sleep(LOOK_SECONDS)
        finally:
            self._asking = None
        self._permit = permit
        self._granted(self._clock.monotonic())

    yield Permission, "_ask", ask


def _lost_permit() -> Iterable[Change]:
    yield IdentifyGate, "_expire", lambda self, known, now: None
    yield IdentifyGate, "_end_earlier", lambda self, known, ask, now: None


def _counted_from_the_sending() -> Iterable[Change]:
    def arrival(given: Any, now: float, result: PermitResult) -> float:
        ago = result.sent_milliseconds_ago or 0
        return max(given.given, now - ago / 1000)

    yield gate, "_arrival", arrival


BUGS: Final[Mapping[str, Planted]] = {
    "permit used late": Planted(
        what="A permit that comes while its shard has no connection is kept until it has one.",
        breaks="identify permits",
        seeds=(1457, 1502, 1530, 900),
        changes=_late_permit,
    ),
    "permit lost with its pod": Planted(
        what="The gate waits for ever for the report of a permit.",
        breaks="progress",
        seeds=(1887, 937),
        changes=_lost_permit,
    ),
    "new leader grants at once": Planted(
        what="A gate that has just started gives permits although others may be in use.",
        breaks="identify buckets",
        seeds=(367, 1274),
        changes=lambda: [(gate, "SILENCE_SECONDS", 0.0)],
    ),
    "the last session starts are used": Planted(
        what="Neither the planner nor the gate keeps the day's last session starts back.",
        breaks="identify budget",
        seeds=(14, 23, 64, 130),
        changes=lambda: [(gate, "FLOOR", 0), (budget, "FLOOR", 0), (decide, "FLOOR", 0)],
    ),
    "a bucket counts from the sending": Planted(
        what="The gate counts a bucket's 5 s from when an IDENTIFY was sent, whatever held it up.",
        breaks="identify buckets",
        seeds=(4, 64),
        changes=_counted_from_the_sending,
    ),
}
