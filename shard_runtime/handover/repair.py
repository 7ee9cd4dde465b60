"""Where the two sides' streams disagree near the seal: matched event by event, for the duplicate in doubt.

Discord may give an event zero, one or N times to a session, and not always in order. Then no place divides the new
side's stream, and each of its events near the seal is judged:

    U  skipped if the old side accepted it; delivered if the old session received it after the seal, or if it was never
       given it and is not much older than the last accepted event (marked if it may be older than the old side's
       record, for then it may have been given it); else it is missed (and counted)
    P  by occurrence: those of one key that the old session received (accepted or after the seal) are matched, in order,
       with those that the new side has, within the lag bounds and between the U events around them; a partner that was
       accepted is skipped, one that was received after the seal is delivered, and without a partner it goes as a U that
       the old side was never given. Where an occurrence after the seal has no partner, the new side may have missed an
       accepted one instead: the last accepted match of that key is given up (a duplicate rather than a loss).

U events are known by membership and P per key, since a longest common subsequence of everything would match badly
across a swap. The matching is the heaviest one; a pair weighs less when it is out of place or its lag is unusual.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import Counter, defaultdict
from collections.abc import Sequence
from typing import Final

from shard_runtime.contract import WindowEvent
from shard_runtime.handover.alignment import Arrived, Decision
from shard_runtime.handover.lags import Bounds

REACH_MILLISECONDS: Final = 600
"""How much older than the last accepted event one that the old side was never given may be to be delivered late."""

OUT_OF_PLACE_MILLISECONDS: Final = 100
"""How far an event may have been swapped past one with an id."""

MOST_PAIRS: Final = 160_000
"""Of one key; more occurrences (hundreds within seconds) are matched in order."""


class Repair:
    """One repair of one stream."""

    def __init__(
        self,
        *,
        accepted: Sequence[WindowEvent],
        after: Sequence[WindowEvent],
        arrived: Sequence[Arrived],
        zone: int,
        fence: int,
        since: int,
        bounds: Bounds,
        silent: bool = False,
    ) -> None:
        """*zone* is where, on the old side's clock, disturbances may begin; *since*, when its record does. *silent*:
        what the new side lacks may only be late, so no match of a P event after the seal is certain."""
        self._arrived = arrived
        self._bounds = bounds
        self._silent = silent
        self._zone = zone
        self._fence = fence
        self._since = since
        self._in_a = {event.key for event in accepted if event.unique}
        self._in_h = {event.key for event in after if event.unique}
        start_a, self._start = self._last_common(accepted)
        old = [event for event in accepted[start_a:] if event.arrival >= zone - bounds.span]
        self._boundary = len(old)
        self._old = [*old, *after]
        """A's part of the zone, and H."""
        self._partner_of_old: dict[int, int] = {}
        self._partner_of_new: dict[int, int] = {}
        self.ambiguous = False
        self.missed_by_old = 0
        self.unmatched: Counter[int] = Counter()
        """Keys of accepted events whose copy has not come."""

    def _last_common(self, accepted: Sequence[WindowEvent]) -> tuple[int, int]:
        """Where to begin in A and in B: after the last U that both have and that is older than the zone."""
        positions: dict[int, int] = {}
        for position, arrived in enumerate(self._arrived):
            if arrived.unique:
                positions.setdefault(arrived.key, position)
        for index in range(len(accepted) - 1, -1, -1):
            event = accepted[index]
            if event.unique and event.arrival < self._zone and event.key in positions:
                return index + 1, positions[event.key] + 1
        return 0, 0

    def decisions(self) -> list[Decision]:
        """One for each event of *arrived*; to be called once."""
        self._match()
        last = max((new for old, new in self._partner_of_old.items() if self._is_sure(old, new)), default=None)
        self._last_known = max(
            (new for old, new in self._partner_of_old.items() if old < self._boundary and self._old[old].unique),
            default=self._start - 1,
        )
        given_up = self._give_up()
        for index, event in enumerate(self._old[: self._boundary]):
            if index not in self._partner_of_old and not event.unique:
                self.unmatched[event.key] += 1
                self.ambiguous |= event.arrival >= self._zone
        decisions = [
            self._judge(position, last, given_up) if position >= self._start else self._skip(event)
            for position, event in enumerate(self._arrived)
        ]
        self.ambiguous |= Decision.DELIVER_MARKED in decisions
        return decisions

    # --- Matching -----------------------------------------------------------------------------------------------------

    def _match(self) -> None:
        in_old: dict[int, list[int]] = defaultdict(list)
        for index, event in enumerate(self._old):
            in_old[event.key].append(index)
        in_new: dict[int, list[int]] = defaultdict(list)
        for position in range(self._start, len(self._arrived)):
            if self._arrived[position].key in in_old:
                in_new[self._arrived[position].key].append(position)
        self._anchors = self._in_order(
            [(in_old[key][0], positions[0]) for key, positions in in_new.items() if self._arrived[positions[0]].unique]
        )
        self._old_anchors = [old for old, _ in self._anchors]
        self._new_anchors = [new for _, new in self._anchors]
        for key, positions in in_new.items():
            if self._arrived[positions[0]].unique:
                pairs = [(in_old[key][0], positions[0])]
            else:
                pairs = self._heaviest(in_old[key], positions)
            for old, new in pairs:
                self._partner_of_old[old] = new
                self._partner_of_new[new] = old

    @staticmethod
    def _in_order(pairs: list[tuple[int, int]]) -> list[tuple[int, int]]:
        """The longest part of *pairs* that grows on both sides."""
        pairs.sort()
        ends: list[int] = []
        at: list[int] = []
        previous: list[int] = []
        for number, (_, new) in enumerate(pairs):
            length = bisect_left(ends, new)
            previous.append(at[length - 1] if length else -1)
            if length == len(ends):
                ends.append(new)
                at.append(number)
            else:
                ends[length] = new
                at[length] = number
        chain: list[tuple[int, int]] = []
        number = at[-1] if at else -1
        while number >= 0:
            chain.append(pairs[number])
            number = previous[number]
        return chain[::-1]

    def _weight(self, old: int, new: int) -> float:
        """Of a pair of P events; 0 for one that cannot be."""
        arrived, received = self._arrived[new], self._old[old]
        lag = arrived.arrival - received.arrival
        if lag < self._bounds.least or arrived.earliest - received.arrival > self._bounds.most:
            return 0.0
        weight = 1.0 - 0.3 * min(1.0, abs(lag - self._bounds.mean) / max(1, self._bounds.span))
        if self._is_late(old, new):
            weight -= 0.1
        of_old, of_new = bisect_left(self._old_anchors, old), bisect_left(self._new_anchors, new)
        if of_new > of_old:
            out_of_place = arrived.arrival - self._arrived[self._new_anchors[of_old]].arrival
        elif of_new < of_old:
            out_of_place = self._arrived[self._new_anchors[of_old - 1]].arrival - arrived.arrival
        else:
            return weight
        return weight - 0.5 if out_of_place <= OUT_OF_PLACE_MILLISECONDS else 0.0

    def _is_sure(self, old: int, new: int) -> bool:
        """Whether *new* is the copy of an accepted event although no session was stalled."""
        return old < self._boundary and not self._is_late(old, new)

    def _is_late(self, old: int, new: int) -> bool:
        """Whether the two belong together only if the new session was stalled."""
        received, arrived = self._old[old], self._arrived[new]
        return not (arrived.unique or arrived.replayed) and arrived.arrival - received.arrival > self._bounds.most

    def _heaviest(self, olds: list[int], news: list[int]) -> list[tuple[int, int]]:
        """The pairs of the heaviest matching that keeps order; of several the one that takes the earliest of *news*.

        What a resume brings again comes all at once, so that times tell little: to take a later one for the copy loses
        it, and to take an earlier one doubles at most.
        """
        if len(olds) * len(news) > MOST_PAIRS:
            return self._first_fit(olds, news)
        width = len(news) + 1
        weights = [[self._weight(old, new) for new in news] for old in olds]
        best = [[0.0] * width for _ in range(len(olds) + 1)]
        for i, row in enumerate(weights, start=1):
            above, here = best[i - 1], best[i]
            for j, weight in enumerate(row, start=1):
                without = above[j] if above[j] >= here[j - 1] else here[j - 1]
                paired = above[j - 1] + weight
                here[j] = paired if weight > 0 and paired >= without else without
        pairs: list[tuple[int, int]] = []
        i, j = len(olds), len(news)
        while i and j:
            if best[i][j] == best[i][j - 1]:
                j -= 1
            elif weights[i - 1][j - 1] > 0 and best[i][j] == best[i - 1][j - 1] + weights[i - 1][j - 1]:
                i, j = i - 1, j - 1
                pairs.append((olds[i], news[j]))
            else:
                i -= 1
        return pairs[::-1]

    def _first_fit(self, olds: list[int], news: list[int]) -> list[tuple[int, int]]:
        pairs: list[tuple[int, int]] = []
        waiting = iter(news)
        new = next(waiting, None)
        for old in olds:
            while new is not None and not self._weight(old, new):
                if self._arrived[new].arrival - self._old[old].arrival > self._bounds.most:
                    break
                new = next(waiting, None)
            if new is not None and self._weight(old, new):
                pairs.append((old, new))
                new = next(waiting, None)
        return pairs

    def _give_up(self) -> set[int]:
        """Accepted matches (by their place in B) that may have been of events after the seal."""
        lacking: Counter[int] = Counter()
        for index in range(self._boundary, len(self._old)):
            event = self._old[index]
            if event.unique:
                break
            if index not in self._partner_of_old:
                lacking[event.key] += 1
        segment = bisect_right(self._old_anchors, self._boundary - 1)
        given_up: set[int] = set()
        for index in range(self._boundary - 1, -1, -1):
            event = self._old[index]
            if event.unique or not lacking[event.key] or index not in self._partner_of_old:
                continue
            if bisect_left(self._old_anchors, index) == segment:
                lacking[event.key] -= 1
                given_up.add(self._partner_of_old[index])
        return given_up

    # --- Judging ------------------------------------------------------------------------------------------------------

    def _judge(self, position: int, last: int | None, given_up: set[int]) -> Decision:
        event = self._arrived[position]
        if event.unique:
            if event.key in self._in_a:
                return Decision.SKIP
            if event.key in self._in_h:
                return Decision.DELIVER
            if self._is_near(position, last) or not self._is_before_the_seal(position):
                # One that a resume brings again may be older than the record, and then nobody knows.
                return Decision.DELIVER if self._is_surely_recorded(event) else Decision.DELIVER_MARKED
            return self._skip(event)
        partner = self._partner_of_new.get(position)
        if partner is not None:
            if partner >= self._boundary:
                return Decision.DELIVER_MARKED if self._silent else Decision.DELIVER
            if position not in given_up and not self._is_late(partner, position):
                return Decision.SKIP
            return Decision.DELIVER_MARKED
        if not self._is_near(position, last):
            return Decision.SKIP
        if self.unmatched[event.key] > 0:
            # Beyond the bounds of its lag, yet of all that came the most likely copy of what was accepted.
            self.unmatched[event.key] -= 1
            return Decision.DELIVER_MARKED
        doubtful = self._silent or event.earliest <= self._fence + self._bounds.most
        return Decision.DELIVER_MARKED if doubtful else Decision.DELIVER

    def _is_near(self, position: int, last: int | None) -> bool:
        """Whether an event that the old side was never given is delivered."""
        arrival = self._arrived[position].arrival
        if last is None:
            return arrival >= self._zone + min(self._bounds.least, self._bounds.stalled)
        return position > last or arrival > self._arrived[last].arrival - REACH_MILLISECONDS

    def _is_before_the_seal(self, position: int) -> bool:
        """Whether it came before an event with an id that was accepted, or so early that it would have been."""
        early = self._arrived[position].arrival < self._zone + min(self._bounds.least, self._bounds.stalled)
        return position < self._last_known or early

    def _is_surely_recorded(self, event: Arrived) -> bool:
        """Whether it came when the old side's record had begun, even if it was late by as much as it can have been."""
        return event.earliest > self._since + self._bounds.most

    def _skip(self, event: Arrived) -> Decision:
        recorded = event.arrival > self._since + self._bounds.most
        self.missed_by_old += event.unique and event.key not in self._in_a and recorded
        return Decision.SKIP
