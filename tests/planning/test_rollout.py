"""A changed pod template, pod by pod: a situation, and what is done or waited for."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from gateway_operator.api.conditions import Condition, ConditionStatus, ConditionType, timestamp
from gateway_operator.api.status import RolloutStatus, Status
from gateway_operator.planning.observed import Life, Observation
from gateway_operator.planning.plan import RESHARDING_SECONDS, plan
from gateway_operator.planning.replay import replay_events
from planning.situations import (
    BEGUN,
    COMMITTED,
    DISCORD,
    EIGHT,
    NOW,
    ONE,
    OVERLAPPED,
    SIXTEEN,
    TWO,
    acts,
    gen,
    message,
    observe,
    record,
    said,
    spec,
)

HONOURED = record(1, honoured=EIGHT)


def not_ready_for(seconds: float) -> Status:
    """A status that has said for so long that the gateway is not READY."""
    condition = Condition(
        type=ConditionType.READY,
        status=ConditionStatus.FALSE,
        reason="ShardsNotReady",
        last_transition_time=timestamp(NOW - int(seconds * 1000)),
        observed_generation=7,
    )
    return Status(conditions=[condition])


def rolling(*, updated: int = 0, seconds: float = 1.0) -> Status:
    """A status of a rollout whose last progress was so long ago."""
    stamp = timestamp(NOW - int(seconds * 1000))
    return Status(rollout=RolloutStatus(updated_pods=updated, pods=2, started_at=stamp, last_progress_at=stamp))


def seen(wanted: Any = EIGHT, *, previous: Status | None = None, **health: Any) -> Observation:
    """The active generation of two pods, four shards each."""
    return observe(wanted, HONOURED, gen(ONE, **health), previous=previous or Status())


TABLE = {
    "all pods are of the present template": (seen(), [], None),
    "both are old": (seen(old=(0, 1)), ["replace 1/0"], "Pod 0 of generation 1 is replaced. 1 more to follow."),
    "one is old": (seen(old=(1,)), ["replace 1/1"], "Pod 1 of generation 1 is replaced."),
    "the first is ending": (seen(old=(0, 1), ending=(0,)), [], "Pod 0 of generation 1 is ending."),
    "the first is gone": (seen(old=(1,), missing=(0,)), [], "Pod 0 of generation 1 is starting."),
    "the first is starting": (seen(old=(1,), silent=(0,)), [], "Pod 0 of generation 1 is starting."),
    "the first resumes": (
        seen(old=(1,), ready=0),
        [],
        "Pod 0 of generation 1 resumes its sessions.",
    ),
    "the first does not start": (
        seen(old=(1,), silent=(0,), life=Life.UNSTARTED),
        [],
        "Pod 0 of generation 1 does not start: its image x:1 cannot be pulled.",
    ),
    "the last resumes": (
        seen(ready=4, previous=rolling(updated=1)),
        [],
        "Pod 1 of generation 1 resumes its sessions.",
    ),
    "the first is back, and its node is yet to say so": (
        seen(old=(1,), unready=(0,), previous=rolling(updated=0)),
        [],
        "Shards of pods 0 are READY; their nodes are yet to say so.",
    ),
    "the first is back, and its node has not said so for a while": (
        seen(old=(1,), unready=(0,), previous=rolling(updated=1, seconds=19)),
        [],
        "Shards of pods 0 are READY; their nodes are yet to say so.",
    ),
    "the first is back, and its node says nothing": (
        seen(old=(1,), unready=(0,), previous=rolling(updated=1, seconds=20)),
        ["replace 1/1"],
        "Pod 1 of generation 1 is replaced.",
    ),
    "the rollout begins, and a node says that an old pod is not ready": (
        seen(old=(0, 1), unready=(1,)),
        [],
        "Shards of pods 1 are READY; their nodes are yet to say so.",
    ),
    "the last is back and nobody waits for its node": (seen(unready=(1,), previous=rolling(updated=1)), [], None),
    "the last is back": (seen(previous=rolling(updated=1)), [], None),
    "a pod that restarts by itself is no rollout": (seen(ready=4), [], None),
    "an old pod that does not answer holds it up": (
        seen(old=(0, 1), silent=(1,), previous=not_ready_for(90)),
        [],
        "Pod 1 of generation 1 does not answer; the rollout waits for it.",
    ),
    "shards of another pod are missing": (
        seen(old=(0, 1), ready=4),
        [],
        "Shards of pods 1 are not all READY; the rollout waits for them.",
    ),
    "shards of an old pod have been missing for long": (
        seen(old=(0, 1), ready=4, previous=not_ready_for(30)),
        ["replace 1/1"],
        "Pod 1 of generation 1 is replaced. 1 more to follow.",
    ),
    "pods never ran": (
        seen(old=(0, 1), silent=(0, 1), life=Life.UNSTARTED),
        ["replace 1/0,1"],
        "Pods 0, 1 of generation 1 do not run and are made anew.",
    ),
    "a pod never ran, and answers all the same": (
        seen(old=(0,), life=Life.UNSTARTED),
        ["replace 1/0"],
        "Pod 0 of generation 1 is replaced.",
    ),
    "a pod ends again and again": (
        seen(old=(0, 1), silent=(1,), life=Life.FAILING, previous=not_ready_for(31)),
        ["replace 1/1"],
        "Pod 1 of generation 1 is replaced. 1 more to follow.",
    ),
    "a pod ends again and again, but not for long yet": (
        seen(old=(0, 1), silent=(1,), life=Life.FAILING, previous=not_ready_for(29)),
        [],
        "Shards of pods 1 are not all READY; the rollout waits for them.",
    ),
    "a backlog": (
        seen(old=(0, 1), oldest=1.0, queued=5),
        [],
        "Pod 0 of generation 1 has a backlog and no volume to keep it on; the rollout waits until it is delivered.",
    ),
    "a young queue is no backlog": (
        seen(old=(1,), oldest=0.9, queued=5),
        ["replace 1/1"],
        "Pod 1 of generation 1 is replaced.",
    ),
    "something queued and no receiver": (
        seen(old=(1,), queued=1, receiver=False),
        [],
        "Pod 1 of generation 1 has a backlog and no volume to keep it on; the rollout waits until it is delivered.",
    ),
    "nothing queued and no receiver": (
        seen(old=(1,), receiver=False),
        ["replace 1/1"],
        "Pod 1 of generation 1 is replaced.",
    ),
    "events come too fast": (
        # 10 guilds: Discord keeps 750 events
        seen(old=(0, 1), rate=151.0),
        [],
        "Events come to shard 0 so fast that Discord keeps less than 5 s of them; "
        "the rollout waits for a quieter time.",
    ),
    "events come just slowly enough": (
        seen(old=(1,), rate=150.0),
        ["replace 1/1"],
        "Pod 1 of generation 1 is replaced.",
    ),
    "how fast events come is not known": (
        seen(old=(1,), rate=None),
        [],
        "How fast events come to pod 1 of generation 1 is being measured.",
    ),
    "paused": (seen(spec(8, paused=True), old=(0, 1)), [], "spec.paused is true; the rollout waits."),
    "paused, and pods never ran": (
        seen(spec(8, paused=True), old=(0, 1), silent=(0, 1), life=Life.UNSTARTED),
        [],
        "spec.paused is true; the rollout waits.",
    ),
    "the StatefulSet controller is behind": (
        observe(EIGHT, HONOURED, replace(gen(ONE, old=(0, 1)), template_seen=False)),
        [],
        "The StatefulSet controller has not seen the changed template yet.",
    ),
}


@pytest.mark.parametrize(("observation", "expected", "sentence"), TABLE.values(), ids=TABLE.keys())
def test_rollout(observation: Observation, expected: list[str], sentence: str | None) -> None:
    made = plan(observation)
    assert [act for act in acts(made) if act != "ensure 1"] == expected
    rollout = made.status.rollout
    assert (None if rollout is None else rollout.message) == sentence


def test_the_template_is_applied_before_a_pod_is_replaced() -> None:
    assert acts(plan(seen(old=(0, 1)))) == ["ensure 1", "replace 1/0"]


DURING_RESHARDS = {
    "a new generation is wanted": (observe(SIXTEEN, HONOURED, gen(ONE, old=(0, 1))), ["begin 2"]),
    "a new generation is wanted, and there is no budget for it": (
        observe(SIXTEEN, HONOURED, gen(ONE, old=(0, 1)), discord=replace(DISCORD, remaining=100)),
        ["ensure 1", "replace 1/0"],
    ),
    "a new generation is wanted, once the budget is read": (
        observe(SIXTEEN, HONOURED, gen(ONE, old=(0, 1)), discord=replace(DISCORD, read_at=NOW - 31_000)),
        ["ensure 1", "read discord"],
    ),
    "a target comes up": (
        observe(SIXTEEN, BEGUN, gen(ONE, epoch=2, old=(0, 1)), gen(TWO, epoch=2, ready=9, old=(0, 1, 2, 3))),
        ["ensure 1", "ensure 2"],
    ),
    "a target is ready": (
        observe(SIXTEEN, BEGUN, gen(ONE, epoch=2, old=(0, 1)), gen(TWO, epoch=2, old=(0,)), before=OVERLAPPED),
        ["commit"],
    ),
    "a target's pods never ran and the mistake is mended": (
        observe(SIXTEEN, BEGUN, gen(ONE, epoch=2), gen(TWO, epoch=2, old=(2, 3), silent=(2, 3), life=Life.UNSTARTED)),
        ["ensure 1", "ensure 2", "replace 2/2,3"],
    ),
    "a target's pods end again and again and the mistake is mended": (
        observe(SIXTEEN, BEGUN, gen(ONE, epoch=2), gen(TWO, epoch=2, old=(2, 3), silent=(2, 3), life=Life.FAILING)),
        ["ensure 1", "ensure 2", "replace 2/2,3"],
    ),
    "a target's pods never ran and the mistake stands": (
        observe(SIXTEEN, BEGUN, gen(ONE, epoch=2), gen(TWO, epoch=2, silent=(2, 3), life=Life.UNSTARTED)),
        ["ensure 1", "ensure 2"],
    ),
    "a committed target's pod never ran": (
        observe(
            SIXTEEN,
            COMMITTED,
            gen(ONE, epoch=3, old=(0, 1)),
            gen(TWO, epoch=3, complete=False, old=(0, 3), silent=(3,), life=Life.UNSTARTED),
        ),
        ["ensure 2", "replace 2/3"],
    ),
}


@pytest.mark.parametrize(("observation", "expected"), DURING_RESHARDS.values(), ids=DURING_RESHARDS.keys())
def test_a_rollout_waits_for_a_reshard(observation: Observation, expected: list[str]) -> None:
    made = plan(observation)
    assert acts(made) == expected


def test_a_deletion_names_the_very_pod() -> None:
    made = plan(seen(old=(1,)))
    (deletion,) = [action for action in made.actions if type(action).__name__ == "DeletePods"]
    assert [(pod.index, pod.uid) for pod in deletion.pods] == [(1, "g1-1")]  # type: ignore[union-attr]


def test_progress_is_a_pod_more_and_waiting_is_none() -> None:
    before = rolling(updated=0, seconds=100)
    waits = plan(seen(old=(1,), silent=(0,), previous=before)).status.rollout
    assert waits is not None and before.rollout is not None
    assert (waits.started_at, waits.last_progress_at) == (before.rollout.started_at, before.rollout.last_progress_at)
    back = plan(seen(old=(1,), rate=None, previous=before)).status.rollout
    assert back is not None
    assert (back.updated_pods, back.last_progress_at) == (1, timestamp(NOW))


def test_a_person_hears_of_a_pod_that_does_not_come_back() -> None:
    late = seen(old=(1,), silent=(0,), life=Life.UNSTARTED, previous=rolling(seconds=301))
    assert said(plan(late), ConditionType.DEGRADED) == (ConditionStatus.TRUE, "RolloutStalled")
    assert "its image x:1 cannot be pulled" in message(plan(late), ConditionType.DEGRADED)
    assert said(plan(late), ConditionType.READY) == (ConditionStatus.FALSE, "PodsNotRunning")
    fresh_operator = replace(late, watched_since=NOW - 299_000)
    assert said(plan(fresh_operator), ConditionType.DEGRADED)[0] is ConditionStatus.FALSE
    backlog = seen(old=(1,), oldest=1.0, previous=rolling(seconds=301))
    assert said(plan(backlog), ConditionType.DEGRADED)[0] is ConditionStatus.FALSE, "nothing is wrong with the pods"


def test_a_rollout_is_followed_closely_and_a_paused_one_is_not() -> None:
    assert plan(seen(old=(0,))).wake_after_seconds == RESHARDING_SECONDS
    assert plan(seen(spec(8, paused=True), old=(0,))).wake_after_seconds > RESHARDING_SECONDS


@pytest.mark.parametrize(("guilds", "events"), [(0, 100), (1, 100), (2, 150), (46, 3450), (47, 3500), (2500, 3500)])
def test_what_discord_replays(guilds: int, events: int) -> None:
    assert replay_events(guilds) == events
