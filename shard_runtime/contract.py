"""What operator and runtime, and runtime pods among themselves, say to each other.

The only module of the runtime that the operator imports, so it holds models and the arithmetic both sides must agree
on (which pod and which worker hold which shard), and nothing else. Names on the wire are camelCase JSON; times are
unix milliseconds unless a name says otherwise. Decoding is strict about types and tolerant of fields it does not know,
so that an operator and pods of neighbouring versions can talk.
"""

from __future__ import annotations

import enum
import math
from typing import Any, Final, TypeVar

import msgspec

CONTRACT_VERSION: Final = 1
"""Raised when a change here would be misread by the other side."""

PERMIT_LIFE_SECONDS: Final = 2.0
"""A permit is used within this time of being given, on the pod's clock; an older one is handed back unused."""

RUNTIME_PORT: Final = 8080


class Wire(msgspec.Struct, rename="camel", frozen=True, kw_only=True):
    """Base of every message: immutable, keyword-only, camelCase on the wire."""


WireType = TypeVar("WireType", bound=Wire)


def encode(message: Wire) -> bytes:
    """JSON bytes of *message*."""
    return msgspec.json.encode(message)


def decode(data: bytes | str, into: type[WireType]) -> WireType:
    """Parse and validate *data*.

    Raises ``msgspec.DecodeError`` (of which ``msgspec.ValidationError`` is one) with the path of what is wrong.
    """
    try:
        return msgspec.json.decode(data, type=into)
    except UnicodeDecodeError as error:
        raise msgspec.DecodeError(f"not UTF-8: {error.reason}") from None


# --- Layout: which pod and which worker hold which shard --------------------------------------------------------------


class ShardLayout(Wire, frozen=True, kw_only=True):
    """How a generation's shards lie over pods and workers.

    ``count`` is the number that Discord routes by; a gateway that holds a part of the shards has a narrower
    ``first``..``last`` (both included). A pod holds ``per_worker * workers_per_pod`` consecutive shards, the last pod
    what is left.
    """

    count: int
    first: int
    last: int
    per_worker: int = 25
    workers_per_pod: int = 4

    @property
    def shards(self) -> range:
        """Ids of all shards of the generation."""
        return range(self.first, self.last + 1)

    @property
    def shards_per_pod(self) -> int:
        return self.per_worker * self.workers_per_pod

    @property
    def pods(self) -> int:
        """How many pods the generation has."""
        return math.ceil(len(self.shards) / self.shards_per_pod)

    def pod_shards(self, pod: int) -> range:
        """Ids of the shards of pod *pod* (0-based); empty past the last pod."""
        first = self.first + pod * self.shards_per_pod
        return range(first, min(first + self.shards_per_pod, self.last + 1))

    def pod_workers(self, pod: int) -> int:
        """How many worker processes pod *pod* runs."""
        return math.ceil(len(self.pod_shards(pod)) / self.per_worker)

    def worker_shards(self, pod: int, worker: int) -> range:
        """Ids of the shards of one worker; sizes within a pod differ by at most one."""
        shards, workers = self.pod_shards(pod), self.pod_workers(pod)
        size, larger = divmod(len(shards), workers)
        first = shards.start + worker * size + min(worker, larger)
        return range(first, first + size + (1 if worker < larger else 0))

    def pod_of(self, shard: int) -> int:
        """The pod that holds *shard*. Raises ``ValueError`` for a shard outside the layout."""
        if shard not in self.shards:
            raise ValueError(f"shard {shard} is not in {self.first}..{self.last}")
        return (shard - self.first) // self.shards_per_pod


def shard_of_guild(guild: int, count: int) -> int:
    """The shard that Discord sends a guild's events to; guild 0 stands for traffic without one (shard 0)."""
    return (guild >> 22) % count


def overlapping_shards(shard: int, count: int, other: ShardLayout) -> list[int]:
    """Shards of *other* that can hold guilds of *shard* of *count*.

    The ids of a guild's two shards are congruent modulo the greatest common divisor of the counts.
    """
    step = math.gcd(count, other.count)
    return [candidate for candidate in other.shards if candidate % step == shard % step]


