"""Two generations that see the same guilds, each with its own delays, in one function of its inputs.

The old pods accept until their seals, the new worker goes through a whole cutover, and the outcome is compared with the
truth, which no part of the code under test ever sees: the identity of each event.
"""

from __future__ import annotations

import heapq
import itertools
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from shard_runtime.contract import HandoverReply, HandoverRequest, ShardLayout, shard_of_guild
from shard_runtime.handover.alignment import AlignmentFactory, PlainAlignment
from shard_runtime.handover.cutover import Cutover, Step
from shard_runtime.handover.holding import Held
from shard_runtime.handover.window import Window, asked_for

OLD = ShardLayout(count=4, first=0, last=3, per_worker=1, workers_per_pod=2)
NEW_COUNT = 6
GUILDS = tuple((number << 22) + 5 for number in range(1, 13))
UNIQUE_NAMES = ("MESSAGE_CREATE", "GUILD_ROLE_CREATE")
OVERLAP = 10.0

HOLD_FROM = 1_000
RECORD_FROM = 3_000
COMMIT_AT = 15_000


@dataclass(frozen=True)
class Sent:
    """One event, once. Times in milliseconds of true time; delays are how long it took to each side."""

    at: int
    guild: int
    unique: bool
    kind: int
    """Repeatable events of the same kind have the same body."""
    old_delay: int
    new_delay: int


@dataclass(frozen=True)
class Pace:
    """When things happen. Times in milliseconds of true time."""

    seals: Mapping[int, int]
    """By old pod, when it is sealed; after the commit."""
    acknowledged_after: Mapping[int, int]
    """By guild, how long after its seal the old pod has everything acknowledged."""
    answer_delay: int = 50
    skew: int = 0
    """What the new pod's clock shows beyond the old pods'."""


@dataclass
class Outcome:
    accepted: set[int] = field(default_factory=set)
    """Events (by index) that the old side accepted before its seals."""
    delivered: list[tuple[int, bool, int]] = field(default_factory=list)
    """(event, marked, true time), in order, by the new side."""
    finished: list[int] = field(default_factory=list)
    """Every offered event that came back in a step."""
    offered: list[int] = field(default_factory=list)
    cutover: Cutover | None = None

    @property
    def lost(self) -> set[int]:
        return set(self.offered) - self.accepted - {event for event, _, _ in self.delivered}

    def duplicates(self, *, marked: bool) -> set[int]:
        return {event for event, is_marked, _ in self.delivered if is_marked is marked and event in self.accepted}


def body(number: int, event: Sent) -> tuple[str, bytes]:
    """Name and payload; the two sides' copies differ in the order of their keys."""
    if event.unique:
        name = UNIQUE_NAMES[event.kind % 2]
        d: dict[str, object] = {"id": str(number), "guild_id": str(event.guild), "role": {"id": str(number)}}
    else:
        name = ("WEBHOOKS_UPDATE", "MESSAGE_REACTION_ADD")[event.kind % 2]
        d = {"guild_id": str(event.guild), "channel_id": str(event.kind)}
    if number % 2:
        d = dict(reversed(d.items()))
    return name, json.dumps({"t": name, "s": number + 1, "op": 0, "d": d}).encode()


def run(events: Sequence[Sent], pace: Pace, *, align: AlignmentFactory = PlainAlignment) -> Outcome:
    """Play *events* (sorted by time) through a cutover."""
    outcome = Outcome()
    cutover = Cutover(count=NEW_COUNT, shards=range(NEW_COUNT), predecessor=OLD, overlap_seconds=OVERLAP, align=align)
    outcome.cutover = cutover
    windows = {pod: Window(since=RECORD_FROM, overlap_seconds=OVERLAP) for pod in range(OLD.pods)}
    request = HandoverRequest(generation=2, count=NEW_COUNT, shards=list(range(NEW_COUNT)))
    order = itertools.count()
    agenda: list[tuple[int, int, Callable[[int], None]]] = []

    def at(moment: int, action: Callable[[int], None]) -> None:
        heapq.heappush(agenda, (moment, next(order), action))

    def take(step: Step, now: int) -> None:
        for event, marked in step.deliver:
            outcome.delivered.append((event.sequence - 1, marked, now))
            outcome.finished.append(event.sequence - 1)
        outcome.finished.extend(event.sequence - 1 for event in step.skip)
        assert not step.overflowed

    def unacknowledged(pod: int, now: int) -> list[int]:
        return asked_for(
            [
                guild
                for guild, after in pace.acknowledged_after.items()
                if OLD.pod_of(shard_of_guild(guild, OLD.count)) == pod and now < pace.seals[pod] + after
            ],
            request,
        )

    def old_side(number: int, event: Sent) -> Callable[[int], None]:
        def arrive(now: int) -> None:
            pod = OLD.pod_of(shard_of_guild(event.guild, OLD.count))
            if now < pace.seals[pod]:
                outcome.accepted.add(number)
                if now >= RECORD_FROM:
                    windows[pod].record(event.guild, *body(number, event), now)

        return arrive

    def new_side(number: int, event: Sent) -> Callable[[int], None]:
        def arrive(now: int) -> None:
            name, payload = body(number, event)
            outcome.offered.append(number)
            shard = shard_of_guild(event.guild, NEW_COUNT)
            held = Held(shard, f"s{shard}", number + 1, name, payload, event.guild, now + pace.skew)
            take(cutover.offer(held), now)

        return arrive

    def ask(pod: int) -> Callable[[int], None]:
        def asked(now: int) -> None:
            if now < pace.seals[pod]:
                take(cutover.unsealed(pod, now + pace.skew), now)
                at(now + 1000, ask(pod))

        return asked

    def seal(pod: int) -> Callable[[int], None]:
        def sealed(now: int) -> None:
            reply = HandoverReply(
                generation=1,
                pod_uid="old",
                sealed_at=now,
                recorded_since=windows[pod].recorded_since,
                windows=windows[pod].export(request),
                unacknowledged=unacknowledged(pod, now),
            )
            at(now + pace.answer_delay, lambda later: take(cutover.sealed(pod, reply, later + pace.skew), later))
            at(now + pace.answer_delay, poll(pod))

        return sealed

    def poll(pod: int) -> Callable[[int], None]:
        def polled(now: int) -> None:
            left = unacknowledged(pod, now)
            take(cutover.acknowledged(pod, left, now + pace.skew), now)
            if left:
                at(now + 100, poll(pod))

        return polled

    by_guild_old: dict[int, int] = {}
    by_guild_new: dict[int, int] = {}
    for number, event in enumerate(events):
        old = by_guild_old[event.guild] = max(event.at + event.old_delay, by_guild_old.get(event.guild, 0))
        new = by_guild_new[event.guild] = max(event.at + event.new_delay, by_guild_new.get(event.guild, 0))
        at(old, old_side(number, event))
        if new >= HOLD_FROM:
            at(new, new_side(number, event))
    at(COMMIT_AT, lambda now: take(cutover.commit(now + pace.skew), now))
    for pod in range(OLD.pods):
        at(4_000, ask(pod))
        at(pace.seals[pod], seal(pod))
    while agenda:
        now, _, action = heapq.heappop(agenda)
        action(now)
    return outcome
