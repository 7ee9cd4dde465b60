"""Promises that are judged when a simulated run is over, by Discord's ground truth and the bot's receipts."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from system.contents import altered
from system.kinds import ENDS_PROCESSES, LEAVES_SESSIONS_ALONE, LOSES_ANSWERS
from system.order import Arrivals, disordered_in_guilds, disordered_in_sessions
from system.pod_names import generation_of
from system.promises import generations_going_back, lost_by_name, unexplained_duplicates
from system.tally import REASONS

from discord_simulator.receipts import Received
from discord_simulator.truth import SessionTruth, Truth
from discord_simulator.verdict import judge

SNAPSHOTS: Final = frozenset({"READY", "RESUMED", "GUILD_CREATE"})
"""Names of dispatches that are not, or not always, events that Discord counts as sent."""
AROUND_MILLISECONDS: Final = 30_000
"""Before and after a commit, in which what one generation's session lost may have to come from the other's."""
SETTLING_MILLISECONDS: Final = 20_000
"""After a handover, in which streams of the guilds whose place was not known yet may be behind the others."""
FEW_MARKED: Final = 5
"""Where traffic is so little that a stream's place shows in nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    truth: Truth
    received: Received
    held_by: Mapping[str, str]
    """By session, the pod that identified it."""
    active_since: Sequence[tuple[int, int]]
    """Generations and when each became the active one by the record, in unix milliseconds."""
    in_charge_since: Mapping[int, int]
    """By generation, when its pods knew so, in unix milliseconds; until then the one before goes on delivering."""
    frail: bool
    """Discord has ended sessions."""
    forgiven: frozenset[str]
    """Pods whose sessions may have been given up otherwise, and their events lost."""
    begun_anew: frozenset[str]
    """Pods whose sessions may have been given up, but no event lost."""
    abandoned: frozenset[str]
    """Sessions that nobody holds any more, and that nobody ended: their pods were lost with all that they knew."""
    forgotten: frozenset[str]
    """Sessions that Discord forgot because nobody was connected, while something kept their pods from it, and those
    that a pod forgot because its disk had not taken them."""
    settled_since: Mapping[int, int]
    """By generation, when it had taken over for good, in unix milliseconds."""
    by_shard: bool
    """The order of a session is kept, not only that of a guild."""
    without: frozenset[str]
    """Names that the bot does not want."""
    dropped: Counter[tuple[str, str]]
    """What the pods counted as dropped, by name and reason; empty where nothing is to be dropped."""
    acts: frozenset[str]
    """What befell the system."""

    @property
    def all_lived(self) -> bool:
        """No process of a pod was ended before its time, so that none dropped what came again."""
        return not ENDS_PROCESSES & self.acts

    @property
    def tolerant(self) -> bool:
        return self.frail or bool(self.forgiven or self.forgotten)

    def forgives(self, session: SessionTruth) -> bool:
        """Whether *session* may have been given up."""
        return self.frail or session.id in self.forgotten or self.held_by.get(session.id) in self.forgiven


@dataclass(frozen=True, slots=True, kw_only=True)
class Numbers:
    """What a run came to."""

    sent: int
    delivered: int
    lost: int
    redelivered: int
    marked: int


def judged(evidence: Evidence) -> tuple[Numbers, list[str]]:
    """What was counted, and the promises that were broken."""
    truth, received = evidence.truth, evidence.received
    verdict = judge(truth, received, without=evidence.without)
    sessions = _Sessions(evidence)
    broken = [*sessions.broken(), *altered(truth, received, without=evidence.without)]
    # Of equal events nothing but their number can be told: which of them the bot had makes no difference to it.
    lost = verdict.lost_by_key
    if evidence.dropped:
        broken.extend(_miscounted(evidence, sessions))
    elif lost:
        owed = list(_owed(evidence, sessions)) if evidence.tolerant else verdict.lost_examples
        if owed:
            broken.append(f"nothing is lost: {lost} events are, such as {owed[0]}")
    if copies := unexplained_duplicates(truth, received):
        broken.append(f"nothing comes twice: {len(copies)} events did, such as {copies[0]}")
    broken.extend(_needless(evidence, verdict.redelivered))
    arrivals = Arrivals(truth, received)
    excused = sessions.not_in_hand()
    if evidence.dropped:  # what one generation dropped comes late from the next one, if it comes at all
        excused |= {a.event for a in arrivals.all if a.generation > sessions.active_at(arrivals.made_at(a))}
    if disordered := list(disordered_in_guilds(arrivals, excused=excused)):
        broken.append(f"order in a guild: {len(disordered)} times not, such as {disordered[0]}")
    if evidence.by_shard:
        generation_of = {session.id: sessions.generation(session) for session in truth.sessions}
        since = {number: at + SETTLING_MILLISECONDS for number, at in evidence.settled_since.items() if number > 1}
        disordered = list(disordered_in_sessions(arrivals, generation_of=generation_of, since={1: 0, **since}))
        if disordered:
            broken.append(f"order in a session: {len(disordered)} times not, such as {disordered[0]}")
    broken.extend(generations_going_back(truth, received))
    numbers = Numbers(
        sent=verdict.sent,
        delivered=verdict.delivered,
        lost=lost,
        redelivered=verdict.redelivered,
        marked=len(received.marked),
    )
    return numbers, broken


@dataclass(frozen=True, slots=True, kw_only=True)
class _Owed:
    """An event that is lost and should not be."""

    name: str
    what: str

    def __str__(self) -> str:
        return self.what


