"""Ground truth against what the receiver acknowledged: what was lost, doubled, out of order.

``judge`` is pure. An event counts as sent from the moment that any session gave it a sequence, also while nobody was
connected (a RESUME would bring it) and also if that session has ended since (an honest loss). READY, RESUMED, a
session's start-up snapshots and replies to requests are not counted.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator
from typing import Final

import aiohttp
import msgspec

from discord_simulator.receipts import Received
from discord_simulator.truth import SessionTruth, Truth

_EXAMPLES: Final = 20
_FETCH_SECONDS: Final = 60.0


class Example(msgspec.Struct, rename="camel", kw_only=True, frozen=True):
    """One event that something is to be said about."""

    event: int
    name: str
    stream: int
    at: int
    """When it was made, unix milliseconds."""
    seen: list[tuple[str, int]]
    """(session, sequence) of every session that was sent it."""
    deliveries: list[tuple[str, int]]
    """(session, sequence) of every acknowledged delivery, in order."""


class Verdict(msgspec.Struct, rename="camel", kw_only=True):
    sent: int
    delivered: int
    lost: int
    duplicated: int
    """Acknowledged deliveries of an event beyond its first."""
    duplicated_unmarked: int
    """Those of them where neither this delivery nor an earlier one came as ``maybeDuplicate``."""
    redelivered: int
    """Those of them with a (session, sequence) that was acknowledged before: a receiver that commits it sees none."""
    duplicated_at_source: int
    """Those of them that the same session was sent more than once, under a sequence each."""
    lost_by_key: int
    """As ``lost``, with events of equal name and body told apart by their number alone, since nothing else can."""
    duplicated_by_key: int
    unmarked_by_key: int
    """Those of them beyond the deliveries of such events that came as ``maybeDuplicate``."""
    lane_violations: int
    """First deliveries whose sequence is below one that the same session had delivered."""
    stream_violations: int
    """First deliveries of an event made before one that the same guild (or channel) had delivered."""
    uncounted: int
    """Acknowledged payloads that are not counted as sent: READY, snapshots, replies, sessions left out."""
    lost_examples: list[Example]
    duplicated_examples: list[Example]
    order_examples: list[Example]


def judge(
    truth: Truth,
    received: Received,
    *,
    include: Callable[[SessionTruth], bool] = lambda session: True,
    without: frozenset[str] = frozenset(),
) -> Verdict:
    """Compare. *include* picks the sessions that count as active; events of the names in *without* are left out."""
    return _Comparison(truth=truth, received=received, include=include, without=without).verdict()


class _Comparison:
    def __init__(
        self,
        *,
        truth: Truth,
        received: Received,
        include: Callable[[SessionTruth], bool],
        without: frozenset[str],
    ) -> None:
        self._truth = truth
        self._received = received
        excluded = {index for index, name in enumerate(truth.names) if name in without}
        self._sent: set[int] = set()
        self._event_of: dict[tuple[str, int], int] = {}
        self._sent_again: set[tuple[str, int]] = set()
        """(session, event) that has several sequences."""
        for session in truth.sessions:
            if not include(session):
                continue
            once: set[int] = set()
            for sequence, event in zip(session.sequences, session.events, strict=True):
                if event in once:
                    self._sent_again.add((session.id, event))
                once.add(event)
                if self._name_index(event) not in excluded:
                    self._sent.add(event)
                    self._event_of[session.id, sequence] = event
        self._deliveries: dict[int, int] = defaultdict(int)
        self._keys: dict[int, int] = defaultdict(int)
        """Under how many (session, sequence) an event came: redeliveries with the same one make up for nothing."""
        self._marked_deliveries: dict[int, int] = defaultdict(int)
        self._duplicated = self._unmarked = self._redelivered = self._at_source = self._uncounted = 0
        self._duplicated_events: dict[int, None] = {}
        self._disordered_events: dict[int, None] = {}
        self._lane_violations = self._stream_violations = 0

    def _name_index(self, event: int) -> int:
        return self._truth.events.names[event - self._truth.events.first]

    def _stream(self, event: int) -> int:
        return self._truth.events.streams[event - self._truth.events.first]

    def _arrivals(self) -> Iterator[tuple[str, int, bool]]:
        received = self._received
        marked = set(received.marked)
        for position, (session, sequence) in enumerate(zip(received.session, received.sequence, strict=True)):
            yield received.sessions[session], sequence, position in marked

    def verdict(self) -> Verdict:
        acknowledged: set[tuple[str, int]] = set()
        by_source: set[tuple[str, int]] = set()
        lane_ends: dict[str, int] = {}
        stream_ends: dict[int, int] = {}
        for session, sequence, marked in self._arrivals():
            event = self._event_of.get((session, sequence))
            if event is None:
                self._uncounted += 1
                continue
            if marked:
                self._marked_deliveries[event] += 1
            again = (session, sequence) in acknowledged
            self._keys[event] += not again
            if self._deliveries[event]:
                self._count_duplicate(event, again=again)
                self._at_source += not again and (session, event) in by_source
            else:
                self._check_order(event, session, sequence, lane_ends, stream_ends)
            if (session, event) in self._sent_again:
                by_source.add((session, event))
            self._deliveries[event] += 1
            acknowledged.add((session, sequence))
        lost = [event for event in sorted(self._sent) if event not in self._deliveries]
        lost_by_key, duplicated_by_key, unmarked_by_key = self._by_key()
        return Verdict(
            sent=len(self._sent),
            delivered=len(self._deliveries),
            lost=len(lost),
            duplicated=self._duplicated,
            duplicated_unmarked=self._unmarked,
            redelivered=self._redelivered,
            duplicated_at_source=self._at_source,
            lost_by_key=lost_by_key,
            duplicated_by_key=duplicated_by_key,
            unmarked_by_key=unmarked_by_key,
            lane_violations=self._lane_violations,
            stream_violations=self._stream_violations,
            uncounted=self._uncounted,
            lost_examples=self._examples(lost),
            duplicated_examples=self._examples(list(self._duplicated_events)),
            order_examples=self._examples(list(self._disordered_events)),
        )

    def _count_duplicate(self, event: int, *, again: bool) -> None:
        self._duplicated += 1
        self._redelivered += again
        self._unmarked += event not in self._marked_deliveries
        self._duplicated_events[event] = None

    def _check_order(
        self, event: int, session: str, sequence: int, lane_ends: dict[str, int], stream_ends: dict[int, int]
    ) -> None:
        if sequence < lane_ends.get(session, 0):
            self._lane_violations += 1
            self._disordered_events[event] = None
        lane_ends[session] = max(sequence, lane_ends.get(session, 0))
        stream = self._stream(event)
        if event < stream_ends.get(stream, 0):
            self._stream_violations += 1
            self._disordered_events[event] = None
        stream_ends[stream] = max(event, stream_ends.get(stream, 0))

    def _by_key(self) -> tuple[int, int, int]:
        """Lost, duplicated and duplicated unmarked where equal events are judged by how many there are."""
        wanted: dict[int, int] = defaultdict(int)
        got: dict[int, int] = defaultdict(int)
        keys: dict[int, int] = defaultdict(int)
        marked: dict[int, int] = defaultdict(int)
        for event in self._sent:
            # An event whose body exists once is a key of its own; negative, so that it meets no digest.
            key = self._truth.events.keys[event - self._truth.events.first] or -event
            wanted[key] += 1
            got[key] += self._deliveries.get(event, 0)
            keys[key] += self._keys.get(event, 0)
            marked[key] += self._marked_deliveries.get(event, 0)
        lost = sum(max(0, count - keys[key]) for key, count in wanted.items())
        duplicated = sum(max(0, got[key] - count) for key, count in wanted.items())
        unmarked = sum(max(0, got[key] - count - marked[key]) for key, count in wanted.items())
        return lost, duplicated, unmarked

    def _examples(self, events: list[int]) -> list[Example]:
        picked = events[:_EXAMPLES]
        seen: dict[int, list[tuple[str, int]]] = {event: [] for event in picked}
        deliveries: dict[int, list[tuple[str, int]]] = {event: [] for event in picked}
        for key, event in self._event_of.items():
            if event in seen:
                seen[event].append(key)
        for session, sequence, _ in self._arrivals() if picked else ():
            event_of = self._event_of.get((session, sequence))
            if event_of in deliveries:
                deliveries[event_of].append((session, sequence))
        return [
            Example(
                event=event,
                name=self._truth.names[self._name_index(event)],
                stream=self._truth.streams[self._stream(event)],
                at=self._truth.since + self._truth.events.at[event - self._truth.events.first],
                seen=seen[event],
                deliveries=deliveries[event],
            )
            for event in picked
        ]


async def fetch_truth(simulator: str) -> Truth:
    """The whole truth of the simulator at base URL *simulator* (``http://host:port``)."""
    return msgspec.json.decode(await _fetch(f"{simulator}/control/truth"), type=Truth)


async def fetch_received(receiver: str) -> Received:
    """All that the receiver at base URL *receiver* has acknowledged."""
    return msgspec.json.decode(await _fetch(f"{receiver}/control/received?all=1"), type=Received)


async def fetch_verdict(
    *,
    simulator: str,
    receiver: str,
    include: Callable[[SessionTruth], bool] = lambda session: True,
    without: frozenset[str] = frozenset(),
) -> Verdict:
    """Fetch both sides and compare. Raises ``aiohttp.ClientError``, or ``TimeoutError`` after a minute each."""
    truth = await fetch_truth(simulator)
    return judge(truth, await fetch_received(receiver), include=include, without=without)


async def _fetch(url: str) -> bytes:
    timeout = aiohttp.ClientTimeout(total=_FETCH_SECONDS)
    async with aiohttp.ClientSession(timeout=timeout) as session, session.get(url) as response:
        response.raise_for_status()
        return await response.read()
