"""The person who watches is told what is news, once."""

from __future__ import annotations

from datetime import datetime, timedelta

from gateway_operator.api.conditions import Condition, ConditionStatus, ConditionType
from gateway_operator.api.status import Status
from gateway_operator.local.console import REPEAT_AFTER, Console
from gateway_operator.planning.actions import Plan


def plan(*conditions: tuple[ConditionType, ConditionStatus, str, str], ready: int = 8) -> Plan:
    made = [
        Condition(
            type=kind, status=status, reason=reason, message=message, last_transition_time="", observed_generation=1
        )
        for kind, status, reason, message in conditions
    ]
    status = Status(active_generation=1, shards=8, ready_shards=ready, conditions=made)
    return Plan(actions=(), status=status, again=False, wake_after_seconds=30)


def test_news_is_said_once_and_a_problem_in_other_words_only_now_and_then() -> None:
    lines: list[str] = []
    now = datetime(2026, 1, 2, 3, 4, 5)
    console = Console(write=lines.append, now=lambda: now)
    key = ("default", "bot")

    def said(shown: Plan) -> list[str]:
        lines.clear()
        console.show(key, shown)
        return list(lines)

    def away(message: str) -> Plan:
        return plan((ConditionType.RECEIVER_REACHABLE, ConditionStatus.FALSE, "RequestsFail", message))

    good = plan((ConditionType.READY, ConditionStatus.TRUE, "AllShardsReady", "All 8 shards are READY."))
    assert said(good) == ["03:04:05  bot: generation 1, 8/8 shards READY"]
    assert said(good) == []
    assert said(away("No answer (1 event).")) == ["03:04:05  bot: ReceiverReachable: No answer (1 event)."]
    assert said(away("No answer (2 events).")) == []
    now += REPEAT_AFTER
    assert said(away("No answer (3 events).")) == ["03:04:35  bot: ReceiverReachable: No answer (3 events)."]
    assert said(good) == []
    now += timedelta(seconds=1)
    assert said(away("No answer (3 events).")) == ["03:04:36  bot: ReceiverReachable: No answer (3 events)."]


def test_what_several_conditions_say_is_said_once_and_a_start_is_no_problem() -> None:
    lines: list[str] = []
    console = Console(write=lines.append, now=lambda: datetime(2026, 1, 2, 3, 4, 5))
    missing = "Secret default/bot does not exist."
    console.show(
        ("default", "bot"),
        plan(
            (ConditionType.READY, ConditionStatus.FALSE, "SecretMissing", missing),
            (ConditionType.TOKEN_VALID, ConditionStatus.FALSE, "SecretMissing", missing),
            (ConditionType.RECEIVER_REACHABLE, ConditionStatus.UNKNOWN, "NoPodAnswers", "No pod answers yet."),
            ready=0,
        ),
    )
    assert lines == ["03:04:05  bot: generation 1, 0/8 shards READY", f"03:04:05  bot: Ready: {missing}"]
