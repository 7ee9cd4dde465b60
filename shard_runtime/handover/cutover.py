"""The target's side of a cutover, for one worker: hold, seal, align, release.

Theory of operation. A guild's events come from the old generation until its old pod is sealed, and from this one after
the old pod's accepted events of that guild are acknowledged; in between nobody delivers, so that order holds.

    standby      everything is held; what the old side must have delivered long ago is trimmed
    committed    everything is held; the worker asks each old pod of its guilds to seal
    old pod sealed             the pod's guilds can be aligned
    ... and guild acknowledged the guild is released: held events are decided, later ones as they come

Trimming needs the old pod's word that it was not sealed: it may have been sealed by a sibling of ours a minute before
the news of the commit reached us, and what came after that is ours to deliver. So a worker in standby asks its old pods
every second or two (:meth:`Cutover.unsealed`); while one does not answer, its guilds' events are kept, up to the bound.

A guild that no old pod has (the old generation held a part of the shards) is released by the commit. Once every old pod
is sealed and has nothing unacknowledged left, the cutover is *complete*; it stays in use for as long as late copies of
accepted events are recognised, and is then *over*: the worker no longer needs to ask it.

Every call returns a :class:`Step`: what to deliver now, in order, and which sequences have nothing to deliver. An event
that is in no step is held. Times are unix milliseconds on this pod's clock, except what old pods report.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Iterable, Mapping
from typing import NamedTuple

from shard_runtime.contract import (
    GuildWindow,
    HandoverReply,
    HandoverStatus,
    ShardLayout,
    overlapping_shards,
    shard_of_guild,
)
from shard_runtime.handover.alignment import (
    LATE_COPIES_MILLISECONDS,
    MARGIN_MILLISECONDS,
    Alignment,
    AlignmentFactory,
    Arrived,
    Decision,
    Evidence,
    PlainAlignment,
)
from shard_runtime.handover.holding import HOLD_BYTES, HOLD_EVENTS, Held, Hold


class Deliver(NamedTuple):
    event: Held
    maybe_duplicate: bool


class Step:
    """What follows from a call. Delivered in this order; a guild's events are in the order in which they arrived."""

    __slots__ = ("deliver", "overflowed", "skip")

    def __init__(self) -> None:
        self.deliver: list[Deliver] = []
        self.skip: list[Held] = []
        """Trimmed, or accepted by the old side: their sequences are finished."""
        self.overflowed: list[Held] = []
        """Given up because the bound on what is held was reached; finished too, to be counted as dropped."""


class OldPod:
    """What is known of one pod of the old generation."""

    def __init__(self) -> None:
        self.hold = Hold()
        self.unsealed_at: int | None = None
        """The latest moment (this pod's clock) at which it was certainly not sealed."""
        self.evidence: Evidence | None = None
        """Of a guild without a window; None until sealed."""
        self.sealed_at = 0
        """On this pod's clock, as far as clocks agree."""
        self.windows: Mapping[int, GuildWindow] = {}
        self.unacknowledged: frozenset[int] = frozenset()
        self.done_at: int | None = None
        """When it was sealed and had nothing unacknowledged left."""
        self.closed = False
        """No late copies are expected any more."""
        self.alignments: dict[int, Alignment] = {}
        self.waiting: dict[int, deque[Held]] = {}
        """Events that an alignment has taken and not yet answered."""

    @property
    def sealed(self) -> bool:
        return self.evidence is not None

    def released(self, guild: int) -> bool:
        return self.evidence is not None and guild not in self.unacknowledged

    def alignment(self, guild: int, make: AlignmentFactory) -> Alignment:
        alignment = self.alignments.get(guild)
        if alignment is None:
            assert self.evidence is not None
            window = self.windows.get(guild)
            evidence = Evidence(
                sealed_at=self.evidence.sealed_at,
                recorded_since=self.evidence.recorded_since,
                events=window.events if window is not None else (),
            )
            alignment = self.alignments[guild] = make(evidence)
        return alignment


