"""What the operator sees of one gateway and its world, as plain data.

The shell fills an :class:`Observation`; the planner reads nothing else, so that a pass can be written down, printed and
tested. Times are unix milliseconds.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field

from gateway_operator.api.gateway import Metadata
from gateway_operator.api.generation import Generation
from gateway_operator.api.spec import Spec
from gateway_operator.api.status import Status
from shard_runtime.contract import HeldBack, PodStatus, Record


@dataclass(frozen=True, slots=True, kw_only=True)
class ObservedRecord:
    """The ConfigMap ``<name>-active`` as it was read, past any cache."""

    resource_version: str
    record: Record | None
    """None when ``record.json`` is missing or cannot be read; ``problem`` says why."""
    problem: str | None = None


class Life(enum.Enum):
    """What the node says of a pod's process."""

    RUNNING = "running"
    """It runs, or ran and is being started again."""
    UNSTARTED = "unstarted"
    """It has never run: no node, no image, a volume that is not there."""
    FAILING = "failing"
    """It ends again and again."""


class Pull(enum.Enum):
    """How far a pod that pulls an image ahead has got."""

    PULLING = "pulling"
    DONE = "done"
    """The node has the image."""
    NO_IMAGE = "no image"
    """The node cannot pull it."""
    IMPOSSIBLE = "impossible"
    """Something else keeps the pod from being made, or from running; it says nothing of the image."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ObservedPull:
    """A pod that pulls an image to a node before a pod there is replaced, or one that the API server did not take."""

    name: str
    node: str
    image: str
    state: Pull
    since: int
    """When it was created or first refused."""
    uid: str | None = None
    """None where the API server did not take it."""
    problem: str | None = None
    """Why there is no image, or no pod, as a clause."""
    backing_off: bool = False
    """The node waits before it tries again, and says less of the cause meanwhile."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ObservedPod:
    """One pod of a generation that its StatefulSet wants, whether it exists or not."""

    index: int
    uid: str | None = None
    """None when there is no such pod now."""
    status: PodStatus | None = None
    """Its own answer to ``GET /v1/status``; None when it gave none."""
    touched_epoch: int | None = None
    """Epoch in the pod's annotation ``discordgateway.dev/record-epoch``."""
    revision: str | None = None
    """Revision of the template that it was made of."""
    deleting: bool = False
    life: Life = Life.RUNNING
    trouble: str | None = None
    """Why it does not run, as a sentence without its end; the same sentence for as long as it is the same trouble."""
    rates: Mapping[int, float] = field(default_factory=dict)
    """Events per second of each shard whose rate is known."""
    node: str | None = None
    """None before it has one, and where there are no nodes."""
    image: str | None = None
    ready: bool | None = None
    """What its node says of it, seconds after its shards are READY; None where no node says anything."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ObservedGeneration:
    """One StatefulSet of the gateway, also one that is being deleted."""

    number: int
    """From the label ``discordgateway.dev/generation``."""
    fixed: Generation | None
    """From the annotation; None when it is missing or cannot be read."""
    pods: tuple[ObservedPod, ...] = ()
    created_at: int | None = None
    revision: str = ""
    """From the annotation ``discordgateway.dev/revision``: the hash of the pod template that was applied last."""
    template_seen: bool = True
    """Whether new pods will be made of that template already."""
    image: str = ""
    """Of that template."""
    deleting: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class ObservedSecret:
    """The Secret that ``spec.tokenSecretRef`` names."""

    name: str
    exists: bool
    keys: tuple[str, ...] = ()
    usable: bool = False
    """The key is there and its value is not empty."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DiscordInfo:
    """The last good answer of ``GET /gateway/bot``, less the permits that are outstanding at the gate."""

    recommended_shards: int
    total: int
    remaining: int
    reset_at: int
    max_concurrency: int
    read_at: int


class DiscordTrouble(enum.Enum):
    UNREACHABLE = "unreachable"
    TOKEN_REFUSED = "token refused"
    """``GET /gateway/bot`` answered 401, or a session was closed with 4004 since the Secret last changed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DiscordProblem:
    """Why the latest call of ``GET /gateway/bot`` failed; names no token."""

    kind: DiscordTrouble
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Opinion:
    """What a hook thinks of the number of shards, in the automatic rule's place."""

    wanted: bool
    """Whether there should be more."""
    count: int | None = None
    """How many; None: as many as the rule would take."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Observation:
    """All that one pass decides from."""

    now: int
    metadata: Metadata
    spec: Spec | None
    """None when the resource could not be parsed; ``problems`` says why."""
    problems: tuple[str, ...] = ()
    """Sentences of ``InvalidGateway``; empty for a spec that could be parsed."""
    record: ObservedRecord | None
    """None when there is no such ConfigMap."""
    generations: tuple[ObservedGeneration, ...] = ()
    pulls: tuple[ObservedPull, ...] = ()
    """Pods that pull an image ahead; looked for only while there can be any."""
    secret: ObservedSecret | None = None
    """None when the Secret could not be read at all (then nothing new is started)."""
    discord: DiscordInfo | None = None
    discord_problem: DiscordProblem | None = None
    held: frozenset[HeldBack] = frozenset()
    """What keeps permits back at the identify gate, besides the buckets."""
    refused: str | None = None
    """The API server's sentence, while it refuses an object of the gateway."""
    outdated: str | None = None
    """A sentence while the cluster's definition of the resource is older than this operator."""
    opinion: Opinion | None = None
    """None: the automatic rule decides."""
    previous: Status = field(default_factory=Status)
    """The status of the last pass: how long a step has taken is counted from it, and nothing else decided."""
    watched_since: int = 0
    """When this operator process first looked at the gateway: without an operator no permits are given, so a target is
    not to blame for the time before."""
    gauges_due: bool = True
    """Whether gauges (guilds, queue, budget) may be written; at most once a minute on an unchanged gateway."""
