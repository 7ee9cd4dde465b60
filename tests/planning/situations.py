"""Builders of what a pass observes, and its acts in short: the vocabulary of the planner's tables."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from gateway_operator.api.conditions import ConditionStatus, ConditionType, timestamp
from gateway_operator.api.gateway import Metadata
from gateway_operator.api.generation import Generation
from gateway_operator.api.parse import parse_gateway
from gateway_operator.api.spec import Spec
from gateway_operator.api.status import ReshardStatus, Status, Step
from gateway_operator.planning.actions import (
    Action,
    Change,
    DeleteGeneration,
    DeletePods,
    DropPulls,
    EnsureGeneration,
    EnsureShared,
    Plan,
    PullImage,
    PushRecord,
    RefreshDiscord,
    TouchPods,
    WriteRecord,
)
from gateway_operator.planning.difference import new_generation
from gateway_operator.planning.observed import (
    DiscordInfo,
    Life,
    Observation,
    ObservedGeneration,
    ObservedPod,
    ObservedRecord,
    ObservedSecret,
)
from gateway_operator.planning.wishes import wishes

from shard_runtime.contract import (
    HandoverStatus,
    PodStatus,
    ReceiverStatus,
    Record,
    Role,
    ShardState,
    ShardStatus,
)

NOW = 1_800_000_000_000
METADATA = Metadata(name="bot", namespace="default", uid="u", generation=7)
SECRET = ObservedSecret(name="bot", exists=True, keys=("token",), usable=True)
DISCORD = DiscordInfo(
    recommended_shards=8, total=1000, remaining=900, reset_at=NOW + 10**7, max_concurrency=1, read_at=NOW
)


def spec(count: int = 8, *, request_id: str = "", paused: bool = False, **more: Any) -> Spec:
    manifest = {
        "apiVersion": "discordgateway.dev/v1alpha1",
        "kind": "DiscordGateway",
        "metadata": {"name": "bot"},
        "spec": {
            "tokenSecretRef": {"name": "bot"},
            "intents": ["GUILDS"],
            "forward": {"url": "http://bot/"},
            "shards": {"count": count, "perWorker": 4, "workersPerPod": 1},
            "reshard": {"requestID": request_id},
            "paused": paused,
            **more,
        },
    }
    return parse_gateway(manifest).spec


@dataclass(frozen=True, kw_only=True)
class Health:
    """How the pods of a generation are."""

    ready: int = 10**6
    guilds: int = 10
    """Of each shard."""
    settled: bool = True
    epoch: int = 1
    age: float = 3600.0
    receiver: bool = True
    oldest: float = 0.0
    queued: int = 0
    awaited: int = 0
    complete: bool | None = None
    rehearsed: bool = True
    silent: tuple[int, ...] = ()
    old: tuple[int, ...] = ()
    """Pods of an earlier template."""
    ending: tuple[int, ...] = ()
    missing: tuple[int, ...] = ()
    life: Life = Life.RUNNING
    """Of the silent pods."""
    rate: float | None = 1.0
    """Events per second of each shard; None: not known yet."""
    node: str | None = "n1"
    image: str = "x:1"
    """Of the pods of an earlier template; the present one's is ``x:1``."""
    unready: tuple[int, ...] = ()
    """Pods that are not ready by their nodes' word."""
    problem: str | None = None
    code: int | None = None
    """Close code of the shards that are stopped."""


def fixed(number: int, made_for: Spec, *, count: int | None = None, after: Generation | None = None) -> Generation:
    shards = count or made_for.shards.count or 8
    return new_generation(made_for, number=number, count=shards, reason="CountChanged", predecessor=after)


def gen(generation: Generation, **health: Any) -> ObservedGeneration:
    """A generation as it is observed; *health* are fields of :class:`Health`."""
    state = Health(**health)
    return ObservedGeneration(
        number=generation.number,
        fixed=generation,
        pods=tuple(_pod(generation, index, state) for index in range(generation.layout.pods)),
        created_at=NOW - 10**7,
        revision="r",
        image="x:1",
    )


HANDED_OVER: Final[dict[str, Any]] = {
    "released_guilds": 5,
    "delivered_marked": 1,
    "aligned": 9,
    "by_occurrence": 2,
    "ambiguous": 1,
    "repaired": 1,
    "missed_by_old": 3,
    "lag_least_milliseconds": -40,
    "lag_most_milliseconds": 90,
    "longest_pause_milliseconds": 420.0,
    "pauses": [3, 0, 1, 0, 0, 0, 1],
}
"""What each pod says after a handover."""


