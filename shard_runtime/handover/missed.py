"""What a session of the new side missed, because the one before it was lost after an old pod was sealed.

Discord gives what comes between a lost session and its successor's READY to the old generation's sessions alone, and a
sealed pod delivers nothing. But it goes on receiving, and keeps that until its generation is retired
(:mod:`.received`); so the worker asks for it, finds its part of each stream, and delivers it before what the new
session brings.

    what a sealed pod received of a stream  =  delivered here since the seal | missed | brought by the new session | ...

By Discord's order in a guild the first part is a beginning of what was received, so its length says where it ends. The
second end lies where the rest equals what the new session brought; only near its READY, since all before comes earlier
and all after later. Where several places fit (equal bodies), the latest is taken, and what lies between is marked.
Where none fits, since Discord gave the sides another order or number, an event with an id is missed if neither part has
it, and of the others everything near is delivered, marked. So nothing is lost, and doubled only what is marked.

Copies of what was delivered so may still come, from a new session that was stalled, or from the end of the lost one
that waited for its place. They are recognised: an event with an id is left out, another one marked.

Pure: no I/O and no clock. Times are unix milliseconds on this pod's clock.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from typing import Final, NamedTuple

from shard_runtime.handover.alignment import LATE_COPIES_MILLISECONDS
from shard_runtime.handover.holding import Held
from shard_runtime.handover.keys import Place
from shard_runtime.handover.steps import Deliver, Step

NEAR_MILLISECONDS: Final = 1000
"""How far from READY's arrival here an event may have arrived at an old pod whose place is to be found: the sessions'
delays differ by less, and so do the pods' clocks or they are of no use."""

MOST_DELIVERED: Final = 200_000
"""Keys of delivered events that are remembered."""

MOST_HELD: Final = 100_000
"""Events that are held back for what was missed."""

PRESENCE: Final = "PRESENCE_UPDATE"


class Lost(NamedTuple):
    """A session that was lost while what it missed could still be asked for."""

    cause: str
    events: int


class Begun:
    """The session that a shard has since the seal, or shortly before."""

    def __init__(self, session: str, began: int) -> None:
        self.id = session
        self.began = began
        self.own: set[tuple[str, int]] = set()
        """Startup snapshots, which no other session has."""


