"""``status``: what the operator observed. Nothing is decided from it but how long a step has taken."""

from __future__ import annotations

import enum
from typing import Annotated

from pydantic import Field

from gateway_operator.api.base import Observed
from gateway_operator.api.conditions import Condition

MOST_HISTORY = 5
MOST_GENERATIONS = 8
MOST_NOT_READY_SHARDS = 10

Stamp = Annotated[str, Field(max_length=32)]


class Step(enum.StrEnum):
    """Where a reshard is; the order is the order of events."""

    CREATING = "Creating"
    """The record names a target whose StatefulSet is not there yet."""
    CONNECTING = "Connecting"
    """Shards of the target are not all READY and settled."""
    OVERLAPPING = "Overlapping"
    """Both generations record the same events."""
    HOLDING = "Holding"
    """Everything is ready but the receiver is away or behind, or the gateway is paused."""
    HANDING_OVER = "HandingOver"
    """Committed: the target seals its predecessor, aligns and releases."""
    RETIRING = "Retiring"
    """The predecessor has nothing left to deliver and is being deleted."""


class Outcome(enum.StrEnum):
    COMPLETED = "Completed"
    ABORTED = "Aborted"
    STALLED = "Stalled"


class ReshardStatus(Observed):
    """The reshard in progress."""

    step: Step = Field(description="Creating, Connecting, Overlapping, Holding, HandingOver or Retiring.")
    reason: str = Field(max_length=128, description="What asked for it.")
    message: str = Field(default="", max_length=2048, description="What is waited for.")
    from_: int = Field(ge=0, description="Number of shards before.")
    to: int = Field(ge=0, description="Number of shards after.")
    generation: int = Field(ge=1, description="The new generation.")
    started_at: Stamp = Field(description="When it began.")
    last_progress_at: Stamp = Field(description="When the step or the number of READY shards last went on.")
    ready_shards: int = Field(default=0, ge=0, description="READY shards of the new generation.")
    attempt: int = Field(default=1, ge=1, description="How often this was tried.")


class ReshardOutcome(Observed):
    """A past reshard."""

    outcome: Outcome = Field(description="Completed, Aborted or Stalled.")
    reason: str = Field(max_length=128, description="What asked for it.")
    message: str = Field(default="", max_length=2048, description="Why it ended, when it was not completed.")
    from_: int = Field(ge=0, description="Number of shards before.")
    to: int = Field(ge=0, description="Number of shards after.")
    generation: int = Field(ge=1, description="The new generation.")
    started_at: Stamp = Field(description="When it began.")
    ended_at: Stamp = Field(description="When it ended.")
    duration_seconds: float = Field(ge=0, description="From beginning to end.")
    cutover_seconds: float = Field(default=0, ge=0, description="From the commit to the last guild's release.")
    released_guilds: int = Field(default=0, ge=0, description="Guilds whose delivery moved.")
    delivered_marked: int = Field(default=0, ge=0, description="Events delivered as maybeDuplicate.")
    skipped: int = Field(default=0, ge=0, description="Held events that the predecessor had accepted.")
    aligned: int = Field(
        default=0, ge=0, description="Guilds (and channels of direct messages) whose place was found without doubt."
    )
    by_occurrence: int = Field(
        default=0, ge=0, description="Those of them without an event that has an id: placed by counting equal events."
    )
    ambiguous: int = Field(
        default=0, ge=0, description="Guilds where something could not be told, and was decided for the duplicate."
    )
    repaired: int = Field(
        default=0, ge=0, description="Guilds that Discord did not give both generations in the same order or number."
    )
    missed_by_old: int = Field(
        default=0, ge=0, description="Events that Discord gave the new generation alone, too old to be delivered."
    )
    lag_least_milliseconds: int | None = Field(
        default=None, description="How much later the new sessions got an event than the old ones: the least measured."
    )
    lag_most_milliseconds: int | None = Field(default=None, description="The most measured.")
    pause_median_milliseconds: float = Field(
        default=0, ge=0, description="Half of the guilds had no longer pause in their delivery (upper bound)."
    )
    pause_p99_milliseconds: float = Field(
        default=0, ge=0, description="99 of 100 guilds had no longer pause in their delivery (upper bound)."
    )
    longest_pause_milliseconds: float = Field(default=0, ge=0, description="Longest pause in a guild's delivery.")
    identify_limit_seconds: float = Field(
        default=0,
        ge=0,
        description="What Discord's pace of identifies alone takes: ceil(shards / max_concurrency) x 5 s.",
    )


