"""Bugs planted on purpose: each must be caught by simulated runs, or nobody looks at the promise that it breaks.

A bug is a few replaced attributes of the product, in force while :meth:`Planted.plant` is entered. Beside it stands a
seed that catches it, found with ``python -m system.seeds run 1-2000 --planted NAME``, and the promise that is broken.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from typing import Any, Final
from unittest.mock import patch

import msgspec
from gateway_operator.cluster.processes.objects import ObjectStore
from gateway_operator.identify import gate as identify_gate
from gateway_operator.identify.gate import IdentifyGate
from gateway_operator.planning import decide, reshard, towards_commit, writes
from system.cluster import is_record

from shard_runtime import contract
from shard_runtime.contract import Role, WindowEvent
from shard_runtime.delivery.lanes import Lane
from shard_runtime.delivery.watermark import Watermark
from shard_runtime.handover.alignment import Arrived, Decision, Evidence, Outcome
from shard_runtime.handover.cutover import Cutover
from shard_runtime.handover.old_pod import OldPod
from shard_runtime.handover.streams import StreamAlignment
from shard_runtime.permits import PermitClient
from shard_runtime.protocol import transitions
from shard_runtime.protocol.transitions import Input
from shard_runtime.supervisor import pod as supervisor_pod
from shard_runtime.supervisor.standing import Standing, initial_standing
from shard_runtime.worker.core import Worker
from shard_runtime.worker.sealing import OldSide
from shard_runtime.worker.shards import Shards
from shard_runtime.worker.takeover import Takeover

Change = tuple[object, str, object]
"""An owner, the name of its attribute, and what is there instead."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Planted:
    what: str
    """What the bug does, as a sentence."""
    breaks: str
    """Name of the promise that the seed's run breaks."""
    seed: int
    changes: Callable[[], Iterable[Change]]

    @contextmanager
    def plant(self) -> Iterator[None]:
        with ExitStack() as stack:
            for owner, name, instead in self.changes():
                if isinstance(owner, dict):
                    stack.enter_context(patch.dict(owner, {name: instead}))
                else:
                    stack.enter_context(patch.object(owner, name, instead))
            yield


# --- The operator -----------------------------------------------------------------------------------------------------


def _without(requirement: str, table: str = "BEFORE_COMMIT") -> Callable[[], Iterable[Change]]:
    """Without one of the requirements of an irreversible act."""

    def changes() -> Iterable[Change]:
        rest = tuple(each for each in getattr(reshard, table) if each.unmet.__name__ != requirement)
        assert len(rest) < len(getattr(reshard, table)), requirement
        for module in (reshard, towards_commit, decide):
            if hasattr(module, table):
                yield module, table, rest

    return changes


def _late_commit() -> Iterable[Change]:
    kept = ObjectStore.replace

    def blind(self: ObjectStore, manifest: dict[str, Any]) -> dict[str, Any]:
        present = self._objects.get((manifest["kind"], manifest["metadata"]["namespace"], manifest["metadata"]["name"]))
        if present is not None and is_record(manifest):
            version = present["metadata"]["resourceVersion"]
            manifest = {**manifest, "metadata": {**manifest["metadata"], "resourceVersion": version}}
        return kept(self, manifest)

    yield ObjectStore, "replace", blind


def _same_epoch() -> Iterable[Change]:
    kept = writes._without_target

    def without(record: contract.Record) -> contract.Record:
        return msgspec.structs.replace(kept(record), epoch=record.epoch)

    yield writes, "_without_target", without


def _lost_permit() -> Iterable[Change]:
    yield IdentifyGate, "_expire", lambda self, known, now: None
    yield IdentifyGate, "_end_earlier", lambda self, known, ask, now: None


# --- Permits ----------------------------------------------------------------------------------------------------------


def _late_permit() -> Iterable[Change]:
    async def acquire(self: PermitClient, shard: int) -> contract.Permit:
        kept_clock, self._clock = self._clock, _StoppedClock(self._clock)
        try:
            return await kept(self, shard)
        finally:
            self._clock = kept_clock

    kept = PermitClient.acquire
    yield PermitClient, "acquire", acquire


