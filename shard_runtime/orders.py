"""What the supervisor of a pod and its workers say to each other.

The supervisor owns the pod's role and tells it; a worker owns sessions, delivery and the handover of its guilds and
answers. Only the supervisor calls, so the channel needs no second direction.
"""

from __future__ import annotations

from typing import TypeAlias

import msgspec

from shard_runtime import contract
from shard_runtime.contract import Wire
from shard_runtime.measures import Measures


class Orders(Wire, frozen=True, kw_only=True, tag="orders"):
    """What the worker's generation may do now."""

    role: contract.Role
    epoch: int
    """Of the record that this follows from; 0 before the first record."""
    active: int | None = None
    target: int | None = None
    """A generation in preparation: an active pod keeps windows for it."""
    predecessor_retired: bool = True
    """There is no generation to take over from, or none of it is left."""


class Handlers(Wire, frozen=True, kw_only=True):
    """Where a pod's hooks come from (docs/handlers.md)."""

    source: str | None = None
    """Text of the mounted file."""
    installed: list[tuple[str, str]] = msgspec.field(default_factory=list)
    """Entry points of installed packages: name and value."""


class Begin(Wire, frozen=True, kw_only=True, tag="begin"):
    """First message to a new worker process."""

    worker: int
    shards: list[int]
    pod: int
    pod_uid: str
    state: str
    """The worker's own folder."""
    config: contract.RuntimeConfig
    forward: contract.ForwardConfig
    token: str
    operator: str
    signing: str | None = None
    """What requests to the receiver are signed with, see :class:`~shard_runtime.signatures.Signer`."""
    orders: Orders
    handlers: Handlers = Handlers()


class NewSecrets(Wire, frozen=True, kw_only=True, tag="secrets"):
    token: str
    operator: str
    signing: str | None = None


class NewForward(Wire, frozen=True, kw_only=True, tag="forward"):
    forward: contract.ForwardConfig


class AskStatus(Wire, frozen=True, kw_only=True, tag="askStatus"):
    pass


class AskWindow(Wire, frozen=True, kw_only=True, tag="askWindow"):
    request: contract.HandoverRequest


class Seal(Wire, frozen=True, kw_only=True, tag="seal"):
    """Stop accepting, durably, and answer with what the asker of *request* needs; harmless when repeated."""

    request: contract.HandoverRequest


class AskReceived(Wire, frozen=True, kw_only=True, tag="askReceived"):
    request: contract.ReceivedRequest


class Stop(Wire, frozen=True, kw_only=True, tag="stop"):
    """Close the sessions and deliver what is queued within *seconds*, then answer and end.

    *end_sessions* closes with 1000, for a generation that is over; but a worker that could not deliver everything in
    time keeps its sessions resumable.
    """

    seconds: float
    end_sessions: bool


class SendCommand(Wire, frozen=True, kw_only=True, tag="command"):
    """Send a payload on the live session of one of the worker's shards, within Discord's limits."""

    shard: int
    op: int
    payload: str
    all_members_of: int | None = None


class PassOnCommand(Wire, frozen=True, kw_only=True, tag="passOnCommand"):
    """Hand a command to another pod: the workers have the HTTP client."""

    generation: int
    pod: int
    request: contract.CommandRequest


ToWorker: TypeAlias = (
    Begin
    | Orders
    | NewSecrets
    | NewForward
    | AskStatus
    | AskWindow
    | Seal
    | AskReceived
    | SendCommand
    | PassOnCommand
    | Stop
)


class Done(Wire, frozen=True, kw_only=True, tag="done"):
    pass


class Failed(Wire, frozen=True, kw_only=True, tag="failed"):
    """The worker could not do it; one sentence says why."""

    error: str


class WorkerStatus(Wire, frozen=True, kw_only=True, tag="status"):
    shards: list[contract.ShardStatus]
    queued: int
    oldest_seconds: float
    receiver: contract.ReceiverStatus
    handover: contract.HandoverStatus | None
    counters: dict[str, int]
    awaited: int = 0
    stored: int = 0
    disk_problem: str | None = None
    measures: Measures = Measures()


class Windows(Wire, frozen=True, kw_only=True, tag="windows"):
    """What :class:`~shard_runtime.contract.HandoverReply` says, for one worker's guilds."""

    sealed_at: int | None
    recorded_since: int | None
    windows: list[contract.GuildWindow]
    unacknowledged: list[int]
    kept: dict[int, contract.Kept] = msgspec.field(default_factory=dict)
    behind_milliseconds: int = 0
    sealed_milliseconds: int | None = None
    after: list[contract.GuildWindow] | None = None


class ReceivedPart(Wire, frozen=True, kw_only=True, tag="receivedPart"):
    """What :class:`~shard_runtime.contract.ReceivedReply` says, of one worker's sessions."""

    complete: bool
    behind_milliseconds: int = 0
    events: list[contract.ReceivedEvent] = msgspec.field(default_factory=list)
    more: bool = False


class CommandRefused(Wire, frozen=True, kw_only=True, tag="commandRefused"):
    """Not sent; one sentence says why."""

    status: int
    """For HTTP: 409 or 429."""
    error: str
    retry_after_seconds: float | None = None


class PassedOn(Wire, frozen=True, kw_only=True, tag="passedOn"):
    """What another pod answered."""

    status: int
    body: str
    retry_after: str | None = None


FromWorker: TypeAlias = Done | Failed | WorkerStatus | Windows | ReceivedPart | CommandRefused | PassedOn


class Question(msgspec.Struct, frozen=True, kw_only=True):
    """A frame from the supervisor."""

    id: int
    body: ToWorker


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """A frame from the worker."""

    id: int
    body: FromWorker