class Missed:
    """What the shards of one worker have delivered since old pods were sealed, and what they wait for."""

    def __init__(self) -> None:
        self.exact = True
        """All that was delivered since the seals is known: no earlier life of the worker delivered any of it."""
        self._delivered: dict[Place, list[int]] = {}
        self._ids: set[int] = set()
        """Keys of delivered events that have an id."""
        self._count = 0
        self._over = False
        self.sessions: dict[int, Begun] = {}
        """By shard, of those that began while this was there."""
        self._held: dict[int, list[Deliver]] = {}
        self._held_sessions: dict[int, set[str]] = {}
        """By shard, the sessions whose events are held. What still comes of earlier ones precedes what was missed."""
        self.overflowed: list[int] = []
        """Shards that held too many, and hold nothing any more."""
        self._copies: Counter[tuple[Place, int]] = Counter()
        """Of what was delivered as missed, by what came since."""
        self._copies_until = 0
        self._lost: dict[int, Lost] = {}

    # --- Sessions -----------------------------------------------------------------------------------------------------

    @property
    def waiting(self) -> list[int]:
        """Shards whose events are held back."""
        return list(self._held)

    def lost(self, shard: int, cause: str, events: int) -> None:
        """The session of *shard* is lost, with what it had not been sent yet; that can be asked for."""
        before = self._lost.get(shard)
        self._lost[shard] = Lost(cause, events + (0 if before is None else before.events))

    def settle(self, shard: int) -> Lost | None:
        """The loss that *shard* had, if it had one: it is made good, or given up."""
        return self._lost.pop(shard, None)

    def begins(self, shard: int, session: str, now: int) -> None:
        """*shard* has a new *session*."""
        self.sessions[shard] = Begun(session, now)

    def hold(self, shard: int) -> None:
        """Hold the events of the session of *shard* back until what it missed is known."""
        self._held.setdefault(shard, [])
        self._held_sessions.setdefault(shard, set()).add(self.sessions[shard].id)

    def own(self, shard: int, session: str, sequence: int) -> None:
        """That dispatch of *shard* is a startup snapshot. To be called before the cutover decides on it."""
        begun = self.sessions.get(shard)
        if begun is not None:
            begun.own.add((session, sequence))

    # --- Events -------------------------------------------------------------------------------------------------------

    def pass_on(self, step: Step) -> None:
        """Take out of *step* what has to wait, and leave out copies of what was missed. What is left is delivered."""
        left: list[Deliver] = []
        for deliver in step.deliver:
            event = deliver.event
            held = self._held.get(event.shard)
            if held is None or event.session not in self._held_sessions[event.shard]:
                self._recognise(deliver, left, step.skip)
                continue
            held.append(deliver)
            if len(held) > MOST_HELD:
                left += self.give_up(event.shard).deliver
                self.overflowed.append(event.shard)
        step.deliver = left

    def make_good(self, shard: int, received: Iterable[Held], *, exact: bool) -> Step:
        """What to deliver now that everything is there that old pods *received* of the guilds of *shard*: in the order
        in which it arrived, by this pod's clock. Not *exact*: the old pods may have received more since the seal."""
        found = self._missed_by(shard, received, exact=exact)
        held = self._held.pop(shard)
        del self._held_sessions[shard]
        step = Step()
        for deliver in found:
            self._deliver(deliver, step.deliver)
            self._copies[deliver.event.place, deliver.event.key] += 1
        self._copies_until = self.sessions[shard].began + LATE_COPIES_MILLISECONDS
        for deliver in held:
            self._recognise(deliver, step.deliver, step.skip)
        return step

    def give_up(self, shard: int) -> Step:
        """Nobody can say what *shard* has missed."""
        step = Step()
        step.deliver = self._held.pop(shard, [])
        self._held_sessions.pop(shard, None)
        return step

    def close(self) -> None:
        """Nothing can be asked for any more: what was delivered need not be remembered."""
        self._over = True
        self._delivered.clear()
        self._ids.clear()

    def _recognise(self, deliver: Deliver, into: list[Deliver], skip: list[Held]) -> None:
        event = deliver.event
        identity = event.place, event.key
        if self._copies and event.arrival > self._copies_until:
            self._copies.clear()
        if self._copies.get(identity):
            self._copies[identity] -= 1
            if event.unique:
                skip.append(event)
                return
            deliver = Deliver(event, True)
        self._deliver(deliver, into)

    def _deliver(self, deliver: Deliver, into: list[Deliver]) -> None:
        into.append(deliver)
        if self._over:
            return
        if deliver.event.unique:
            self._ids.add(deliver.event.key)
        if deliver.maybe_duplicate:  # perhaps of what came before the seal, and then it is none of what came after
            return
        self._count += 1
        if self._count > MOST_DELIVERED:
            self.exact = False
            self._delivered.clear()
            self._ids.clear()
            self._count = 0
        self._delivered.setdefault(deliver.event.place, []).append(deliver.event.key)

    # --- Where the missed part lies -----------------------------------------------------------------------------------

    def _missed_by(self, shard: int, received: Iterable[Held], *, exact: bool) -> list[Deliver]:
        streams: dict[Place, list[Held]] = {}
        order: dict[tuple[str, int], int] = {}
        for event in received:
            order[event.session, event.sequence] = len(order)
            streams.setdefault(event.place, []).append(event)
        brought: dict[Place, list[Held]] = {}
        session = self.sessions[shard]
        for event, _ in self._held[shard]:
            if (event.session, event.sequence) not in session.own:
                brought.setdefault(event.place, []).append(event)
        found: list[Deliver] = []
        for place, events in streams.items():
            part = _Part(
                received=events,
                delivered=self._delivered.get(place, []),
                ids=self._ids,
                brought=brought.get(place, []),
                began=session.began,
            )
            found += part.missed(exact=exact, known=self.exact, first=len(self._held_sessions[shard]) == 1)
        return sorted(found, key=lambda deliver: order[deliver.event.session, deliver.event.sequence])


