"""What ``dgw local`` says to the person who watches: one line whenever something they would care about changed."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

from gateway_operator.api.conditions import Condition, ConditionStatus, ConditionType
from gateway_operator.api.status import Status
from gateway_operator.planning.actions import Plan
from gateway_operator.reconcile.reconciler import GatewayKey

_PASSING = ("ShardsNotReady", "Creating", "ReadingAPI", "ReadingBudget", "Starting", "NotChecked", "NoPodAnswers")
"""Reasons that pass by themselves within moments of a start; the situation line shows them well enough."""


class Console:
    """Prints each gateway's situation when its text changes, and each problem once."""

    def __init__(self, *, write: Callable[[str], None], now: Callable[[], datetime] = datetime.now) -> None:
        self._write = write
        self._now = now
        self._last: dict[GatewayKey, tuple[str, tuple[str, ...]]] = {}

    def say(self, text: str) -> None:
        self._write(f"{self._now():%H:%M:%S}  {text}")

    def show(self, key: GatewayKey, plan: Plan) -> None:
        """Say how the gateway is, if that is news."""
        line, troubles = situation(plan.status), tuple(problems(plan.status))
        before_line, before_troubles = self._last.get(key, ("", ()))
        self._last[key] = (line, troubles)
        if line != before_line:
            self.say(f"{key[1]}: {line}")
        for trouble in troubles:
            if trouble not in before_troubles:
                self.say(f"{key[1]}: {trouble}")


def situation(status: Status) -> str:
    """One line: which generation delivers, how many shards are READY, and how far a reshard is."""
    if status.active_generation is None:
        return "not started yet"
    line = f"generation {status.active_generation}, {status.ready_shards}/{status.shards} shards READY"
    reshard = status.reshard
    if reshard is not None:
        line += f"; reshard {reshard.from_} → {reshard.to}: {reshard.step.value}"
        if reshard.generation != status.active_generation:
            line += f", {reshard.ready_shards}/{reshard.to} READY"
    return line


def problems(status: Status) -> list[str]:
    """Sentences of the conditions that a person should see to, each once however many conditions say it."""
    troubled = {condition.message: condition for condition in reversed(status.conditions) if _is_problem(condition)}
    return [f"{condition.type.value}: {message}" for message, condition in reversed(troubled.items())]


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