# --- Configuration, mounted -------------------------------------------------------------------------------------------


class IdentifyProperties(Wire, frozen=True, kw_only=True):
    os: str = "linux"
    browser: str = "discord-gateway-operator"
    device: str = "discord-gateway-operator"


class IdentifyOptions(Wire, frozen=True, kw_only=True):
    properties: IdentifyProperties = IdentifyProperties()
    large_threshold: int | None = None
    presence: dict[str, Any] | None = None
    """Discord's presence object, sent as it is."""
    capabilities: int | None = None


class Predecessor(Wire, frozen=True, kw_only=True):
    """The generation that a new one takes over from; absent for the first."""

    generation: int
    layout: ShardLayout


class RuntimeConfig(Wire, frozen=True, kw_only=True):
    """``config/config.json``: all that is fixed for the life of a generation's pods."""

    contract: int = CONTRACT_VERSION
    namespace: str
    gateway: str
    generation: int
    layout: ShardLayout
    predecessor: Predecessor | None = None
    api_url: str = msgspec.field(name="apiURL")
    gateway_url: str | None = msgspec.field(name="gatewayURL", default=None)
    intents: int
    compression: str = "zstd-stream"
    identify: IdentifyOptions = IdentifyOptions()
    operator_url: str = msgspec.field(name="operatorURL")
    pod_url: str = msgspec.field(name="podURL")
    """Where a sibling answers: a pattern with ``{generation}`` and ``{pod}``, or ``file:PATH`` of a JSON object that
    maps ``"<generation>/<pod>"`` to a base URL (read anew at each use)."""
    overlap_seconds: float = 10.0


class EventFilter(Wire, frozen=True, kw_only=True):
    include: list[str] = []
    exclude: list[str] = []


class QueueBounds(Wire, frozen=True, kw_only=True):
    max_events: int = 1_000_000
    max_bytes: int = 1 << 30
    max_age_seconds: float | None = None
    overflow: str = "DropOldest"


class ForwardConfig(Wire, frozen=True, kw_only=True):
    """``forward/forward.json``: where and how events are delivered; may change while pods run."""

    url: str
    ca_bundle: str | None = None
    """PEM certificates of the only authorities that may vouch for the receiver; None: the system's."""
    format: str = "batch"
    timeout_seconds: float = 10.0
    max_batch_events: int = 256
    max_batch_bytes: int = 4 << 20
    max_delay_milliseconds: float = 4.0
    lanes: int = 4
    ordering: str = "shard"
    events: EventFilter = EventFilter()
    queue: QueueBounds = QueueBounds()


class Honoured(Wire, frozen=True, kw_only=True):
    """The wishes of the spec that led to the active or target generation; only a difference from them is acted on."""

    count: int
    request_id: str = msgspec.field(name="requestID", default="")
    identify_hash: str
    layout_hash: str


class Record(Wire, frozen=True, kw_only=True):
    """``record/record.json``, the one truth about generations.

    Every write raises ``epoch``, so of two records the one with the higher epoch is the later.
    """

    epoch: int
    active: int | None
    target: int | None
    honoured: Honoured
    target_count: int | None = None
    """Shards of the target, decided when it was begun."""
    target_reason: str | None = None
    """What asked for the target."""
    given_up: int = 0
    """The last target that failed; one that was not wanted any more does not count."""
    retired: int = 0
    """Generations up to this one are deleted: a pod that lost its state asks nothing of them and waits for none."""


# --- Identify permits -------------------------------------------------------------------------------------------------


class PermitRequest(Wire, frozen=True, kw_only=True):
    """``POST /v1/permits``. Answered 200 :class:`Permit`, 429 :class:`PermitWait`, 401, or 409 when the generation is
    neither active nor target or its identifies are stopped (body: :class:`Problem`)."""

    namespace: str
    gateway: str
    generation: int
    shard: int
    pod_uid: str = msgspec.field(name="podUID")
    wish: str = ""
    """The same in all requests for one IDENTIFY, and in no other's; empty: not told."""
    attempt: int = 0
    """Grows with each of them. Who asks again got no permit before, or none in time, and uses none that is to come."""


