"""What becomes an Event: a table of two statuses and what happened between them."""

from __future__ import annotations

import pytest
from gateway_operator.api.conditions import Condition, ConditionStatus, ConditionType
from gateway_operator.api.status import Outcome, ReshardOutcome, RolloutStatus, Status
from gateway_operator.planning.news import news
from gateway_operator.planning.plan import plan
from planning.situations import EIGHT, NOW, ONE, gen, observe, record

TRUE, FALSE, UNKNOWN = ConditionStatus.TRUE, ConditionStatus.FALSE, ConditionStatus.UNKNOWN
STAMP = "2027-01-15T08:00:00Z"

CALM = {
    ConditionType.READY: (TRUE, "AllShardsReady"),
    ConditionType.RESHARDING: (FALSE, "Idle"),
    ConditionType.DEGRADED: (FALSE, "AsExpected"),
    ConditionType.PAUSED: (FALSE, "NotPaused"),
    ConditionType.TOKEN_VALID: (TRUE, "Accepted"),
    ConditionType.RECEIVER_REACHABLE: (TRUE, "RequestsSucceed"),
}

Changes = dict[ConditionType, tuple[ConditionStatus, str]]


def status(
    changes: Changes | None = None, *, rollout: bool = False, history: tuple[ReshardOutcome, ...] = ()
) -> Status:
    conditions = [
        Condition(
            type=kind,
            status=state,
            reason=reason,
            message=f"{reason}.",
            last_transition_time=STAMP,
            observed_generation=1,
        )
        for kind, (state, reason) in {**CALM, **(changes or {})}.items()
    ]
    rolling = RolloutStatus(updated_pods=0, pods=2, started_at=STAMP, last_progress_at=STAMP)
    return Status(conditions=conditions, rollout=rolling if rollout else None, history=[*history])


PAST = ReshardOutcome(
    outcome=Outcome.COMPLETED,
    reason="CountChanged",
    from_=8,
    to=16,
    generation=2,
    started_at=STAMP,
    ended_at=STAMP,
    duration_seconds=31.4,
    cutover_seconds=0.42,
)


def test_the_end_of_a_reshard_says_what_the_cutover_came_to() -> None:
    past = PAST.model_copy(
        update={
            "released_guilds": 300,
            "aligned": 296,
            "by_occurrence": 40,
            "ambiguous": 3,
            "repaired": 1,
            "delivered_marked": 5,
            "lag_least_milliseconds": -120,
            "lag_most_milliseconds": 340,
            "pause_median_milliseconds": 25.0,
            "pause_p99_milliseconds": 400.0,
            "longest_pause_milliseconds": 512.0,
            "identify_limit_seconds": 5.0,
        }
    )
    (told,) = news(status(), status(history=(past,)))
    assert told.message == (
        "8 to 16 shards in 31 s, the cutover in 0.4 s; 5 events are maybeDuplicate. Guilds: 296 aligned (40 by "
        "occurrence only), 3 ambiguous, 1 repaired. Pause: p50 25 ms, p99 400 ms, longest 512 ms. The new sessions "
        "were -120 to 340 ms behind the old. Identifies alone take 5 s."
    )