class Cutover:
    """State machine of one worker of a target (or of a generation that has just become active)."""

    def __init__(
        self,
        *,
        count: int,
        shards: Collection[int],
        predecessor: ShardLayout,
        overlap_seconds: float = 10.0,
        align: AlignmentFactory = PlainAlignment,
        max_events: int = HOLD_EVENTS,
        max_bytes: int = HOLD_BYTES,
    ) -> None:
        """*count* and *shards*: this generation's shard count, and this worker's shards."""
        self._predecessor = predecessor
        self._overlap = int(overlap_seconds * 1000)
        self._align = align
        self._max_events = max_events
        self._max_bytes = max_bytes
        pods = {predecessor.pod_of(old) for shard in shards for old in overlapping_shards(shard, count, predecessor)}
        self._pods: dict[int, OldPod] = {pod: OldPod() for pod in sorted(pods)}
        self._without = Hold()
        self.committed_at: int | None = None
        self.completed_at: int | None = None
        self._skipped = self._marked = self.overflowed = 0
        self._held_guilds: set[int] = set()
        self._released_guilds: set[int] = set()
        self._longest_pause = 0.0

    # --- What the worker has to do

    @property
    def old_pods(self) -> list[int]:
        """The old pods that can have guilds of this worker."""
        return list(self._pods)

    @property
    def to_seal(self) -> list[int]:
        """Old pods to be asked to seal; none before the commit."""
        if self.committed_at is None:
            return []
        return [number for number, pod in self._pods.items() if not pod.sealed]

    @property
    def to_await(self) -> list[int]:
        """Sealed old pods to be asked (without windows) what is still unacknowledged."""
        return [number for number, pod in self._pods.items() if pod.sealed and pod.unacknowledged]

    @property
    def complete(self) -> bool:
        """Every guild flows from here."""
        return self.completed_at is not None

    def is_over(self, now: int) -> bool:
        """Complete, and no copy of an accepted event is expected any more; :meth:`offer` need not be called."""
        return self.completed_at is not None and now - self.completed_at > LATE_COPIES_MILLISECONDS

    # --- Events

    def offer(self, event: Held) -> Step:
        """The next event of one of this worker's sessions, in order of arrival."""
        step = Step()
        pod = self._pod_of(event)
        if pod is None:
            if self.committed_at is not None:
                step.deliver.append(Deliver(event, False))
                return step
            self._without.append(event)
            step.skip.extend(self._without.trim(event.arrival - self._overlap))
        elif pod.released(event.guild):
            self._feed(pod, event, step)
            return step
        else:
            pod.hold.append(event)
            if self.committed_at is None:
                self._trim(pod, event.arrival, step)
            else:
                self._held_guilds.add(event.guild)
        self._bound(step)
        return step

    # --- News

    def unsealed(self, pod: int, asked_at: int) -> Step:
        """Old *pod* answered a question of *asked_at* (this pod's clock) and was not sealed. Lets standby trim."""
        step = Step()
        old = self._pods.get(pod)
        if old is not None and not old.sealed:
            old.unsealed_at = max(asked_at, old.unsealed_at or asked_at)
            if self.committed_at is None:
                self._trim(old, asked_at, step)
        return step

    def commit(self, now: int) -> Step:
        """The record makes this generation the active one. Harmless when repeated."""
        step = Step()
        if self.committed_at is None:
            self.committed_at = now
            for pod in self._pods.values():
                self._held_guilds.update(event.guild for event in pod.hold.events)
            step.deliver.extend(Deliver(event, False) for event in self._without.take(lambda _: True))
            self._complete_if_so(now)
        return step

    def sealed(self, pod: int, reply: HandoverReply, now: int) -> Step:
        """Old *pod*'s answer to a seal, with windows. Harmless when repeated: the first one counts.

        Raises ``ValueError`` before the commit: a seal is asked for only after it.
        """
        if self.committed_at is None:
            raise ValueError("an old pod was sealed before the commit")
        old = self._pods.get(pod)
        if old is None or old.sealed:
            return self.acknowledged(pod, reply.unacknowledged, now)
        lost = reply.sealed_at is None or reply.recorded_since is None
        old.sealed_at = now if reply.sealed_at is None else reply.sealed_at
        old.evidence = Evidence(sealed_at=old.sealed_at, recorded_since=None if lost else reply.recorded_since)
        old.windows = {} if lost else {window.guild: window for window in reply.windows}
        old.unacknowledged = frozenset(reply.unacknowledged)
        return self._release(old, now)

    def acknowledged(self, pod: int, unacknowledged: Iterable[int], now: int) -> Step:
        """Sealed old *pod* says which guilds of ours still have accepted events without an acknowledgement.

        A guild that was released stays released.
        """
        old = self._pods.get(pod)
        if old is None or not old.sealed:
            return Step()
        left = old.unacknowledged & frozenset(unacknowledged)
        if left == old.unacknowledged:
            return Step()
        old.unacknowledged = left
        return self._release(old, now)

    def tick(self, now: int) -> Step:
        """To be called about ten times a second while not over: settles what only needed time."""
        step = Step()
        for pod in self._pods.values():
            for guild in [guild for guild, waiting in pod.waiting.items() if waiting]:
                self._answer(pod, guild, pod.alignments[guild].pass_time(now), step)
            if pod.done_at is not None and now - pod.done_at > LATE_COPIES_MILLISECONDS and not pod.waiting:
                pod.closed = True
                pod.alignments.clear()
                pod.windows = {}
        return step

    # --- Status

    def status(self) -> HandoverStatus:
        sealed = sum(pod.sealed for pod in self._pods.values())
        return HandoverStatus(
            complete=self.complete,
            sealed_pods=sealed,
            waiting_pods=len(self._pods) - sealed,
            held_guilds=len(self._held_guilds),
            released_guilds=len(self._released_guilds),
            delivered_marked=self._marked,
            skipped=self._skipped,
            committed_at=self.committed_at,
            completed_at=self.completed_at,
            longest_pause_milliseconds=self._longest_pause,
        )

    @property
    def held(self) -> int:
        """Events held back."""
        return len(self._without) + sum(len(pod.hold) for pod in self._pods.values())

    @property
    def held_bytes(self) -> int:
        return self._without.bytes + sum(pod.hold.bytes for pod in self._pods.values())

    # --- Inside

    def _pod_of(self, event: Held) -> OldPod | None:
        shard = shard_of_guild(event.guild, self._predecessor.count)
        if shard not in self._predecessor.shards:
            return None
        return self._pods.get(self._predecessor.pod_of(shard))

    def _trim(self, pod: OldPod, now: int, step: Step) -> None:
        if pod.unsealed_at is not None:
            step.skip.extend(pod.hold.trim(min(now - self._overlap, pod.unsealed_at - MARGIN_MILLISECONDS)))

    def _bound(self, step: Step) -> None:
        """Give up the oldest of what is held most, down to the bounds."""
        while self.held > self._max_events or self.held_bytes > self._max_bytes:
            fullest = max((self._without, *(pod.hold for pod in self._pods.values())), key=lambda hold: hold.bytes)
            step.overflowed.append(fullest.pop_oldest())
            self.overflowed += 1

    def _release(self, pod: OldPod, now: int) -> Step:
        step = Step()
        for event in pod.hold.take(pod.released):
            self._feed(pod, event, step)
            if event.guild in self._held_guilds:
                self._held_guilds.discard(event.guild)
                self._released_guilds.add(event.guild)
        if step.deliver:
            self._longest_pause = max(self._longest_pause, float(now - pod.sealed_at))
        if not pod.unacknowledged and pod.done_at is None:
            pod.done_at = now
        self._complete_if_so(now)
        return step

    def _feed(self, pod: OldPod, event: Held, step: Step) -> None:
        if pod.closed:
            step.deliver.append(Deliver(event, False))
            return
        alignment = pod.alignment(event.guild, self._align)
        pod.waiting.setdefault(event.guild, deque()).append(event)
        arrived = Arrived(event.name, event.payload, event.arrival, event.replayed)
        self._answer(pod, event.guild, alignment.feed(arrived), step)

    def _answer(self, pod: OldPod, guild: int, decisions: Iterable[Decision], step: Step) -> None:
        waiting = pod.waiting[guild]
        for decision in decisions:
            event = waiting.popleft()
            if decision is Decision.SKIP:
                self._skipped += 1
                step.skip.append(event)
            else:
                marked = decision is Decision.DELIVER_MARKED
                self._marked += marked
                step.deliver.append(Deliver(event, marked))
        if not waiting:
            del pod.waiting[guild]

    def _complete_if_so(self, now: int) -> None:
        if self.completed_at is None and all(pod.done_at is not None for pod in self._pods.values()):
            self.completed_at = now
