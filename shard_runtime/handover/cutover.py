"""The target's side of a cutover, for one worker: hold, seal, align, release.

Theory of operation. A guild's events come from the old generation until its old pod is sealed, and from this one after
the old pod's accepted events of that guild are acknowledged; in between nobody delivers, so that order holds.

    standby      everything is held; what the old side must have delivered long ago is trimmed
    committed    everything is held; the worker asks each old pod of its guilds to seal
    old pod sealed             the pod's guilds can be aligned
    ... and guild acknowledged the guild is released: held events are decided, later ones as they come
    old pod heard              what its sessions received after the seal is known, for the streams that need it

Trimming needs the old pod's word that it was not sealed: it may have been sealed by a sibling of ours a minute before
the news of the commit reached us, and what came after that is ours to deliver. So a worker in standby asks its old pods
every second or two (:meth:`Cutover.unsealed`); while one does not answer, its guilds' events are kept, up to the bound.

Nor is a session that is not sealed sure to get its events: its link may have gone silent, and if it is sealed before it
has resumed, what it lacks is here alone. So old pods say how far *behind* they may be, and events are kept on from
before that moment; and a rehearsal needs every old session to have been complete up to well after ours began.

Before the commit the worker rehearses: it aligns the windows of unsealed old pods without effect
(:meth:`Cutover.rehearse`), which shows whether the two sides see the same streams, and measures the lag between them.

A guild that no old pod has (the old generation held a part of the shards) is released by the commit. Once every old pod
is sealed, heard, and has nothing unacknowledged left, the cutover is *complete*; it stays in use for as long as late
copies of accepted events are recognised, and is then *over*: the worker no longer needs to ask it.

Every call returns a :class:`Step`: what to deliver now, in order, and which sequences have nothing to deliver. An event
that is in no step is held. Times are unix milliseconds on this pod's clock, except what old pods report.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from typing import Final

import msgspec

from shard_runtime.contract import (
    GuildWindow,
    HandoverReply,
    HandoverStatus,
    ShardLayout,
    overlapping_shards,
    shard_of_guild,
)
from shard_runtime.handover.alignment import LATE_COPIES_MILLISECONDS, AlignmentFactory, Decision, Outcome
from shard_runtime.handover.course import Course
from shard_runtime.handover.holding import HOLD_BYTES, HOLD_EVENTS, Held, Hold
from shard_runtime.handover.keys import Place
from shard_runtime.handover.lags import UNMEASURED_MILLISECONDS
from shard_runtime.handover.old_pod import Known, OldPod, by_place
from shard_runtime.handover.placed import Placed, placed
from shard_runtime.handover.rehearsal import Rehearsal, silence
from shard_runtime.handover.report import Report
from shard_runtime.handover.steps import Deliver, Step
from shard_runtime.handover.streams import StreamAlignment
from shard_runtime.handover.window import AFTER_MILLISECONDS

HEAR_MILLISECONDS: Final = AFTER_MILLISECONDS + 1500
"""How long after a seal to wait for what the old sessions received then, before doing without it."""

BEHIND_MILLISECONDS: Final = 20_000
"""How long after a session has begun to wait for old ones that are behind."""

MOST_LATE: Final = 2000
"""Keys of which copies may come that are told, for each shard."""


class Cutover:
    """State machine of one worker of a target (or of a generation that has just become active)."""

    def __init__(
        self,
        *,
        count: int,
        shards: Collection[int],
        predecessor: ShardLayout,
        overlap_seconds: float = 10.0,
        align: AlignmentFactory = StreamAlignment,
        max_events: int = HOLD_EVENTS,
        max_bytes: int = HOLD_BYTES,
    ) -> None:
        """*count* and *shards*: this generation's shard count, and this worker's shards."""
        self._count = count
        self._shards = frozenset(shards)
        self._predecessor = predecessor
        self._overlap = int(overlap_seconds * 1000)
        self._align = align
        self._max_events = max_events
        self._max_bytes = max_bytes
        self._began: dict[int, int] = {}
        self._new: dict[int, int] = {}
        """Since when shards have had the sessions that they have; 0 for one of an earlier process."""
        self._courses: dict[int, Course] = {}
        pods = {predecessor.pod_of(old) for shard in shards for old in overlapping_shards(shard, count, predecessor)}
        self._pods = {pod: OldPod(number=pod, layout=predecessor, began=self._began) for pod in sorted(pods)}
        self._without = Hold()
        self._rehearsals = {pod: Rehearsal(overlap=self._overlap) for pod in self._pods}
        self._report = Report()
        self.committed_at: int | None = None
        self.completed_at: int | None = None
        self.overflowed = 0

    # --- What the worker has to do ------------------------------------------------------------------------------------

    @property
    def old_pods(self) -> list[int]:
        """The old pods that can have guilds of this worker."""
        return list(self._pods)

    @property
    def to_seal(self) -> list[int]:
        """Old pods to be asked to seal; none before the commit."""
        if self.committed_at is None:
            return []
        return [number for number, pod in self._pods.items() if not pod.sealed]

    def is_ready(self, pod: int, now: int, *, away: Collection[int]) -> bool:
        """Whether old *pod* may be sealed: what it does not accept any more has to come here. *away* are the shards
        that have no live session now.

        What Discord sent before a new session began comes to the old ones alone, so those have to have it; one that is
        silent for long is not waited for.
        """
        if away:
            return False
        newest = max(self._new.values(), default=0)
        if now - newest < self._overlap // 2:
            return False
        complete_until = self._pods[pod].complete_until
        is_complete = complete_until is not None and complete_until >= newest
        return is_complete or now - newest > BEHIND_MILLISECONDS

    @property
    def to_hear(self) -> list[int]:
        """Sealed old pods to be asked what their sessions received after the seal."""
        return [number for number, pod in self._pods.items() if pod.sealed and pod.after is None]

    def flows(self, shard: int) -> bool:
        """Whether all that sealed old pods had accepted of the guilds of *shard* is acknowledged."""
        old = {self._predecessor.pod_of(one) for one in overlapping_shards(shard, self._count, self._predecessor)}
        return not any(self._pods[pod].sealed and self._pods[pod].unacknowledged for pod in old)

    @property
    def to_await(self) -> list[int]:
        """Sealed old pods to be asked (without windows) what is still unacknowledged."""
        return [number for number, pod in self._pods.items() if pod.sealed and pod.unacknowledged]

    @property
    def complete(self) -> bool:
        """Every guild flows from here."""
        return self.completed_at is not None

    def is_over(self, now: int) -> bool:
        """Complete, and no copy of an accepted event is expected any more; :meth:`offer` need not be called."""
        return self.completed_at is not None and now - self.completed_at > LATE_COPIES_MILLISECONDS

    # --- Events -------------------------------------------------------------------------------------------------------

    def begins(self, shard: int, now: int, *, resumes: bool = False) -> None:
        """*shard* has a new session, or (*resumes*) goes on with one that another process had: what it had before is
        not here."""
        self._began[shard] = now
        self._new[shard] = 0 if resumes else now
        self._courses.pop(shard, None)  # nothing waited for this session while there was none
        for rehearsal in self._rehearsals.values():
            rehearsal.doubt("A session of this generation has begun since the windows were compared.")

    def offer(self, event: Held) -> Step:
        """The next event of one of this worker's sessions, in order of arrival."""
        step = Step()
        course = self._courses.get(event.shard)
        if course is None:
            course = self._courses[event.shard] = Course()
        not_before = course.not_before(event.arrival, replayed=event.replayed)
        if not_before is not None:
            event = msgspec.structs.replace(event, not_before=not_before)
        pod = self._pod_of(event)
        if pod is None:
            if self.committed_at is not None:
                step.deliver.append(Deliver(event, False))
                return step
            self._without.append(event)
            step.skip.extend(self._without.trim(event.arrival - self._overlap))
        elif pod.released(event.guild):
            self._feed(pod, event.place, (event,), event.arrival, step)
            return step
        else:
            pod.hold.append(event)
            if self.committed_at is None:
                self._trim(pod, event.arrival, step)
            else:
                self._report.held(event.guild)
        self._bound(step)
        return step

    # --- News ---------------------------------------------------------------------------------------------------------

    def unsealed(self, pod: int, asked_at: int, *, behind: int = 0) -> Step:
        """Old *pod* answered a question of *asked_at* (this pod's clock) and was not sealed. Lets standby trim.

        *behind*: how many milliseconds ago its sessions certainly had everything that Discord had sent until then.
        """
        step = Step()
        old = self._pods.get(pod)
        if old is not None and not old.sealed:
            old.unsealed_at = max(asked_at, old.unsealed_at or asked_at)
            old.complete_until = max(asked_at - behind, old.complete_until or asked_at - behind)
            if behind > self._overlap:
                self._rehearsals[pod].doubt(silence(behind))
            if self.committed_at is None:
                self._trim(old, asked_at, step)
        return step

    def was_unsealed(self, pod: int) -> bool:
        """Whether old *pod* has answered as one that is not sealed."""
        return self._pods[pod].unsealed_at is not None

    def rehearse(self, pod: int, reply: HandoverReply, now: int) -> None:
        """Align the windows of an old *pod* that is not sealed, without effect."""
        old = self._pods.get(pod)
        if old is None or old.sealed:
            return
        windows = by_place(reply.windows)
        self._rehearsals[pod].take(
            overlap=old.overlap(windows),
            windows=windows,
            held=old.hold.events,
            recorded_since=reply.recorded_since,
            held_since=max(old.hold.complete_since, *(self._began.get(shard, now) for shard in self._shards)),
            now=now,
            until=now if old.complete_until is None else min(now, old.complete_until),
        )

    def rehearsed(self, pod: int) -> bool:
        """Whether the last rehearsal with *pod* went well."""
        return self._rehearsals[pod].problem is None

    def commit(self, now: int) -> Step:
        """The record makes this generation the active one. Harmless when repeated."""
        step = Step()
        if self.committed_at is None:
            self.committed_at = now
            for pod in self._pods.values():
                for event in pod.hold.events:
                    self._report.held(event.guild)
            step.deliver.extend(Deliver(event, False) for event in self._without.take(lambda _: True))
            self._complete_if_so(now)
        return step

    def sealed(
        self,
        pod: int,
        reply: HandoverReply,
        now: int,
        *,
        known: Known | None = None,
        found: Iterable[Placed] = (),
    ) -> Step:
        """Old *pod*'s answer to a seal, with windows. Harmless when repeated: the first one counts.

        *known*: what :meth:`known` made of it. *found*: what an earlier life of the worker found (``Step.placed``).

        Raises ``ValueError`` before the commit: a seal is asked for only after it.
        """
        if self.committed_at is None:
            raise ValueError("an old pod was sealed before the commit")
        old = self._pods.get(pod)
        if old is None or old.sealed:
            return self.acknowledged(pod, reply.unacknowledged, now)
        old.seal(reply, now, known=known or self.known(pod, reply, now), found=found)
        return self._release(old, now)

    def known(self, pod: int, reply: HandoverReply, now: int) -> Known:
        """What is to be kept with *pod*'s answer to a seal, since it cannot be learned again after a restart."""
        return self._pods[pod].measure(reply, now, self._rehearsals[pod].extremes)

    def heard(self, pod: int, after: Iterable[GuildWindow], now: int) -> Step:
        """What the sessions of sealed old *pod* received in the moment after the seal; nothing where that is not known.

        Harmless when repeated: the first one counts.
        """
        step = Step()
        old = self._pods.get(pod)
        if old is None or not old.sealed or old.after is not None:
            return step
        old.after = {place: window.events for place, window in by_place(after).items()}
        for place, alignment in old.alignments.items():
            passed, _ = self._passed(old, place, now)
            self._answer(old, place, alignment.learn(old.after.get(place, ()), passed), now, step)
        self._complete_if_so(now)
        return step

    def acknowledged(self, pod: int, unacknowledged: Iterable[int], now: int) -> Step:
        """Sealed old *pod* says which guilds of ours still have accepted events without an acknowledgement.

        A guild that was released stays released.
        """
        old = self._pods.get(pod)
        if old is None or not old.sealed:
            return Step()
        left = old.unacknowledged & frozenset(unacknowledged)
        if left == old.unacknowledged:
            return Step()
        old.unacknowledged = left
        return self._release(old, now)

    def tick(self, now: int) -> Step:
        """To be called about ten times a second while not over: settles what only needed time."""
        step = Step()
        for number, pod in self._pods.items():
            if pod.sealed and pod.after is None and now - pod.sealed_here > HEAR_MILLISECONDS:
                step.extend(self.heard(number, (), now))
            for place in list(pod.waiting):
                passed, silent = self._passed(pod, place, now)
                self._answer(pod, place, pod.alignments[place].pass_time(passed, silent=silent), now, step)
            if pod.done_at is not None and not pod.closed and now - pod.done_at > LATE_COPIES_MILLISECONDS:
                self._report.keep(pod.counted())
                step.skip.extend(pod.close())
        return step

    # --- Status -------------------------------------------------------------------------------------------------------

    def status(self) -> HandoverStatus:
        pods = self._pods.values()
        sealed = sum(pod.sealed for pod in pods)
        problem = None
        if self.committed_at is None:
            problem = next((text for text in (r.problem for r in self._rehearsals.values()) if text is not None), None)
        return self._report.status(
            [alignment for pod in pods for alignment in pod.counted()],
            rehearsals=self._rehearsals.values(),
            bounds=[pod.bounds for pod in pods if pod.sealed],
            base=HandoverStatus(
                complete=self.complete,
                rehearsed=self.committed_at is not None or problem is None,
                rehearsal_problem=problem,
                sealed_pods=sealed,
                waiting_pods=len(self._pods) - sealed,
                committed_at=self.committed_at,
                completed_at=self.completed_at,
            ),
        )

    @property
    def held(self) -> int:
        """Events held back."""
        return len(self._without) + sum(len(pod.hold) for pod in self._pods.values())

    @property
    def held_bytes(self) -> int:
        return self._without.bytes + sum(pod.hold.bytes for pod in self._pods.values())

    def undecided(self) -> dict[str, list[int]]:
        """By session, the sequences of released events that have no answer yet, in order."""
        found: dict[str, list[int]] = {}
        for pod in self._pods.values():
            for waiting in pod.waiting.values():
                for event in waiting:
                    found.setdefault(event.session, []).append(event.sequence)
        return {session: sorted(sequences) for session, sequences in found.items()}

    def late(self) -> dict[int, list[int]]:
        """By shard, keys of accepted events whose copies have not come to streams without a place; at most
        :data:`MOST_LATE` of each, the latest."""
        found: dict[int, list[int]] = {}
        for pod in self._pods.values():
            for place, keys in pod.late().items():
                shard = shard_of_guild(place.guild, self._count)
                if shard in self._shards:
                    found.setdefault(shard, []).extend(keys)
        return {shard: keys[-MOST_LATE:] for shard, keys in found.items()}

    # --- Inside -------------------------------------------------------------------------------------------------------

    def _pod_of(self, event: Held) -> OldPod | None:
        shard = shard_of_guild(event.guild, self._predecessor.count)
        if shard not in self._predecessor.shards:
            return None
        return self._pods.get(self._predecessor.pod_of(shard))

    def _trim(self, pod: OldPod, now: int, step: Step) -> None:
        if pod.unsealed_at is not None and pod.complete_until is not None:
            complete = min(now, pod.complete_until)
            step.skip.extend(pod.hold.trim(min(complete - self._overlap, pod.unsealed_at - UNMEASURED_MILLISECONDS)))

    def _passed(self, pod: OldPod, place: Place, now: int) -> tuple[int, bool]:
        """Up to when nothing of stream *place* is only late, and whether its session is late now."""
        waiting = pod.waiting.get(place)
        course = self._courses.get(waiting[0].shard) if waiting else None
        return (now, False) if course is None else (course.passed(now), course.is_late(now))

    def _bound(self, step: Step) -> None:
        """Give up the oldest of what is held most, down to the bounds."""
        while self.held > self._max_events or self.held_bytes > self._max_bytes:
            fullest = max((self._without, *(pod.hold for pod in self._pods.values())), key=lambda hold: hold.bytes)
            step.overflowed.append(fullest.pop_oldest())
            self.overflowed += 1

    def _release(self, pod: OldPod, now: int) -> Step:
        step = Step()
        streams: dict[Place, list[Held]] = {}
        for event in pod.hold.take(pod.released):
            streams.setdefault(event.place, []).append(event)
        for place, events in streams.items():
            pod.was_held.add(place)
            self._report.released(place.guild)
            self._feed(pod, place, events, now, step)
        if not pod.unacknowledged and pod.done_at is None:
            pod.done_at = now
        self._complete_if_so(now)
        return step

    def _feed(self, pod: OldPod, place: Place, events: Sequence[Held], now: int, step: Step) -> None:
        if pod.closed:
            step.deliver.extend(Deliver(event, False) for event in events)
            return
        self._answer(pod, place, pod.feed(place, events, self._align), now, step)

    def _answer(self, pod: OldPod, place: Place, decisions: Iterable[Decision], now: int, step: Step) -> None:
        waiting = pod.waiting.get(place)
        if waiting is None:
            return
        if place in pod.to_place and pod.alignments[place].outcome is not Outcome.WAITING:
            decisions = list(decisions)
            self._remember(pod, place, list(zip(waiting, decisions, strict=False)), step)
        for decision in decisions:
            event = waiting.popleft()
            if decision is Decision.SKIP:
                self._report.skipped += 1
                step.skip.append(event)
            else:
                marked = decision is Decision.DELIVER_MARKED
                self._report.delivered(place.guild, now - max(event.arrival, pod.sealed_at), marked=marked)
                step.deliver.append(Deliver(event, marked))
        if not waiting:
            del pod.waiting[place]

    def _remember(self, pod: OldPod, place: Place, answered: list[tuple[Held, Decision]], step: Step) -> None:
        alignment = pod.alignments[place]
        found = placed(
            place,
            answered,
            outcome=alignment.outcome,
            ambiguous=alignment.ambiguous,
            missed_by_old=alignment.missed_by_old,
        )
        if found is not None:
            pod.to_place.discard(place)
            step.placed.setdefault(pod.number, []).append(found)

    def _complete_if_so(self, now: int) -> None:
        done = all(pod.done_at is not None and pod.after is not None for pod in self._pods.values())
        if self.completed_at is None and done:
            self.completed_at = now
