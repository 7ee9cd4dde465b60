"""Two generations that see the same guilds, each with its own delays, in one function of its inputs.

The old pods accept until their seals, the new worker goes through a whole cutover, and the outcome is compared with the
truth, which no part of the code under test ever sees: the identity of each event.
"""

from __future__ import annotations

import heapq
import itertools
import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from shard_runtime.contract import HandoverReply, HandoverRequest, ShardLayout, shard_of_guild
from shard_runtime.handover.alignment import AlignmentFactory
from shard_runtime.handover.cutover import Cutover
from shard_runtime.handover.holding import held
from shard_runtime.handover.keys import Place
from shard_runtime.handover.steps import Step
from shard_runtime.handover.streams import StreamAlignment
from shard_runtime.handover.window import AFTER_MILLISECONDS, Window, asked_for

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
    old_copies: int = 1
    """How often Discord gives it to the old session: zero, one or two times."""
    new_copies: int = 1


@dataclass(frozen=True)
class Pace:
    """When things happen. Times in milliseconds of true time."""

    seals: Mapping[int, int]
    """By old pod, when it is sealed; after the commit."""
    acknowledged_after: Mapping[int, int]
    """By guild, how long after its seal the old pod has everything acknowledged."""
    answer_delay: int = 50
    end: int = 50_000
    """How long the new side is told the time."""
    skew: int = 0
    """What the new pod's clock shows beyond the old pods'."""


@dataclass
class Outcome:
    accepted: list[int] = field(default_factory=list)
    """Events (by index) that the old side accepted before its seals."""
    delivered: list[tuple[int, bool, int]] = field(default_factory=list)
    """(event, marked, true time), in order, by the new side."""
    finished: list[int] = field(default_factory=list)
    """Every offered event that came back in a step."""
    offered: list[int] = field(default_factory=list)
    cutover: Cutover | None = None

    @property
    def lost(self) -> set[int]:
        return set(self.offered) - set(self.accepted) - {event for event, _, _ in self.delivered}

    def duplicates(self, *, marked: bool) -> set[int]:
        accepted = set(self.accepted)
        return {event for event, is_marked, _ in self.delivered if is_marked is marked and event in accepted}

    def by_key(self, events: Sequence[Sent]) -> tuple[int, int]:
        """Lost and duplicated, where equal events are told apart by their number alone, since nothing else can."""
        wanted = Counter(identity(event, events[event]) for event in {*self.offered, *self.accepted})
        got = Counter(identity(event, events[event]) for event in self.accepted)
        got.update(identity(event, events[event]) for event, _, _ in self.delivered)
        return (wanted - got).total(), (got - wanted).total()

    def unmarked_by_key(self, events: Sequence[Sent]) -> int:
        """Duplicates beyond the marked ones, equal events told apart by their number alone."""
        wanted = Counter(identity(event, events[event]) for event in {*self.offered, *self.accepted})
        got = Counter(identity(event, events[event]) for event in self.accepted)
        got.update(identity(event, events[event]) for event, marked, _ in self.delivered if not marked)
        return (got - wanted).total()


def identity(number: int, event: Sent) -> tuple[int, int, int]:
    return (event.guild, number, -1) if event.unique else (event.guild, -1, event.kind)


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


def run(events: Sequence[Sent], pace: Pace, *, align: AlignmentFactory = StreamAlignment) -> Outcome:
    """Play *events* (sorted by time) through a cutover."""
    outcome = Outcome()
    cutover = Cutover(count=NEW_COUNT, shards=range(NEW_COUNT), predecessor=OLD, overlap_seconds=OVERLAP, align=align)
    outcome.cutover = cutover
    windows = {pod: Window(since=RECORD_FROM, overlap_seconds=OVERLAP) for pod in range(OLD.pods)}
    afters = {pod: Window(since=0, overlap_seconds=OVERLAP) for pod in range(OLD.pods)}
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
                outcome.accepted.append(number)
                if now >= RECORD_FROM:
                    windows[pod].record(Place(event.guild), *body(number, event), now)
            elif now <= pace.seals[pod] + AFTER_MILLISECONDS:
                afters[pod].record(Place(event.guild), *body(number, event), now)

        return arrive

    def new_side(number: int, event: Sent) -> Callable[[int], None]:
        def arrive(now: int) -> None:
            name, payload = body(number, event)
            outcome.offered.append(number)
            shard = shard_of_guild(event.guild, NEW_COUNT)
            offered = held(
                shard=shard,
                count=NEW_COUNT,
                session=f"s{shard}",
                sequence=number + 1,
                name=name,
                payload=payload,
                arrival=now + pace.skew,
            )
            take(cutover.offer(offered), now)

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
            at(now + AFTER_MILLISECONDS + 1 + pace.answer_delay, hear(pod))

        return sealed

    def hear(pod: int) -> Callable[[int], None]:
        return lambda now: take(cutover.heard(pod, afters[pod].export(request), now + pace.skew), now)

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
        for _ in range(event.old_copies):
            at(old, old_side(number, event))
        for _ in range(event.new_copies if new >= HOLD_FROM else 0):
            at(new, new_side(number, event))
    at(COMMIT_AT, lambda now: take(cutover.commit(now + pace.skew), now))
    for pod in range(OLD.pods):
        at(4_000, ask(pod))
        at(pace.seals[pod], seal(pod))
    for moment in (*range(COMMIT_AT, pace.end, 100), pace.end + 60_000):
        at(moment, lambda now: take(cutover.tick(now + pace.skew), now))
    while agenda:
        now, _, action = heapq.heappop(agenda)
        action(now)
    return outcome