class Permit(Wire, frozen=True, kw_only=True):
    id: str
    life_milliseconds: int = int(PERMIT_LIFE_SECONDS * 1000)


class HeldBack(enum.StrEnum):
    """Why a permit is kept back that the bucket would allow."""

    BUDGET = "budget"
    """The last session starts of the day are kept."""
    RESERVE = "reserve"
    """A reshard must leave its reserve."""
    PACE = "pace"
    """Sessions are started again and again, so fast that the day's session starts would not last."""
    SHARE = "share"
    """The shard had its share of this hour."""
    AWAY = "away"
    """The gate is another operator's, which does not answer."""


class PermitWait(Wire, frozen=True, kw_only=True):
    retry_after_milliseconds: int
    reason: str
    held: str | None = None
    """A :class:`HeldBack`, or a word of a later version; absent where only the bucket is why."""


class PermitOutcome(enum.StrEnum):
    READY = "ready"
    """READY came."""
    REJECTED = "rejected"
    """Discord answered op 9 or closed the connection after the IDENTIFY was sent."""
    TOKEN_REFUSED = "tokenRefused"
    """Discord closed with 4004."""
    UNUSED = "unused"
    """Not sent: the permit came too late or was not needed any more."""


class PermitResult(Wire, frozen=True, kw_only=True):
    """``POST /v1/permits/{id}/result``; answered 204, also when the permit is no longer known."""

    outcome: PermitOutcome
    sent_milliseconds_ago: int | None = None
    """How long ago the IDENTIFY was sent; absent when it was not."""
    arrived_milliseconds_ago: int | None = None
    """How long ago Discord is known to have had it; it may have had it earlier."""
    under_way: bool = False
    """It was sent, and nothing shows that Discord has had it: it may get there later than this."""


class Problem(Wire, frozen=True, kw_only=True):
    """Body of every refused call: one sentence for a person."""

    error: str


class Notice(Wire, frozen=True, kw_only=True):
    """``POST /v1/notices``: something of the pod changed that a person should hear of; what, is in its status. 204."""

    generation: int
    pod: int


# --- Status -----------------------------------------------------------------------------------------------------------


class Role(enum.StrEnum):
    """What a generation's pod may do; the order is the order of a life, and a pod only moves forward."""

    STANDBY = "standby"
    ACTIVE = "active"
    SEALED = "sealed"
    RETIRED = "retired"


class ShardState(enum.StrEnum):
    CONNECTING = "connecting"
    WAITING = "waiting"
    """Connected or about to be, without a session, waiting for an identify permit."""
    IDENTIFYING = "identifying"
    RESUMING = "resuming"
    READY = "ready"
    """READY or RESUMED."""
    STOPPED = "stopped"
    """Ended on purpose, or by a close code after which no further try is allowed (see ``problem``)."""


class Gap(Wire, frozen=True, kw_only=True):
    """Events of a shard that nobody has: Discord did not resume its session, and what came meanwhile is lost."""

    sessions: int
    """How many sessions were lost so, in the life of the generation."""
    events: int
    """How many events at least; Discord does not say what it has thrown away."""
    at: int
    """When the last one was lost."""
    cause: str
    """Why the last one was not resumed."""


class ShardStatus(Wire, frozen=True, kw_only=True):
    id: int
    state: ShardState
    settled: bool = False
    """All guilds of READY seen since, or 15 s gone by; stays true for the life of the session."""
    session_seconds: float | None = None
    sequence: int | None = None
    watermark: int | None = None
    guilds: int = 0
    heartbeat_milliseconds: float | None = None
    silent_seconds: float | None = None
    """Age of the last frame from Discord, or of the shard's start where none came."""
    behind_seconds: float | None = None
    """How long ago it is that certainly everything had arrived that Discord had sent the session until then; absent
    before the session has been READY or RESUMED in this process."""
    queued: int = 0
    identifies: int = 0
    resumes: int = 0
    gap: Gap | None = None
    close_code: int | None = None
    problem: str | None = None