TABLE: dict[str, tuple[Status, Status, list[tuple[str, bool]]]] = {
    "nothing": (status(), status(), []),
    "the first pass": (Status(), status({ConditionType.DEGRADED: (TRUE, "ShardsStopped")}), []),
    "shards are gone": (status(), status({ConditionType.READY: (FALSE, "ShardsNotReady")}), []),
    "shards are back": (status({ConditionType.READY: (FALSE, "ShardsNotReady")}), status(), [("Ready", False)]),
    "pods do not run": (
        status({ConditionType.READY: (FALSE, "ShardsNotReady")}),
        status({ConditionType.READY: (FALSE, "PodsNotRunning")}),
        [("PodsNotRunning", True)],
    ),
    "the spec is bad": (status(), status({ConditionType.READY: (FALSE, "InvalidSpec")}), [("InvalidSpec", True)]),
    "degraded": (
        status(),
        status({ConditionType.DEGRADED: (TRUE, "ConflictingEvidence")}),
        [("ConflictingEvidence", True)],
    ),
    "degraded otherwise": (
        status({ConditionType.DEGRADED: (TRUE, "RolloutStalled")}),
        status({ConditionType.DEGRADED: (TRUE, "ShardsStopped")}),
        [("ShardsStopped", True)],
    ),
    "degraded still": (
        status({ConditionType.DEGRADED: (TRUE, "RolloutStalled")}),
        status({ConditionType.DEGRADED: (TRUE, "RolloutStalled")}),
        [],
    ),
    "recovered": (status({ConditionType.DEGRADED: (TRUE, "ShardsStopped")}), status(), [("Recovered", False)]),
    "the token is refused": (
        status(),
        status({ConditionType.TOKEN_VALID: (FALSE, "TokenRefused")}),
        [("TokenRefused", True)],
    ),
    "the token is accepted again": (
        status({ConditionType.TOKEN_VALID: (FALSE, "TokenRefused")}),
        status(),
        [("TokenAccepted", False)],
    ),
    "Discord's API is away": (status(), status({ConditionType.TOKEN_VALID: (UNKNOWN, "APIUnreachable")}), []),
    "Discord's API is back": (status({ConditionType.TOKEN_VALID: (UNKNOWN, "APIUnreachable")}), status(), []),
    "the receiver is away": (
        status(),
        status({ConditionType.RECEIVER_REACHABLE: (FALSE, "RequestsFail")}),
        [("ReceiverUnreachable", True)],
    ),
    "the receiver is back": (
        status({ConditionType.RECEIVER_REACHABLE: (FALSE, "RequestsFail")}),
        status(),
        [("ReceiverReachable", False)],
    ),
    "no pod says anything of the receiver": (
        status(),
        status({ConditionType.RECEIVER_REACHABLE: (UNKNOWN, "NoPodAnswers")}),
        [],
    ),
    "a reshard goes on": (
        status({ConditionType.RESHARDING: (TRUE, "Connecting")}),
        status({ConditionType.RESHARDING: (TRUE, "Overlapping")}),
        [],
    ),
    "a reshard waits": (
        status({ConditionType.RESHARDING: (TRUE, "Overlapping")}),
        status({ConditionType.RESHARDING: (TRUE, "Holding")}),
        [("ReshardHolding", False)],
    ),
    "a wanted reshard is too dear": (
        status(),
        status({ConditionType.RESHARDING: (FALSE, "IdentifyBudget")}),
        [("IdentifyBudget", True)],
    ),
    "a wanted reshard cools down": (status(), status({ConditionType.RESHARDING: (FALSE, "Cooldown")}), []),
    "a reshard is over": (status(), status(history=(PAST,)), [("ReshardCompleted", False)]),
    "a reshard was over": (status(history=(PAST,)), status(history=(PAST,)), []),
    "paused": (status(), status({ConditionType.PAUSED: (TRUE, "Paused")}), [("Paused", False)]),
    "resumed": (status({ConditionType.PAUSED: (TRUE, "Paused")}), status(), [("Resumed", False)]),
    "a rollout begins": (status(), status(rollout=True), [("RolloutStarted", False)]),
    "a rollout is over": (status(rollout=True), status(), [("RolloutCompleted", False)]),
}


@pytest.mark.parametrize(("before", "after", "expected"), TABLE.values(), ids=TABLE.keys())
def test_news(before: Status, after: Status, expected: list[tuple[str, bool]]) -> None:
    assert [(event.reason, event.warning) for event in news(before, after)] == expected


def test_an_event_says_what_a_person_wants_to_know() -> None:
    (done,) = news(status(), status(history=(PAST,)))
    assert done.message == "8 to 16 shards in 31 s, the cutover in 0.4 s; 0 events are maybeDuplicate."
    (over,) = news(status({ConditionType.DEGRADED: (TRUE, "ShardsStopped")}), status())
    assert over.message == "Over: ShardsStopped."


def test_a_gateway_at_rest_has_no_news() -> None:
    first = plan(observe(EIGHT, record(1, honoured=EIGHT), gen(ONE)))
    later = plan(observe(EIGHT, record(1, honoured=EIGHT), gen(ONE), previous=first.status, now=NOW + 90_000))
    assert news(first.status, later.status) == []
