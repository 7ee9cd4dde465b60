"""What ``dgw local`` says to the person who watches: one line whenever something they would care about changed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

from gateway_operator.api.conditions import Condition, ConditionStatus, ConditionType
from gateway_operator.api.status import Status
from gateway_operator.planning.actions import Plan
from gateway_operator.reconcile.reconciler import GatewayKey

_PASSING = ("ShardsNotReady", "Creating", "ReadingAPI", "ReadingBudget", "Starting", "NotChecked", "NoPodAnswers")
"""Reasons that pass by themselves within moments of a start; the situation line shows them well enough."""

REPEAT_AFTER = timedelta(seconds=30)
"""The same problem in other words is said again no sooner."""


@dataclass(frozen=True, slots=True)
class _Trouble:
    message: str
    said: datetime


class Console:
    """Prints each gateway's situation when its text changes, and a problem when it comes or, rarely, reads anew."""

    def __init__(self, *, write: Callable[[str], None], now: Callable[[], datetime] = datetime.now) -> None:
        self._write = write
        self._now = now
        self._lines: dict[GatewayKey, str] = {}
        self._troubles: dict[GatewayKey, dict[str, _Trouble]] = {}

    def say(self, text: str) -> None:
        self._write(f"{self._now():%H:%M:%S}  {text}")

    def show(self, key: GatewayKey, plan: Plan) -> None:
        """Say how the gateway is, if that is news."""
        line = situation(plan.status)
        if line != self._lines.get(key):
            self._lines[key] = line
            self.say(f"{key[1]}: {line}")
        before, now = self._troubles.get(key, {}), self._now()
        current: dict[str, _Trouble] = {}
        for condition in problems(plan.status):
            kind = f"{condition.type.value} {condition.reason}"
            known = before.get(kind)
            news = known is None or (condition.message != known.message and now - known.said >= REPEAT_AFTER)
            if known is None or news:
                self.say(f"{key[1]}: {condition.type.value}: {condition.message}")
                known = _Trouble(message=condition.message, said=now)
            current[kind] = known
        self._troubles[key] = current


def situation(status: Status) -> str:
    """One line: which generation delivers, how many shards are READY, and how far a reshard is."""
    if status.active_generation is None:
        return "not started yet"
    if not status.shards:
        return f"generation {status.active_generation} is being created"
    line = f"generation {status.active_generation}, {status.ready_shards}/{status.shards} shards READY"
    reshard = status.reshard
    if reshard is not None:
        line += f"; reshard {reshard.from_} → {reshard.to}: {reshard.step.value}"
        if reshard.generation != status.active_generation:
            line += f", {reshard.ready_shards}/{reshard.to} READY"
    return line


def problems(status: Status) -> list[Condition]:
    """Conditions that a person should see to; of those that say the same, the first."""
    troubled = {condition.message: condition for condition in reversed(status.conditions) if _is_problem(condition)}
    return list(reversed(troubled.values()))


def _is_problem(condition: Condition) -> bool:
    if not condition.message or condition.reason in _PASSING:
        return False
    match condition.type:
        case ConditionType.READY:
            return condition.status is ConditionStatus.FALSE
        case ConditionType.RESHARDING:  # while it is one, the situation line says so
            return condition.status is ConditionStatus.FALSE
        case ConditionType.DEGRADED | ConditionType.PAUSED:
            return condition.status is ConditionStatus.TRUE
        case _:
            return condition.status is not ConditionStatus.TRUE