class RolloutStatus(Observed):
    """The rollout in progress: pods get a changed template one at a time."""

    updated_pods: int = Field(ge=0, description="Pods that run the present template, all of their shards READY.")
    pods: int = Field(ge=0, description="Pods in all.")
    message: str = Field(default="", max_length=2048, description="What is being done or waited for.")
    started_at: Stamp = Field(description="When it began.")
    last_progress_at: Stamp = Field(description="When a pod was last replaced or came back.")


class GenerationStatus(Observed):
    """One generation."""

    number: int = Field(ge=1, description="Number of the generation; never reused.")
    shards: int = Field(ge=0, description="How many shards it holds.")
    role: str = Field(max_length=16, description="standby, active, sealed or retired.")
    ready_shards: int = Field(default=0, ge=0, description="READY shards.")
    pods: int = Field(default=0, ge=0, description="Pods that it is made of.")
    ready_pods: int = Field(default=0, ge=0, description="Pods whose shards are all READY.")
    not_ready_shards: list[int] = Field(
        default=[], max_length=MOST_NOT_READY_SHARDS, description="The first shards that are not READY."
    )
    revision: str = Field(default="", max_length=64, description="Hash of the pod template.")


class IdentifyBudget(Observed):
    """Discord's session start limit."""

    total: int = Field(ge=0, description="Session starts in a day.")
    remaining: int = Field(ge=0, description="Session starts left.")
    reset_at: Stamp | None = Field(default=None, description="When the day starts anew.")
    max_concurrency: int = Field(ge=1, description="Session starts at a time, every 5 s.")


class DeliveryStatus(Observed):
    """What waits for the receiver."""

    queued: int = Field(default=0, ge=0, description="Events that wait.")
    oldest_seconds: float = Field(default=0, ge=0, description="Age of the oldest.")


class Status(Observed):
    """What the operator observed."""

    observed_generation: int = Field(default=0, ge=0, description="metadata.generation that this was observed of.")
    conditions: list[Condition] = Field(
        default=[],
        max_length=16,
        json_schema_extra={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["type"]},
        description="Ready, Resharding, Degraded, Paused, TokenValid and ReceiverReachable.",
    )
    shards: int = Field(default=0, ge=0, description="Shards of the active generation.")
    ready_shards: int = Field(default=0, ge=0, description="READY shards of the active generation.")
    pods: int = Field(default=0, ge=0, description="Pods of the active generation.")
    selector: str = Field(default="", max_length=512, description="Label selector of the active generation's pods.")
    guilds: int = Field(default=0, ge=0, description="Guilds of the active generation.")
    capacity: int = Field(default=0, ge=0, description="Guilds that the shards are meant to hold.")
    utilisation: int = Field(default=0, ge=0, description="Guilds in percent of the capacity.")
    recommended_shards: int | None = Field(default=None, ge=0, description="Shards that Discord recommends.")
    active_generation: int | None = Field(default=None, ge=1, description="The generation that delivers.")
    target_generation: int | None = Field(
        default=None, ge=1, description="The generation that is to take over; absent when idle."
    )
    reshard: ReshardStatus | None = Field(default=None, description="The reshard in progress.")
    rollout: RolloutStatus | None = Field(default=None, description="The rollout in progress.")
    generations: list[GenerationStatus] = Field(
        default=[], max_length=MOST_GENERATIONS, description="All generations that exist."
    )
    identify_budget: IdentifyBudget | None = Field(default=None, description="Discord's session start limit.")
    delivery: DeliveryStatus = Field(default_factory=DeliveryStatus, description="What waits for the receiver.")
    history: list[ReshardOutcome] = Field(
        default=[], max_length=MOST_HISTORY, description="Past reshards, the latest first."
    )