def _pod(generation: Generation, index: int, state: Health) -> ObservedPod:
    uid, revision = f"g{generation.number}-{index}", "before" if index in state.old else "r"
    if index in state.missing:
        return ObservedPod(index=index)
    if index in state.silent:
        trouble = None if state.life is Life.RUNNING else "its image x:1 cannot be pulled"
        return ObservedPod(
            index=index,
            uid=uid,
            touched_epoch=state.epoch,
            revision=revision,
            life=state.life,
            trouble=trouble,
            node=state.node,
            image=state.image if index in state.old else "x:1",
        )
    shards = [
        ShardStatus(
            id=shard,
            state=ShardState.READY
            if shard < state.ready
            else (ShardState.STOPPED if state.problem else ShardState.WAITING),
            settled=state.settled and shard < state.ready,
            session_seconds=state.age if shard < state.ready else None,
            guilds=state.guilds,
            sequence=100 if shard < state.ready else None,
            behind_seconds=0.5 if shard < state.ready else None,
            problem=None if shard < state.ready else state.problem,
            close_code=None if shard < state.ready else state.code,
        )
        for shard in generation.layout.pod_shards(index)
    ]
    status = PodStatus(
        generation=generation.number,
        pod=index,
        pod_uid=uid,
        role=Role.ACTIVE,
        record_epoch=state.epoch,
        shards=shards,
        queued=state.queued,
        awaited=state.awaited,
        oldest_seconds=state.oldest,
        receiver=ReceiverStatus(reachable=state.receiver, problem=None if state.receiver else "status 500"),
        handover=HandoverStatus(
            complete=bool(state.complete),
            rehearsed=state.rehearsed,
            rehearsal_problem=None if state.rehearsed else "Only 3 of 40 guilds have an event in common.",
            **({} if state.complete is None else HANDED_OVER),
        ),
    )
    return ObservedPod(
        index=index,
        uid=uid,
        status=status,
        touched_epoch=state.epoch,
        revision=revision,
        deleting=index in state.ending,
        rates={} if state.rate is None else {shard.id: state.rate for shard in shards},
        node=state.node,
        image=state.image if index in state.old else "x:1",
        ready=index not in state.unready,
    )


def record(
    active: int, target: int | None = None, *, honoured: Spec, epoch: int = 1, retired: int = 0, **more: Any
) -> ObservedRecord:
    made = Record(epoch=epoch, active=active, target=target, honoured=wishes(honoured), retired=retired, **more)
    return ObservedRecord(resource_version="42", record=made)


def reshard(step: Step, *, seconds: float, ready: int = 16, generation: int = 2) -> ReshardStatus:
    """What the last pass said, *seconds* after the last progress."""
    return ReshardStatus(
        step=step,
        reason="CountChanged",
        from_=8,
        to=16,
        generation=generation,
        started_at=timestamp(NOW - 400_000),
        last_progress_at=timestamp(NOW - int(seconds * 1000)),
        ready_shards=ready,
    )


def observe(
    wanted: Spec | None,
    known: ObservedRecord | None,
    *generations: ObservedGeneration,
    before: ReshardStatus | None = None,
    **more: Any,
) -> Observation:
    values: dict[str, Any] = {
        "now": NOW,
        "metadata": METADATA,
        "spec": wanted,
        "record": known,
        "generations": generations,
        "secret": SECRET,
        "discord": DISCORD,
        "previous": Status(reshard=before),
        **more,
    }
    return Observation(**values)


EIGHT, SIXTEEN = spec(8), spec(16)
ONE = fixed(1, EIGHT)
TWO = fixed(2, SIXTEEN, after=ONE)
OVERLAPPED = reshard(Step.OVERLAPPING, seconds=12)
BEGUN = record(1, 2, honoured=SIXTEEN, epoch=2)
COMMITTED = record(2, honoured=SIXTEEN, epoch=3)


def acts(made: Plan) -> list[str]:
    """The plan's acts in short, without what keeps things as they are."""
    return [short for action in made.actions if (short := _short(action))]


def _short(action: Action) -> str:
    match action:
        case WriteRecord(change=Change.BEGIN):
            return f"begin {action.record.target}"
        case WriteRecord(change=Change.CREATE):
            return f"create record {action.record.active}"
        case WriteRecord():
            return action.change.value
        case EnsureGeneration():
            return f"ensure {action.generation.number}"
        case DeleteGeneration():
            return f"delete {action.number}"
        case DeletePods():
            return f"replace {action.generation}/{','.join(str(pod.index) for pod in action.pods)}"
        case PullImage():
            return f"pull {action.image} on {action.node}"
        case DropPulls():
            return f"drop {','.join(name for name, _ in action.pods)}"
        case PushRecord():
            return f"push {action.generation}/{','.join(map(str, action.pods))}"
        case TouchPods():
            return f"touch {action.generation}/{','.join(map(str, action.pods))}"
        case RefreshDiscord():
            return "read discord"
        case EnsureShared():
            return ""


def said(made: Plan, kind: ConditionType) -> tuple[ConditionStatus, str]:
    found = next(condition for condition in made.status.conditions if condition.type is kind)
    return found.status, found.reason


def message(made: Plan, kind: ConditionType) -> str:
    return next(condition.message for condition in made.status.conditions if condition.type is kind)