class _StoppedClock:
    """Shows the time at which it was made."""

    def __init__(self, clock: Any) -> None:
        self._clock, self._now = clock, clock.monotonic()

    def monotonic(self) -> float:
        return float(self._now)

    def unix_milliseconds(self) -> int:
        return int(self._clock.unix_milliseconds())

    async def sleep(self, seconds: float) -> None:
        await self._clock.sleep(seconds)


# --- Seals and roles --------------------------------------------------------------------------------------------------


def _delivers_after_its_seal() -> Iterable[Change]:
    kept = OldSide._put_in_force

    def put_in_force(self: OldSide, sealed: Any) -> None:
        with patch.object(self._flow, "fence", lambda accepted: None):
            kept(self, sealed)

    yield OldSide, "_put_in_force", put_in_force


def _forgets_its_seal() -> Iterable[Change]:
    def initial(found: Standing | None, **more: Any) -> Standing:
        standing = initial_standing(found, **more)
        return msgspec.structs.replace(standing, role=Role.ACTIVE) if standing.role is Role.SEALED else standing

    yield supervisor_pod, "initial_standing", initial
    yield OldSide, "restore", lambda self: False


def _accepts_what_comes_before_the_seal_is_written() -> Iterable[Change]:
    kept = OldSide.seal

    def seal(self: OldSide, by_generation: int) -> None:
        if not self.sealed and self._flow.active:
            handed_over = self._handed_over
            self._handed_over = lambda: {session: max(0, last - 5) for session, last in handed_over().items()}
        kept(self, by_generation)

    yield OldSide, "seal", seal


def _released_at_the_seal() -> Iterable[Change]:
    yield OldPod, "released", lambda self, guild: self.reply is not None


class SeenSet:
    """Takes every event whose key the old side has accepted for accepted."""

    outcome = Outcome.ANCHORED
    ambiguous = False
    missed_by_old = 0

    def __init__(self, evidence: Evidence) -> None:
        self._seen = {event.key for event in evidence.events}

    def feed(self, event: Arrived) -> Sequence[Decision]:
        return (Decision.SKIP if event.key in self._seen else Decision.DELIVER,)

    def feed_many(self, events: Sequence[Arrived]) -> Sequence[Decision]:
        return [decision for event in events for decision in self.feed(event)]

    def learn(self, after: Iterable[WindowEvent], now: int) -> Sequence[Decision]:
        return ()

    def pass_time(self, now: int, *, silent: bool = False) -> Sequence[Decision]:
        return ()


class ByTime(SeenSet):
    """Takes what arrives after the moment of the seal for new."""

    def __init__(self, evidence: Evidence) -> None:
        self._sealed_at = evidence.sealed_at

    def feed(self, event: Arrived) -> Sequence[Decision]:
        return (Decision.SKIP if event.arrival <= self._sealed_at else Decision.DELIVER,)


def _aligned_by(alignment: type) -> Callable[[], Iterable[Change]]:
    def changes() -> Iterable[Change]:
        kept = OldPod.feed

        def feed(self: OldPod, place: Any, events: Any, make: Any) -> Any:
            return kept(self, place, events, alignment if make is StreamAlignment else make)

        yield OldPod, "feed", feed

    return changes


def _forgets_seals_of_old_pods() -> Iterable[Change]:
    yield Takeover, "restore", lambda self: None
    yield Takeover, "has_evidence", lambda self: False


def _trims_without_a_word() -> Iterable[Change]:
    def trim(self: Cutover, pod: OldPod, now: int, step: Any) -> None:
        step.skip.extend(pod.hold.trim(now - 1000))

    yield Cutover, "_trim", trim


# --- Delivery and what outlives a process -----------------------------------------------------------------------------


def _skipping_watermark() -> Iterable[Change]:
    def finish(self: Watermark, sequence: int) -> None:
        self.value = max(self.value, sequence)

    yield Watermark, "finish", finish


def _as_received(self: Worker, session: Any) -> Any:
    return replace(session, sequence=self._shards.handed_over()[session.session_id])


def _checkpoint_of_what_is_on_disk() -> Iterable[Change]:
    async def leave(self: Worker, end_sessions: bool) -> None:
        if not (end_sessions or self._takeover is not None or not self._shards.started):
            await self._checkpoints.leave(self._shards.saved())

    yield Worker, "_leave_checkpoint", leave


