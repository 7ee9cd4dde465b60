"""What must hold of the real system after every round: pure, over Discord's ground truth and the bot's receipts."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass

from system.promises import generations_going_back, unexplained_duplicates

from discord_simulator.receipts import Received
from discord_simulator.truth import Truth
from discord_simulator.verdict import judge


@dataclass(frozen=True, slots=True, kw_only=True)
class Numbers:
    """What a run has come to so far."""

    events: int
    lost: int
    redelivered: int
    """Further deliveries with the (session, sequence) of an earlier one."""
    marked: int
    """Further deliveries that say ``maybeDuplicate``, or follow one that did."""
    identifies: int
    resumes: int
    refused_identifies: int
    generations: int

    def line(self) -> str:
        return ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in asdict(self).items())


def judged(
    truth: Truth,
    received: Received,
    *,
    generations: Mapping[int, int],
    connected: Mapping[int, int],
    identifies_held_up: bool,
) -> tuple[Numbers, list[str]]:
    """What was counted, and the promises that were broken.

    *generations* are all that there have been, with how many shards each has; *connected* are Discord's connected
    sessions, by the number of shards that they were identified with. *identifies_held_up* says that the network or a
    pause may have held up an IDENTIFY, which Discord may then refuse for the next one's sake, or its READY, without
    which nobody can resume the session.
    """
    verdict, counters = judge(truth, received), truth.counters
    copies = unexplained_duplicates(truth, received)
    broken = []
    if verdict.lost:
        broken.append(f"nothing is lost: {verdict.lost} events are, such as {verdict.lost_examples[0]}")
    if copies:
        broken.append(f"nothing comes twice: {len(copies)} events did, such as {copies[0]}")
    if verdict.stream_violations:
        broken.append(f"order in a guild: {verdict.stream_violations} times not, such as {verdict.order_examples[0]}")
    broken.extend(generations_going_back(truth, received))
    broken.extend(_sessions_ended(truth, received))
    owed = sum(generations.values()) + (_never_known(truth, received) if identifies_held_up else 0)
    if counters.identifies_accepted > owed:
        broken.append(f"no IDENTIFY while a session can be resumed: {counters.identifies_accepted}, not {owed}")
    if counters.budget_overruns:
        broken.append(f"the identify budget: overrun {counters.budget_overruns} times")
    if counters.bucket_violations and not identifies_held_up:
        broken.append(f"identify buckets: {counters.bucket_violations} came too early")
    broken.extend(_not_connected(connected, generations))
    numbers = Numbers(
        events=verdict.sent,
        lost=verdict.lost,
        redelivered=verdict.redelivered,
        marked=verdict.duplicated - verdict.redelivered,
        identifies=counters.identifies_accepted,
        resumes=counters.resumes_accepted,
        refused_identifies=sum(counters.identifies_rejected.values()),
        generations=len(generations),
    )
    return numbers, broken


def _sessions_ended(truth: Truth, received: Received) -> Iterator[str]:
    """A generation that delivered has one session for each shard, and the last one's live."""
    generation_of = {
        received.sessions[session]: int(received.generations[number] or 0)
        for session, number in zip(received.session, received.generation, strict=True)
    }
    latest = max(generation_of.values(), default=0)
    sessions: dict[tuple[int, int], list[str]] = defaultdict(list)
    for session in truth.sessions:
        generation = generation_of.get(session.id)
        if generation is None:
            continue
        sessions[generation, session.shard].append(session.id)
        if generation == latest and session.end is not None:
            yield f"sessions live on: {session.id} of shard {session.shard} ended as {session.end}"
        elif session.end not in (None, "clientClose"):
            yield f"sessions live on: {session.id} of generation {generation} ended as {session.end}"
    for (generation, shard), several in sessions.items():
        if len(several) > 1:
            yield f"sessions live on: shard {shard} of generation {generation} had {several}"


def _never_known(truth: Truth, received: Received) -> int:
    """How many sessions may have been begun without anybody having got their READY: nothing of them was ever delivered,
    they were never resumed, and another one took their place."""
    delivered = {received.sessions[session] for session in received.session}
    places = [(session.count, session.shard) for session in truth.sessions]
    return sum(
        session.id not in delivered and not session.resumes and place in places[index + 1 :]
        for index, (session, place) in enumerate(zip(truth.sessions, places, strict=True))
    )


def _not_connected(connected: Mapping[int, int], generations: Mapping[int, int]) -> Iterator[str]:
    """The last generation's sessions are connected, and no others. (What a killed pod of a generation that is over
    left open ends by itself.)"""
    shards = generations[max(generations)]
    if {count: sessions for count, sessions in connected.items() if sessions} != {shards: shards}:
        yield f"one active generation: sessions are connected for counts {dict(connected)}, instead of {shards} shards"