class _Part(NamedTuple):
    """One stream."""

    received: Sequence[Held]
    delivered: Sequence[int]
    ids: Collection[int]
    """Keys of delivered events with an id, of all streams."""
    brought: Sequence[Held]
    began: int

    def missed(self, *, exact: bool, known: bool, first: bool) -> list[Deliver]:
        """*exact*: what was received begins at the seal. *known*: so does what was delivered. *first*: what was brought
        is all from one session."""
        placed = [event for event in self.received if event.subject is None]
        start = self._start(placed) if exact and known else None
        least, most = self._bounds(placed)
        common = self._common(placed) if first else None
        stragglers: list[Deliver] = []
        if common is not None:
            # All from there on was brought, whenever it came; but for what Discord gave the sides in another order.
            stragglers = [each for each in self._either(placed[common:most]) if each.event.unique]
            least, most = min(least, common), common
        if start is None:
            found = [Deliver(event, marked or not known) for event, marked in self._either(placed[:most])]
        elif ends := self._ends(placed, max(start, least), max(start, most)) if first else []:
            sure = [Deliver(event, False) for event in placed[start : ends[0]]]
            found = sure + self._either(placed[ends[0] : ends[-1]])
        else:
            found = self._either(placed[start:most])
        found += stragglers
        found = [each for each in found if not (each.event.unique and each.event.key in self.ids)]
        return found + self._latest(known)

    def _start(self, placed: Sequence[Held]) -> int | None:
        """How many of the *placed* events are delivered; None where the two differ."""
        subjects = {event.key for event in self.received if event.subject is not None}
        delivered = [key for key in self.delivered if key not in subjects]
        same = min(len(delivered), len(placed))
        return same if [event.key for event in placed[:same]] == delivered[:same] else None

    def _bounds(self, placed: Sequence[Held]) -> tuple[int, int]:
        """How many of the *placed* events certainly came before the new session began, and how many at most."""
        early, late = self.began - NEAR_MILLISECONDS, self.began + NEAR_MILLISECONDS
        count = len(placed)
        least = next((index for index, event in enumerate(placed) if event.arrival >= early), count)
        most = next((index for index, event in enumerate(placed) if event.arrival > late), count)
        return least, max(least, most)

    def _common(self, placed: Sequence[Held]) -> int | None:
        """Where the first of the *placed* events is that was brought without doubt; what is before it came before, also
        where a stalled session got it late."""
        brought = {event.key for event in self.brought if event.unique}
        return next((index for index, event in enumerate(placed) if event.key in brought), None)

    def _ends(self, placed: Sequence[Held], least: int, most: int) -> list[int]:
        """Where, from *least* to *most*, what was brought may begin."""
        keys = [event.key for event in placed]
        brought = [event.key for event in self.brought if event.subject is None]
        ends: list[int] = []
        for end in range(least, most + 1):
            same = min(len(keys) - end, len(brought))
            if keys[end : end + same] == brought[:same]:
                ends.append(end)
        return ends

    def _either(self, events: Iterable[Held]) -> list[Deliver]:
        """Of *events* that may have been brought: those with an id that were not, and all others, marked."""
        brought = {event.key for event in self.brought}
        return [Deliver(event, not event.unique) for event in events if not (event.unique and event.key in brought)]

    def _latest(self, known: bool) -> list[Deliver]:
        """States of which only the latest counts: the last of each subject, where nothing says the same or more."""
        # Not a call's state: the old session's call is not the new one's.
        latest = {event.subject: event for event in self.received if event.name == PRESENCE}
        newer = {event.subject for event in self.brought}
        told = set(self.delivered)
        return [
            Deliver(event, not known)
            for subject, event in latest.items()
            if subject not in newer and event.key not in told
        ]
