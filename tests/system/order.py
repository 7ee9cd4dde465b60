"""Whether events came in the order that is promised: of a guild always, of a session where the gateway keeps it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from discord_simulator.receipts import Received
from discord_simulator.truth import Truth
from shard_runtime.handover.alignment import LATE_COPIES_MILLISECONDS


@dataclass(frozen=True, slots=True)
class Arrival:
    """The first one of an event under one (session, sequence)."""

    event: int
    session: str
    sequence: int
    generation: int
    """Of the pod that delivered it."""
    at: int
    """Unix milliseconds."""


class Arrivals:
    """All of a run, in order; redeliveries left out, which are promised no order."""

    def __init__(self, truth: Truth, received: Received) -> None:
        self._truth = truth
        event_of = truth.event_of()
        generations = [int(number) if number.isdecimal() else 0 for number in received.generations]
        seen: set[tuple[str, int]] = set()
        self.all: list[Arrival] = []
        for index, sequence, generation, at in zip(
            received.session, received.sequence, received.generation, received.at, strict=True
        ):
            key = received.sessions[index], sequence
            event = event_of.get(key)
            if event is not None and key not in seen:
                seen.add(key)
                self.all.append(Arrival(event, *key, generations[generation], at))

    def made_at(self, arrival: Arrival) -> int:
        return self._truth.made_at(arrival.event)

    def stream(self, arrival: Arrival) -> int:
        return self._truth.stream_of(arrival.event)

    def told(self, arrival: Arrival) -> str:
        return (
            f"{self._truth.name_of(arrival.event)} of {self.stream(arrival)} made at {self.made_at(arrival)}, "
            f"which came at {arrival.at} as {arrival.session}:{arrival.sequence}"
        )


def disordered_in_guilds(arrivals: Arrivals, *, excused: frozenset[int]) -> Iterator[str]:
    """Events that came for the first time after a later one of their guild had.

    *excused* ones may, though not within one session: who was to deliver them gave them up, or never had them, so they
    may be lost; to come late, from the next generation, is better.
    """
    seen: set[int] = set()
    latest: dict[int, int] = {}
    latest_of_session: dict[tuple[str, int], int] = {}
    for arrival in arrivals.all:
        if arrival.event in seen:
            continue
        seen.add(arrival.event)
        stream = arrivals.stream(arrival)
        session = arrival.session, stream
        before = latest_of_session.get(session, 0)
        latest_of_session[session] = max(before, arrival.sequence)
        if arrival.sequence < before:
            yield arrivals.told(arrival)
        elif arrival.event > latest.get(stream, 0):
            latest[stream] = arrival.event
        elif arrival.event not in excused:
            yield arrivals.told(arrival)


def disordered_in_sessions(
    arrivals: Arrivals, *, generation_of: Mapping[str, int], since: Mapping[int, int]
) -> Iterator[str]:
    """Events that their own session's generation delivered after a later one of the session.

    *since*: by generation, from when (unix milliseconds) an event must have been made for its order to be promised: a
    handover keeps the order of guilds alone. A generation with a predecessor waits with the first events of each stream
    until it knows their place, for up to :data:`LATE_COPIES_MILLISECONDS` after the seal.
    """
    latest: dict[str, int] = {}
    placed: dict[tuple[int, int], int] = {}
    """When a generation's first event of a stream came."""
    for arrival in arrivals.all:
        generation = generation_of.get(arrival.session, 0)
        begin = since.get(generation)
        if begin is None or arrival.generation != generation:
            continue
        made = arrivals.made_at(arrival)
        since_placed = placed.setdefault((generation, arrivals.stream(arrival)), arrival.at)
        if made < begin:
            continue
        waited = begin > 0 and made < since_placed and made < begin + LATE_COPIES_MILLISECONDS
        if arrival.sequence < latest.get(arrival.session, 0) and not waited:
            yield arrivals.told(arrival)
        latest[arrival.session] = max(arrival.sequence, latest.get(arrival.session, 0))