class _Sessions:
    """What became of sessions."""

    def __init__(self, evidence: Evidence) -> None:
        self._evidence = evidence
        self._committed = dict(evidence.active_since)
        latest: dict[tuple[int, int], SessionTruth] = {}
        self.given_up: set[str] = set(evidence.abandoned)
        """Ended by Discord, replaced by another one, or left by its pod."""
        self._replaced: list[tuple[SessionTruth, SessionTruth]] = []
        for session in evidence.truth.sessions:
            key = (self.generation(session), session.shard)
            before = latest.get(key)
            if before is not None:
                self._replaced.append((before, session))
                if evidence.forgives(before):
                    self.given_up.add(before.id)
            latest[key] = session
            if session.end not in (None, "clientClose") and evidence.forgives(session):
                self.given_up.add(session.id)

    def generation(self, session: SessionTruth) -> int:
        return generation_of(self._evidence.held_by.get(session.id, ""))

    def active_at(self, moment: int) -> int:
        return _latest(self._evidence.in_charge_since, moment)

    def _recorded(self, moment: int) -> int:
        """The active generation by the record: pods of the one before may be sealed, and end, before any pod of it was
        seen to be in charge."""
        return _latest(self._committed, moment)

    def explain(self, sessions: Iterable[SessionTruth], moment: int) -> bool:
        """Whether one of *sessions* was given up that was to deliver what was made at *moment*."""
        first, last = self.active_at(moment - AROUND_MILLISECONDS), self.active_at(moment + AROUND_MILLISECONDS)
        return any(session.id in self.given_up and first <= self.generation(session) <= last for session in sessions)

    def not_in_hand(self) -> frozenset[int]:
        """Events that the generation that was active when they were made had not, or has given up with a session."""
        truth = self._evidence.truth
        given_up: set[int] = set()
        had: set[int] = set()
        sent: set[int] = set()
        for session in truth.sessions:
            sent.update(session.events)
            if session.id in self.given_up:
                given_up.update(session.events)
            generation = self.generation(session)
            had.update(event for event in session.events if self.active_at(truth.made_at(event)) == generation)
        return frozenset(given_up | (sent - had))

    def broken(self) -> Iterator[str]:
        for session in self._evidence.truth.sessions:
            ended = session.ended_at
            if session.end == "clientClose" and ended is not None and self.generation(session) == self._recorded(ended):
                yield f"sessions live on: we ended session {session.id} of the active generation"
                return
        for before, after in self._replaced:
            if self._evidence.forgives(before) or self._evidence.held_by.get(before.id) in self._evidence.begun_anew:
                continue
            since = self._committed.get(self.generation(after))
            if since is not None and after.created_at > since:
                yield (
                    f"sessions live on: shard {after.shard} of generation {self.generation(after)} has another "
                    f"session than before, which ended as {before.end}"
                )
                return


def _latest(since: Mapping[int, int], moment: int) -> int:
    """The highest of the generations in *since* by *moment*; 0 for none."""
    return max((number for number, at in since.items() if at <= moment), default=0)


def _needless(evidence: Evidence, redelivered: int) -> Iterator[str]:
    """Copies that come although nothing has happened that explains them."""
    if redelivered and not evidence.acts & LOSES_ANSWERS:
        yield f"nothing comes twice: {redelivered} events came again, and no answer was lost"
    marked = len(evidence.received.marked)
    if marked and len(evidence.active_since) < 2:
        yield f"nothing comes twice: {marked} events were marked without a reshard"
    if marked > FEW_MARKED and evidence.acts <= LEAVES_SESSIONS_ALONE:
        yield f"nothing comes twice: {marked} events were marked in a reshard that nothing disturbed"


def _miscounted(evidence: Evidence, sessions: _Sessions) -> Iterator[str]:
    """Whether more was lost of a name than was counted as dropped, or less."""
    counted: Counter[str] = Counter()
    for (name, reason), count in evidence.dropped.items():
        counted[name] += count
        if reason not in REASONS:
            yield f"drops are counted: {count} {name} were dropped as {reason}"
    if evidence.tolerant:
        lost = Counter(owed.name for owed in _owed(evidence, sessions))
    else:
        lost = lost_by_name(evidence.truth, evidence.received, without=evidence.without)
    for name in sorted(lost):
        if lost[name] > counted[name]:
            yield f"nothing is lost: {lost[name]} {name} are, and {counted[name]} were counted as dropped"
    if evidence.tolerant or not evidence.all_lived or len(evidence.active_since) > 1:
        return  # what is dropped may come again, to another life or to the next generation, and be dropped again
    for name in sorted(counted.keys() - SNAPSHOTS):
        if counted[name] > lost[name]:
            yield f"drops are counted: {counted[name]} {name} were, and {lost[name]} are lost"


def _owed(evidence: Evidence, sessions: _Sessions) -> Iterator[_Owed]:
    """Lost events that a session was sent whose loss nothing explains."""
    truth, received = evidence.truth, evidence.received
    seen: dict[int, list[tuple[SessionTruth, int]]] = defaultdict(list)
    event_of = truth.event_of()
    for session in truth.sessions:
        for sequence, event in zip(session.sequences, session.events, strict=True):
            seen[event].append((session, sequence))
    delivered = {
        event_of.get((received.sessions[index], sequence))
        for index, sequence in zip(received.session, received.sequence, strict=True)
    }
    for event, copies in sorted(seen.items()):
        name = truth.name_of(event)
        if event in delivered or name in evidence.without:
            continue
        at = truth.made_at(event)
        if sessions.explain((session for session, _ in copies), at):
            continue
        if any(sessions.generation(session) == sessions.active_at(at) for session, _ in copies):
            seen_as = [(session.id, sequence) for session, sequence in copies]
            yield _Owed(name=name, what=f"{name} made at {at}, seen as {seen_as}")