class ReceiverStatus(Wire, frozen=True, kw_only=True):
    reachable: bool = True
    """False from the first failed request until the next one that is acknowledged."""
    problem: str | None = None


PAUSE_BOUNDS_MILLISECONDS: Final = (25, 50, 100, 200, 300, 400, 500, 750, 1000, 1500, 2000, 3000, 5000, 10_000, 30_000)
"""Upper bounds of the classes in which pauses are counted; one more class has what is longer."""


class HandoverStatus(Wire, frozen=True, kw_only=True):
    """How far a target is with taking over from its predecessor; absent where there is none.

    Streams are guilds, and channels (else users) of the traffic without a guild.
    """

    complete: bool
    rehearsed: bool = False
    """Before the commit: the windows of every old pod were aligned without effect lately, and fit."""
    rehearsal_problem: str | None = None
    lag_least_milliseconds: int | None = None
    """Measured: how much later than the old sessions the new ones get an event, the pods' clock skew included."""
    lag_most_milliseconds: int | None = None
    lag_mean_milliseconds: float | None = None
    aligned: int = 0
    """Streams whose place was found without doubt, those by occurrence included."""
    by_occurrence: int = 0
    """Streams without an event that both sides know by an id: placed by counting equal events."""
    ambiguous: int = 0
    """Streams in which something could not be told, and was decided for the duplicate."""
    repaired: int = 0
    """Streams that Discord did not give both sides in the same order or number near the seal."""
    missed_by_old: int = 0
    """Events with an id that Discord gave the new side alone, and that were too old to be delivered."""
    sealed_pods: int = 0
    waiting_pods: int = 0
    held_guilds: int = 0
    """Guilds whose events are still held back."""
    released_guilds: int = 0
    delivered_marked: int = 0
    """Events delivered as ``maybeDuplicate``."""
    skipped: int = 0
    """Held events that the predecessor had accepted."""
    committed_at: int | None = None
    """When the first worker of the pod learned of the commit."""
    completed_at: int | None = None
    """When the last guild was released."""
    longest_pause_milliseconds: float = 0.0
    pauses: list[int] = []
    """Released guilds by how long their events were held back; classes as in :data:`PAUSE_BOUNDS_MILLISECONDS`."""


class PodStatus(Wire, frozen=True, kw_only=True):
    """``GET /v1/status``."""

    contract: int = CONTRACT_VERSION
    generation: int
    pod: int
    pod_uid: str = msgspec.field(name="podUID")
    role: Role
    record_epoch: int
    shards: list[ShardStatus]
    queued: int = 0
    stored: int = 0
    """Of ``queued``, what is safely on disk."""
    oldest_seconds: float = 0.0
    disk_problem: str | None = None
    """Why the queue is not written to disk at the moment, as a sentence."""
    receiver: ReceiverStatus = ReceiverStatus()
    handover: HandoverStatus | None = None
    awaited: int = 0
    """Requests on its sessions (members, sounds, channel info) whose answers have not all come."""
    counters: dict[str, int] = {}
    """Totals since the start: ``accepted``, ``acknowledged``, ``dropped``, ``deadLettered``, ``maybeDuplicate``,
    ``lostSessions`` and ``lostEvents`` (see :class:`Gap`), ``spilled``; and ``dropped:<event name>:<reason>``."""


# --- What moves besides events ----------------------------------------------------------------------------------------


class VoiceCall(Wire, frozen=True, kw_only=True):
    """A voice channel that the bot is in through one of its sessions."""

    guild: int
    channel: int
    self_mute: bool = False
    self_deaf: bool = False