def _no_checkpoint() -> Iterable[Change]:
    async def leave(self: Worker, end_sessions: bool) -> None:
        return

    yield Worker, "_leave_checkpoint", leave


def _stops_with_1000() -> Iterable[Change]:
    kept = Shards.stop

    async def stop(self: Shards, *, end_session: bool) -> None:
        await kept(self, end_session=True)

    yield Shards, "stop", stop


def _forgotten_sessions() -> Iterable[Change]:
    yield Worker, "_sessions_changed", lambda self: None
    kept = Worker._save

    def save(self: Worker) -> None:
        if asyncio.get_running_loop().time() % 10 < 1:
            kept(self)

    yield Worker, "_save", save


def _newest_first() -> Iterable[Change]:
    def append(self: Lane, event: Any) -> None:
        self.head.appendleft(event)
        self.wake()

    yield Lane, "append", append


def _op_9_true_identifies() -> Iterable[Change]:
    yield transitions.ENDINGS, Input.INVALID_RESUMABLE, transitions.ENDINGS[Input.INVALID]


PLANTED: Final[Mapping[str, Planted]] = {
    "commit without rehearsal": Planted(
        what="The operator commits although no pod of the target has rehearsed.",
        breaks="rehearsal",
        seed=95,
        changes=_without("_rehearsed"),
    ),
    "retired before it is handed over": Planted(
        what="The operator deletes the old generation although the new one has not taken over from it.",
        breaks="one active generation",
        seed=1,
        changes=_without("_handed_over", "BEFORE_RETIREMENT"),
    ),
    "commit and abort keep the epoch": Planted(
        what="A commit or an abort does not raise the epoch.",
        breaks="one truth",
        seed=1,
        changes=_same_epoch,
    ),
    "old pod delivers after its seal": Planted(
        what="A sealed worker goes on accepting.",
        breaks="nothing comes twice",
        seed=1,
        changes=_delivers_after_its_seal,
    ),
    "restarted pod forgets its seal": Planted(
        what="A sealed pod that is started again is active again.",
        breaks="nothing comes twice",
        seed=210,
        changes=_forgets_its_seal,
    ),
    "a seen-set instead of alignment": Planted(
        what="An event is taken for delivered if the old side accepted one with an equal body.",
        breaks="nothing is lost",
        seed=4,
        changes=_aligned_by(SeenSet),
    ),
    "alignment by time": Planted(
        what="An event is taken for delivered if it arrived before the seal.",
        breaks="nothing is lost",
        seed=6,
        changes=_aligned_by(ByTime),
    ),
    "a watermark that skips": Planted(
        what="The watermark is the highest sequence that is finished, whatever is not below it.",
        breaks="nothing is lost",
        seed=122,
        changes=_skipping_watermark,
    ),
    "no checkpoint": Planted(
        what="A pod that stops leaves its sessions with nobody.",
        breaks="sessions live on",
        seed=241,
        changes=_no_checkpoint,
    ),
    "sequence saved before acknowledgement": Planted(
        what="The sequence saved on disk is the last received one.",
        breaks="nothing is lost",
        seed=22,
        changes=lambda: [(Worker, "_as_delivered", _as_received)],
    ),
    "close with 1000 on SIGTERM": Planted(
        what="A pod that stops closes its sessions with 1000, which ends them.",
        breaks="sessions live on",
        seed=13,
        changes=_stops_with_1000,
    ),
    "op 9 true starts a new session": Planted(
        what="An op 9 that says that the session can be resumed is answered with IDENTIFY.",
        breaks="sessions live on",
        seed=38,
        changes=_op_9_true_identifies,
    ),
    "permit lost with its pod": Planted(
        what="The gate waits for ever for the report of a permit.",
        breaks="progress",
        seed=1887,
        changes=_lost_permit,
    ),
    "new leader grants at once": Planted(
        what="A gate that has just started gives permits although others may be in use.",
        breaks="identify buckets",
        seed=367,
        changes=lambda: [(identify_gate, "SILENCE_SECONDS", 0.0)],
    ),
    "newest first": Planted(
        what="What waits in a lane is delivered newest first.",
        breaks="order in a guild",
        seed=2,
        changes=_newest_first,
    ),
}
