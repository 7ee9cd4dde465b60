"""The exact alignment: where one stream ended, by what the two sides recorded of it.

Notation: ``A`` what the old side accepted (times on its clock), ``B`` what the new side got (on its own), ``H`` what
the old session still received in the moment after the seal ``f``; ``r`` since when A is complete. A key is *unique* if
the body has an id of its own (U), else *repeatable* (P). The lag of an event is its arrival in B minus that in A,
bounded by ``[lo, hi]`` as measured (``lags``).

Assumptions, each used by name below.

    F  each session receives every event of the stream once, in order
    E  copies have equal keys, and U keys are unique
    I  B starts at or before A (what A has from before B starts is left out, so this holds where T does)
    T  lo <= lag <= hi for every event

1. *Anchor.* Under F and E, if a U is A[i] and B[j], the first event that the old side did not accept is B[j + |A| - i].
   Proof: A and B are contiguous pieces of one stream, so A's index and B's differ by a constant, which one common event
   fixes. No T, no I, no clock: any lag.
2. *Silence.* Under F, E and T, if B has no event in [t + lo, t + hi] for some t in [r, f], the events that the old side
   received before t are exactly those that B has before t + lo. If A is empty, t = r: what came before r + hi is
   skipped, the rest is delivered.
3. *Safe choice.* Under F, E, I and T the true place is among those where the whole of A fits B within the bounds, no B
   event before it is later than r + hi, and none after it earlier than f + lo. So the earliest of these loses nothing,
   and doubles at most what B has within one span of hi - lo, all of it inside a periodic run.
4. *Limit.* If several places are left, two histories give the same observations and different answers; every rule
   without further evidence loses in one or doubles in the other. The mean lag is such evidence (``LagProfile``): a
   place whose mean is usual is taken if no other's is.
5. *U without F.* Under E alone, a U in A is skipped however late, doubled or displaced it comes.

The algorithm is that: the last U that both have is the anchor, and the *tail* (what A has after it) must follow it in
B; without an anchor the whole window is placed by 3, once the seal has certainly passed in B, since later places may
compete. Where F does not hold (Discord promises zero, one or N deliveries) one of the checks fails: the tail, A and B
backwards from the anchor through the last :data:`ZONE_MILLISECONDS` before the seal, or H against what follows in B.
Then, once the seal has passed in B by :data:`AFTER_MILLISECONDS`, the streams are matched event by event (``repair``).

Waiting costs nothing where the new side lags: until the boundary event is in B, whatever arrives is to be skipped.

What an event's *earliest* is for: a session that stalls, or is away and resumes, gives its events late by an unknown
time, and then hi holds for when they could have arrived at the earliest.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Final

from shard_runtime.contract import WindowEvent
from shard_runtime.handover.alignment import Arrived, Decision, Evidence, Outcome
from shard_runtime.handover.lags import Sample
from shard_runtime.handover.repair import Repair
from shard_runtime.handover.window import AFTER_MILLISECONDS

ZONE_MILLISECONDS: Final = 600
"""How far before the seal a disturbed order is looked for and repaired."""

SETTLE_MILLISECONDS: Final = 300
"""How long a session that was stalled or resumed may take to catch up with what waited."""

PATIENCE_MILLISECONDS: Final = 1000
"""How much longer than the evidence takes to arrive an incomplete match is waited for."""

LONGEST_WHOLE: Final = 1000
"""Of a stream without an anchor no more than its last so many events are placed."""

USUAL: Final = 4.0
"""Standard errors within which a mean lag is usual."""


class ExactAlignment:
    """Places one stream whose old pod still knows what it accepted."""

    def __init__(self, evidence: Evidence) -> None:
        assert evidence.recorded_since is not None
        bounds = evidence.bounds
        self._bounds = bounds
        self._lags = evidence.lags
        self._a = evidence.events
        self._last_in_a = {event.key: index for index, event in enumerate(self._a) if event.unique}
        last = self._a[-1].arrival if self._a else evidence.sealed_at
        self._fence = max(evidence.sealed_at, last)
        until = evidence.sealed_at if evidence.accepted_until is None else evidence.accepted_until
        self._accepted_until = min(evidence.sealed_at, max(until, last) if self._a else until)
        since = max(evidence.recorded_since, evidence.held_since - bounds.least)
        whole = [event for event in self._a if event.arrival >= since]
        if len(whole) > LONGEST_WHOLE:
            since = whole[-LONGEST_WHOLE - 1].arrival
            whole = whole[-LONGEST_WHOLE:]
        self._since = since
        self._whole = whole
        self._b: list[Arrived] = []
        """Without an answer yet: all of the stream until its place is found."""
        self._after: Sequence[WindowEvent] | None = None
        self._anchor: tuple[int, int] | None = None
        self._settled_at = 0
        self._silent = False
        """What is missing may only be late: the new session gives nothing at present."""
        self._unmatched: Counter[int] = Counter()
        """After a repair, keys of accepted events whose copy has not come."""
        self.outcome = Outcome.WAITING
        self.ambiguous = False
        self.missed_by_old = 0

    # --- The interface ------------------------------------------------------------------------------------------------

    def feed(self, event: Arrived) -> Sequence[Decision]:
        if self.outcome is not Outcome.WAITING:
            return (self._later(event),)
        self._take(event)
        return self.pass_time(event.arrival)

    def feed_many(self, events: Sequence[Arrived]) -> Sequence[Decision]:
        if self.outcome is not Outcome.WAITING:
            return [self._later(event) for event in events]
        for event in events:
            self._take(event)
        return self.pass_time(events[-1].arrival)

    def _take(self, event: Arrived) -> None:
        if event.earliest < event.arrival:
            self._settled_at = event.arrival + SETTLE_MILLISECONDS
        self._b.append(event)
        if event.unique:
            index = self._last_in_a.get(event.key)
            if index is not None and (self._anchor is None or index > self._anchor[0]):
                self._anchor = (index, len(self._b) - 1)

    def learn(self, after: Iterable[WindowEvent], now: int) -> Sequence[Decision]:
        if self._after is None:
            self._after = tuple(after)
        return self.pass_time(now)

    def pass_time(self, now: int, *, silent: bool = False) -> Sequence[Decision]:
        if self.outcome is not Outcome.WAITING:
            return ()
        self._silent = silent
        decisions = self._decide(now)
        if decisions is None:
            return ()
        assert self.outcome is not Outcome.WAITING
        assert len(decisions) == len(self._b)
        self._b = []
        return decisions

    # --- Finding the place --------------------------------------------------------------------------------------------

    def _decide(self, now: int) -> list[Decision] | None:
        if self._anchor is not None:
            return self._from_anchor(*self._anchor, now)
        if not self._whole:
            self.outcome = Outcome.SILENT
            return [self._later(event) for event in self._b]
        if not self._seal_has_passed(now, 0) or self._after is None or not self._b:
            return None
        return self._place_whole(now)

    def _seal_has_passed(self, now: int, by: int) -> bool:
        return now > self._fence + self._bounds.most + by and now > self._settled_at

    def _fits(self, accepted: WindowEvent, arrived: Arrived) -> bool:
        return (
            arrived.arrival - accepted.arrival >= self._bounds.least
            and arrived.earliest - accepted.arrival <= self._bounds.most
        )

    def _from_anchor(self, i: int, j: int, now: int) -> list[Decision] | None:
        tail = self._a[i + 1 :]
        end = j + 1 + len(tail)
        got = self._b[j + 1 : end]
        # A later U will be a better anchor; until it is there, lags prove nothing.
        timed = not any(event.unique for event in tail)
        for accepted, arrived in zip(tail, got, strict=False):
            if accepted.key != arrived.key or (timed and not self._fits(accepted, arrived)):
                return self._repair(now)
        if not self._agree_backwards(i, j):
            return self._repair(now)
        if len(got) < len(tail):
            return None  # the new side lags; all it has is to be skipped
        if tail:
            agrees = self._agrees_with_after(end, now)
            if agrees is None:
                return None
            if not agrees:
                return self._repair(now)
        self.outcome = Outcome.ANCHORED
        return self._clean(end)

    def _agree_backwards(self, i: int, j: int) -> bool:
        """Through the zone before the seal, and the event before it."""
        zone = self._accepted_until - ZONE_MILLISECONDS
        while i >= 0 and j >= 0:
            if self._a[i].key != self._b[j].key:
                return False
            if self._a[i].arrival < zone:
                return True
            i, j = i - 1, j - 1
        return j < 0 or self._b[j].earliest <= self._since + self._bounds.most

    def _agrees_with_after(self, end: int, now: int) -> bool | None:
        """Whether H is what follows in B, as far as its first U; None while that is not known."""
        if self._after is None:
            return None
        for position, received in enumerate(self._after, start=end):
            if position >= len(self._b):
                if self._silent:
                    return None if position == end else True
                # Nothing is there yet that a wrong answer would hold back for long.
                late = received.arrival + self._bounds.most + (PATIENCE_MILLISECONDS if position == end else 0)
                return False if now > max(late, self._settled_at) else None
            if self._b[position].key != received.key:
                return False
            if received.unique:
                return True
        return True

    def _place_whole(self, now: int) -> list[Decision] | None:
        size = len(self._whole)
        fitting = [place for place in self._places() if self._agrees_with_after(place + size, now) is not False]
        if not fitting:
            # What fits only by leniency may belong behind the seal, and must not wait for ever.
            patient = not self._seal_has_passed(now, AFTER_MILLISECONDS + PATIENCE_MILLISECONDS)
            return None if self._prefix(lenient=patient) is not None else self._repair(now)
        lags_at = self._prefix(lenient=False) if self._silent else None
        if lags_at is not None:
            return self._doubted(fitting[0], lags_at)
        within = [place for place in fitting if self._is_within(place)] or fitting
        if len(within) == 1:
            return self._counted(within[0])
        if self._after and not self._seal_has_passed(now, AFTER_MILLISECONDS):
            return None  # what followed the seal may still tell them apart
        usual = self._usual(within)
        if usual is not None:
            return self._counted(usual)
        self.outcome = Outcome.AMBIGUOUS
        self.ambiguous = True
        place = next((place for place in within if self._is_strict(place)), within[0])
        return self._clean(place + size, doubtful_until=within[-1] + size)

    def _counted(self, place: int) -> list[Decision]:
        """A is at *place*. What is there only if the new session was stalled is delivered, marked."""
        self.outcome = Outcome.COUNTED
        decisions = self._clean(place + len(self._whole))
        for index, accepted in enumerate(self._whole, start=place):
            if self._is_late(accepted, self._b[index]):
                decisions[index] = Decision.DELIVER_MARKED
                self.ambiguous = True
        return decisions

    def _doubted(self, place: int, lags_at: int) -> list[Decision]:
        """A fits at *place*, but as well at *lags_at* with its end still to come, should the session only be late."""
        self.outcome = Outcome.AMBIGUOUS
        self.ambiguous = True
        to_come = self._whole[len(self._b) - lags_at :]
        self._unmatched = Counter(event.key for event in to_come if not event.unique)
        return self._clean(place + len(self._whole), doubtful_until=len(self._b))

    def _places(self) -> list[int]:
        """Where the whole of A fits B, each pair within the bounds."""
        keys = [event.key for event in self._whole]
        others = [event.key for event in self._b]
        size = len(keys)
        # No anchor, so B has no U of A: one that came while A was recorded is none that A has before its end.
        end = next((index for index, event in enumerate(self._b) if event.unique and self._is_recorded(event)), None)
        last = len(others) - size if end is None else min(len(others) - size, end)
        return [
            place
            for place in range(last + 1)
            if self._fits(self._whole[0], self._b[place])
            and others[place : place + size] == keys
            and all(map(self._fits, self._whole, self._b[place : place + size]))
        ]

    def _prefix(self, *, lenient: bool) -> int | None:
        """Where all that B has fits A, which goes on: the new side lags, and what waits is to be skipped. Of several
        places the one with most to come."""
        found = None
        for place in range(max(0, len(self._b) - len(self._whole) + 1), len(self._b) + 1):
            if self._starts_at(place, lenient=lenient) and all(
                accepted.key == arrived.key
                and self._fits(accepted, arrived)
                and (lenient or not self._is_late(accepted, arrived))
                for accepted, arrived in zip(self._whole, self._b[place:], strict=False)
            ):
                found = place
        return found

    def _starts_at(self, place: int, *, lenient: bool = True) -> bool:
        """No event of B before *place* came when A was recorded already."""
        if place == 0:
            return True
        before = self._b[place - 1]
        known = before.earliest if lenient or before.replayed else before.arrival
        return known <= self._since + self._bounds.most

    def _is_late(self, accepted: WindowEvent, arrived: Arrived) -> bool:
        """Whether the two belong together only if the new session was stalled."""
        return not arrived.replayed and arrived.arrival - accepted.arrival > self._bounds.most

    def _is_strict(self, place: int) -> bool:
        """Whether the lags of all pairs fit without leniency."""
        return self._starts_at(place, lenient=False) and not any(map(self._is_late, self._whole, self._b[place:]))

    def _is_within(self, place: int) -> bool:
        end = place + len(self._whole)
        ends = end == len(self._b) or self._b[end].arrival >= self._accepted_until + self._bounds.stalled
        return ends and self._starts_at(place)

    def _usual(self, places: Sequence[int]) -> int | None:
        """The only one of *places* whose mean lag is usual."""
        if self._lags is None:
            return None
        usual: list[int] = []
        for place in places:
            strangeness = self._lags.strangeness(
                Sample(accepted.arrival, arrived.arrival - accepted.arrival)
                for accepted, arrived in zip(self._whole, self._b[place:], strict=False)
                if arrived.earliest == arrived.arrival
            )
            if strangeness is None:
                return None
            if strangeness <= USUAL:
                usual.append(place)
        return usual[0] if len(usual) == 1 else None

    # --- Answers ------------------------------------------------------------------------------------------------------

    def _clean(self, end: int, doubtful_until: int = 0) -> list[Decision]:
        """Skip what comes before *end*; from there on deliver all but U of A."""
        decisions: list[Decision] = []
        for index, event in enumerate(self._b):
            accepted = event.unique and event.key in self._last_in_a
            if index < end or accepted:
                decisions.append(Decision.SKIP)
                self.missed_by_old += event.unique and not accepted and self._is_recorded(event)
            elif index < doubtful_until:
                decisions.append(Decision.DELIVER_MARKED)
            else:
                decisions.append(Decision.DELIVER)
        return decisions

    def _is_recorded(self, event: Arrived) -> bool:
        """Whether the old side would have the event in A had it been given it before the seal."""
        return event.arrival > self._since + self._bounds.most

    def _repair(self, now: int) -> list[Decision] | None:
        if self._after is None or not self._seal_has_passed(now, AFTER_MILLISECONDS):
            return None
        repair = Repair(
            accepted=self._a,
            after=self._after,
            arrived=self._b,
            zone=self._accepted_until - ZONE_MILLISECONDS,
            fence=self._fence,
            since=self._since,
            bounds=self._bounds,
            silent=self._silent,
        )
        self.outcome = Outcome.REPAIRED
        decisions = repair.decisions()
        self.ambiguous = repair.ambiguous
        self.missed_by_old += repair.missed_by_old
        self._unmatched = repair.unmatched
        for event, decision in zip(self._b, decisions, strict=True):
            assert not (event.unique and event.key in self._last_in_a and decision is not Decision.SKIP)
        return decisions

    def _later(self, event: Arrived) -> Decision:
        """The answer for an event once the place is known."""
        if event.unique and event.key in self._last_in_a:
            return Decision.SKIP
        if self.outcome is Outcome.SILENT:
            return self._after_silence(event)
        if self._unmatched[event.key] > 0 and event.earliest <= self._fence + self._bounds.most + PATIENCE_MILLISECONDS:
            self._unmatched[event.key] -= 1
            self.ambiguous = True
            return Decision.DELIVER_MARKED
        return Decision.DELIVER

    def _after_silence(self, event: Arrived) -> Decision:
        begin = self._since + self._bounds.most
        if event.earliest >= begin:
            return Decision.DELIVER
        if event.arrival < min(begin, self._fence + self._bounds.stalled):
            return Decision.SKIP
        self.ambiguous = True
        return Decision.DELIVER_MARKED
