"""What a worker of the target knows of one old pod, holds back for it, and decides by it.

A pod is sealed as a whole, so its streams wait together; each is released on its own, once the old pod has nothing of
its guild unacknowledged, and is then placed by its own alignment.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterable, Mapping, Sequence

import msgspec

from shard_runtime.contract import GuildWindow, HandoverReply, ShardLayout, WindowEvent, Wire, shard_of_guild
from shard_runtime.handover.alignment import Alignment, AlignmentFactory, Arrived, Decision, Evidence, Outcome
from shard_runtime.handover.holding import Held, Hold
from shard_runtime.handover.keys import REPLIES, Place
from shard_runtime.handover.lags import UNMEASURED, Bounds, LagProfile, Overlap
from shard_runtime.handover.placed import Placed
from shard_runtime.handover.streams import StreamAlignment


class Known(Wire, frozen=True, kw_only=True):
    """What a worker knew of an old pod when it was sealed, and cannot learn again."""

    bounds: Bounds
    complete_since: int
    began: dict[int, int] = msgspec.field(default_factory=dict)
    """Since when the new shards had their sessions: what the old side accepted before is not on this one."""


class OldPod:
    """One pod of the old generation, to one worker of the target."""

    def __init__(self, *, number: int, layout: ShardLayout, began: Mapping[int, int]) -> None:
        """*layout* is the old generation's; *began*: since when each new shard's events are complete."""
        self.number = number
        self._layout = layout
        self._began = began
        self.hold = Hold()
        self.unsealed_at: int | None = None
        """The latest moment (this pod's clock) at which it was certainly not sealed."""
        self.complete_until: int | None = None
        """All that Discord had sent its sessions by then (this pod's clock) had certainly arrived."""
        self.reply: HandoverReply | None = None
        """Its answer to the seal; None until sealed."""
        self.sealed_at = 0
        self.sealed_here = 0
        """When the answer came, on this pod's clock."""
        self.unacknowledged: frozenset[int] = frozenset()
        self.after: dict[Place, list[WindowEvent]] | None = None
        """What its sessions received after the seal, once known."""
        self.done_at: int | None = None
        """When it was sealed and had nothing unacknowledged left."""
        self.closed = False
        """No late copies are expected any more."""
        self.alignments: dict[Place, Alignment] = {}
        self.waiting: dict[Place, deque[Held]] = {}
        """Events that an alignment has taken and not yet answered."""
        self.was_held: set[Place] = set()
        """Streams of which something was held when they were released."""
        self.bounds = UNMEASURED
        self._windows: Mapping[Place, GuildWindow] = {}
        self._profiles: dict[tuple[int, int], LagProfile] = {}
        self._accepted_until: dict[int, int] = {}
        self._complete_since = 0
        self._began_at_seal: Mapping[int, int] = {}
        self._found: dict[Place, Placed] = {}
        self.to_place: set[Place] = set()
        """Streams whose place is sought; of those of which the old side had nothing, it need not be remembered."""

    @property
    def sealed(self) -> bool:
        return self.reply is not None

    def released(self, guild: int) -> bool:
        return self.reply is not None and guild not in self.unacknowledged

    # --- The seal -----------------------------------------------------------------------------------------------------

    def measure(self, reply: HandoverReply, now: int, remembered: tuple[int, int] | None) -> Known:
        """What the hold and the answer to a seal show. *remembered*: lag extremes of the rehearsals."""
        bounds = UNMEASURED
        if reply.sealed_at is not None and reply.recorded_since is not None:
            measured = self.overlap(by_place(reply.windows)).measured(
                sealed_at=reply.sealed_at, complete_since=reply.recorded_since, remembered=remembered
            )
            bounds = measured.bounds
            profiles = {pair: LagProfile.of(samples) for pair, samples in measured.samples.items()}
            self._profiles = {pair: profile for pair, profile in profiles.items() if profile is not None}
        return Known(bounds=bounds, complete_since=self.hold.complete_since + 1, began=dict(self._began))

    def seal(self, reply: HandoverReply, now: int, *, known: Known, found: Iterable[Placed]) -> None:
        """Take the answer to a seal. *found*: places that an earlier life of the worker found."""
        self.reply = reply
        self.sealed_here = now
        self.sealed_at = now if reply.sealed_at is None else reply.sealed_at
        self.unacknowledged = frozenset(reply.unacknowledged)
        self.bounds = known.bounds
        self._complete_since = known.complete_since
        self._began_at_seal = known.began
        self._found = {one.place: one for one in found}
        if reply.sealed_at is None or reply.recorded_since is None:
            self.after = {}
            return
        self._windows = by_place(reply.windows)
        for place, window in self._windows.items():
            if window.events:
                shard = shard_of_guild(place.guild, self._layout.count)
                last = max(window.events[-1].arrival, self._accepted_until.get(shard, 0))
                self._accepted_until[shard] = last

    def overlap(self, windows: Mapping[Place, GuildWindow]) -> Overlap:
        """What the hold and *windows* have in common."""
        overlap = Overlap({place: window.events for place, window in windows.items()})
        count = self._layout.count
        for event in self.hold.events:
            if event.unique:
                overlap.add(event.place, shard_of_guild(event.place.guild, count), event)
        return overlap

    # --- Deciding -----------------------------------------------------------------------------------------------------

    def feed(self, place: Place, events: Sequence[Held], make: AlignmentFactory) -> Iterable[Decision]:
        """Let the alignment of stream *place* take its next *events*; the answers are for the oldest in
        :attr:`waiting`."""
        alignment = self.alignments.get(place)
        if alignment is None:
            alignment = self._begin_alignment(place, events[0], make)
        self.waiting.setdefault(place, deque()).extend(events)
        if len(events) == 1:
            return alignment.feed(_arrived(events[0]))
        return alignment.feed_many([_arrived(event) for event in events])

    def _begin_alignment(self, place: Place, first: Held, make: AlignmentFactory) -> Alignment:
        found = self._found.get(place)
        evidence = self._evidence(first)
        alignment = make(evidence) if found is None else StreamAlignment(evidence, found)
        self.alignments[place] = alignment
        if found is None and place in self._windows:
            self.to_place.add(place)
        if self.after is not None:
            alignment.learn(self.after.get(place, ()), first.arrival)
        return alignment

    def _evidence(self, event: Held) -> Evidence:
        assert self.reply is not None
        window = self._windows.get(event.place)
        shard = shard_of_guild(event.place.guild, self._layout.count)
        return Evidence(
            sealed_at=self.sealed_at,
            recorded_since=None if self.reply.sealed_at is None else self.reply.recorded_since,
            events=() if window is None else window.events,
            latest=() if window is None else window.latest,
            accepted_until=self._accepted_until.get(shard),
            held_since=max(self._complete_since, self._began.get(event.shard, self._began_at_seal.get(event.shard, 0))),
            bounds=self.bounds,
            lags=self._profiles.get((shard, event.shard)),
        )

    def close(self) -> Iterable[Held]:
        """No more late copies are expected. Events that still wait are the old side's: they are all its stream has."""
        self.closed = True
        left = [event for waiting in self.waiting.values() for event in waiting]
        self.alignments.clear()
        self.waiting.clear()
        self._windows = {}
        self._profiles = {}
        return left

    def late(self) -> dict[Place, list[int]]:
        """Keys of accepted events whose copies have not come, of streams whose place is not found."""
        found: dict[Place, list[int]] = {}
        for place, window in self._windows.items():
            alignment = self.alignments.get(place)
            if place in self._found or (alignment is not None and alignment.outcome is not Outcome.WAITING):
                continue
            missing = Counter(event.key for event in window.events)
            missing.subtract(event.key for event in self.waiting.get(place, ()))
            if keys := list((+missing).elements()):
                found[place] = keys
        return found

    def counted(self) -> Iterable[Alignment]:
        """The alignments of streams of which either side had something."""
        for place, alignment in self.alignments.items():
            if alignment.outcome is not Outcome.SILENT or place in self.was_held:
                yield alignment


def by_place(windows: Iterable[GuildWindow]) -> dict[Place, GuildWindow]:
    return {Place(window.guild, window.channel): window for window in windows}


def _arrived(event: Held) -> Arrived:
    return Arrived(
        key=event.key,
        unique=event.unique,
        arrival=event.arrival,
        earliest=event.arrival if event.not_before is None else event.not_before,
        replayed=event.replayed,
        subject=event.subject,
        reply=event.name in REPLIES,
        session=event.session,
        sequence=event.sequence,
    )