class Kept(Wire, frozen=True, kw_only=True):
    """What a session has for its bot besides events: another one that takes over takes it on."""

    calls: list[VoiceCall] = []
    presence: str | None = None
    """``d`` of the last op 3 that the bot had sent on it, as JSON; absent where it has the one of its IDENTIFY."""


NOTHING_KEPT: Final = Kept()


# --- Checkpoints ------------------------------------------------------------------------------------------------------

CHECKPOINT_LIFE_SECONDS: Final = 600.0
"""A session that was left so long ago is not resumed any more (docs/protocol.md, section 5)."""


class SessionCheckpoint(Wire, frozen=True, kw_only=True):
    """What it takes to resume a session in another pod."""

    shard: int
    session_id: str = msgspec.field(name="sessionID")
    resume_url: str | None = msgspec.field(name="resumeURL")
    sequence: int
    """Up to here everything is acknowledged; what only the pod's own disk held is not counted."""
    guilds: int
    started_at: int
    received: int = 0
    """The last sequence that had come."""
    kept: Kept = NOTHING_KEPT
    finished: list[int] = []
    """What is finished above *sequence*: bounds of runs of consecutive numbers, both included, in order."""
    unsure: list[int] = []
    """What came above *sequence* and a handover has not decided: the generation before may have delivered it."""
    late: list[int] = []
    """Keys of events that the generation before delivered and whose copies have not come yet, as often as they have
    not."""


class Checkpoint(Wire, frozen=True, kw_only=True):
    """``POST /v1/checkpoints``, to the operator and to sibling pods: the sessions that a pod leaves behind, resumable.

    Answered 204. ``GET /v1/checkpoints/<generation>/<pod>`` gives what of it is known, or 404.
    """

    generation: int
    count: int
    pod: int
    pod_uid: str = msgspec.field(name="podUID")
    made_at: int
    sessions: list[SessionCheckpoint]


class CheckpointBook:
    """Keeps the latest checkpoint of each shard, for others; the same for the operator and for pods. In memory alone:
    there are three who keep it, and a session that nobody remembers is started anew."""

    def __init__(self) -> None:
        self._known: dict[tuple[int, int], tuple[float, Checkpoint]] = {}

    def put(self, now: float, checkpoint: Checkpoint) -> None:
        """Keep *checkpoint*, where it is later than what is known; *now* is on a clock that never goes back."""
        self._known = {key: kept for key, kept in self._known.items() if now - kept[0] < CHECKPOINT_LIFE_SECONDS}
        for session in checkpoint.sessions:
            key = (checkpoint.generation, session.shard)
            known = self._known.get(key)
            if known is None or known[1].made_at <= checkpoint.made_at:
                self._known[key] = now, msgspec.structs.replace(checkpoint, sessions=[session])

    def get(self, now: float, generation: int, pod: int) -> Checkpoint | None:
        """All sessions of a pod that are known, and not too old; the newest time stands for all of them."""
        kept = [
            checkpoint
            for (of, _), (at, checkpoint) in sorted(self._known.items())
            if of == generation and checkpoint.pod == pod and now - at < CHECKPOINT_LIFE_SECONDS
        ]
        if not kept:
            return None
        newest = max(kept, key=lambda checkpoint: checkpoint.made_at)
        return msgspec.structs.replace(newest, sessions=[checkpoint.sessions[0] for checkpoint in kept])


# --- Handover ---------------------------------------------------------------------------------------------------------


class HandoverRequest(Wire, frozen=True, kw_only=True):
    """``POST /v1/handover/window`` and ``POST /v1/handover/seal``: a worker of the target asks an old pod.

    The asker's guilds are those that ``count`` routes to one of ``shards``.
    """

    generation: int
    """The asker's generation."""
    count: int
    shards: list[int]
    windows: bool = True
    """False once the asker has the windows and only wants to know what is still unacknowledged."""
    after: bool = False
    """Whether the asker wants what the pod's sessions went on receiving after the seal."""


class WindowEvent(Wire, frozen=True, kw_only=True, array_like=True, gc=False):
    key: int
    """64-bit hash: name and id for an event that has an id of its own, name and canonical body otherwise."""
    arrival: int
    unique: bool


class LatestEvent(Wire, frozen=True, kw_only=True, array_like=True, gc=False):
    """The last accepted event about a *subject* of which only the latest state counts (a user's presence)."""

    subject: int
    key: int
    arrival: int


class GuildWindow(Wire, frozen=True, kw_only=True):
    """One stream: a guild, or a channel (else a user) of the traffic without a guild."""

    guild: int
    """Discord's id, 0 for traffic without a guild."""
    channel: int = 0
    """The channel or user of traffic without a guild."""
    events: list[WindowEvent]
    latest: list[LatestEvent] = []


class HandoverReply(Wire, frozen=True, kw_only=True):
    generation: int
    """The answering pod's generation."""
    pod_uid: str = msgspec.field(name="podUID")
    sealed_at: int | None
    """When the pod stopped accepting; absent in answers to ``window``."""
    recorded_since: int | None
    """When the pod began to record; absent if it has no record, because it lost its state: then nothing is known of
    what it accepted."""
    windows: list[GuildWindow] = []
    unacknowledged: list[int] = []
    """Guilds of the asker with accepted events that the receiver has not acknowledged yet."""
    kept: dict[int, Kept] = {}
    """Once sealed, by shard: the asker's calls to be joined again, and presences to be taken on."""
    behind_milliseconds: int = 0
    """How long ago it is that certainly everything had arrived that Discord had sent the pod's sessions until then."""
    sealed_milliseconds: int | None = None
    """How long ago the pod stopped accepting; absent until it has."""
    after: list[GuildWindow] | None = None
    """What the pod's sessions received in the moment after the seal, and did not accept: evidence only. Absent when not
    asked for, or not known (yet: the moment has not passed)."""


class ReceivedRequest(Wire, frozen=True, kw_only=True):
    """``POST /v1/handover/received``: a worker of the active generation has lost a session since a pod of the one
    before was sealed, and asks that pod for what its sessions went on receiving.

    The asker's guilds are those that ``count`` routes to one of ``shards``. An answer may be a part: the asker goes on
    behind what it has.
    """

    generation: int
    """The asker's generation."""
    count: int
    shards: list[int]
    after: dict[str, int] = {}
    """By session of the answering pod, the last sequence that the asker has."""


class ReceivedEvent(Wire, frozen=True, kw_only=True, array_like=True, gc=False):
    shard: int
    session: str
    sequence: int
    name: str
    payload: bytes
    """The whole payload, as Discord sent it."""
    arrival: int


class ReceivedReply(Wire, frozen=True, kw_only=True):
    generation: int
    """The answering pod's generation."""
    pod_uid: str = msgspec.field(name="podUID")
    complete: bool
    """Everything that came since the seal is there, or was in an earlier part."""
    now: int
    """The pod's clock, which the arrivals are by."""
    behind_milliseconds: int = 0
    """As in :class:`HandoverReply`."""
    events: list[ReceivedEvent] = []
    """Of each session in order."""
    more: bool = False
    """Whether to ask again at once."""


# --- Commands --------------------------------------------------------------------------------------------------------


class CommandRequest(Wire, frozen=True, kw_only=True):
    """``POST /v1/commands``: send a payload on the session of the shard that it concerns.

    Answered 202 :class:`CommandTaken` once it is sent; with a :class:`Problem` 400 for a command that Discord would
    not take, 409 while no generation is active or the shard has no live session, 429 past a limit (``Retry-After``
    says when there is room), 503 for what another try mends. To any pod: it passes on what is not its own.
    """

    op: int
    d: object
    shard: int | None = None
    """Of the active generation; only for a command without a guild."""
    hops: int = 0
    """How many pods have passed it on; pods count, nobody else need care."""


class CommandTaken(Wire, frozen=True, kw_only=True, omit_defaults=True):
    shard: int
    """The shard that took it; of several, the first."""
    shards: list[int] | None = None
    """Where a command was split over several: all that took their part."""
