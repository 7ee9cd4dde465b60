"""Bugs of delivery, and of what outlives a process."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any, Final

import msgspec
from system.bugs.planting import Change, Planted

from shard_runtime.delivery import batches, forwarding
from shard_runtime.delivery.bounds import Bounds
from shard_runtime.delivery.lanes import Lane
from shard_runtime.delivery.ledger import Ledger
from shard_runtime.delivery.receiver import Receiver
from shard_runtime.delivery.spilling import Spiller
from shard_runtime.delivery.watermark import Watermark
from shard_runtime.protocol import transitions
from shard_runtime.protocol.transitions import Input
from shard_runtime.supervisor.pod import Pod
from shard_runtime.worker.core import Worker
from shard_runtime.worker.shards import Shards


def _skipping_watermark() -> Iterable[Change]:
    def finish(self: Watermark, sequence: int) -> None:
        self.value = max(self.value, sequence)

    yield Watermark, "finish", finish


def _as_received(self: Worker, session: Any) -> Any:
    return replace(session, sequence=self._shards.handed_over()[session.session_id])


def _checkpoint_of_what_is_on_disk() -> Iterable[Change]:
    async def leave(self: Worker, end_sessions: bool) -> None:
        if not (end_sessions or self._held_back() or not self._shards.started):
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


def _never_superseded() -> Iterable[Change]:
    yield Pod, "superseded", lambda self: False
    yield Pod, "superseded_by", lambda self, standing: False


def _newest_first() -> Iterable[Change]:
    def append(self: Lane, event: Any) -> None:
        self.head.appendleft(event)
        self.wake()

    yield Lane, "append", append


def _never_full() -> Iterable[Change]:
    async def trim(self: Bounds) -> None:
        return

    yield Bounds, "make_room", lambda self, size: None
    yield Bounds, "trim", trim


def _counted_twice() -> Iterable[Change]:
    kept = Ledger.count_drop

    def count(self: Ledger, name: str, reason: str, count: int = 1) -> None:
        kept(self, name, reason, 2 * count)

    yield Ledger, "count_drop", count


def _sent_twice() -> Iterable[Change]:
    kept = Receiver.post

    async def post(self: Receiver, batch: Any) -> Any:
        await kept(self, batch)
        return await kept(self, batch)

    yield Receiver, "post", post


def _exchanged_bodies() -> Iterable[Change]:
    kept = batches.join

    def join(pieces: list[bytes]) -> bytes:
        payloads = [msgspec.json.decode(payload, type=dict[str, msgspec.Raw]) for payload in pieces[1:4:2]]
        if len(payloads) == 2:
            payloads[0]["d"], payloads[1]["d"] = payloads[1]["d"], payloads[0]["d"]
            pieces[1:4:2] = map(msgspec.json.encode, payloads)
        return kept(pieces)

    yield batches, "join", join


def _op_9_true_identifies() -> Iterable[Change]:
    yield transitions.ENDINGS, Input.INVALID_RESUMABLE, transitions.ENDINGS[Input.INVALID]


BUGS: Final[Mapping[str, Planted]] = {
    "spill only when memory is full": Planted(
        what="What is not acknowledged stays in memory alone.",
        breaks="nothing is lost",
        seeds=(34, 864, 1834, 1655),
        changes=lambda: [(Spiller, "_due", lambda self, now: [])],
    ),
    "a watermark that skips": Planted(
        what="The watermark is the highest sequence that is finished, whatever is not below it.",
        breaks="nothing is lost",
        seeds=(61, 551, 122),
        changes=_skipping_watermark,
    ),
    "checkpoint counts what only the lost disk held": Planted(
        what="The sequence left with others is the watermark, with what is safe on the pod's own disk.",
        breaks="nothing is lost",
        seeds=(116, 138, 21),
        changes=_checkpoint_of_what_is_on_disk,
    ),
    "no checkpoint": Planted(
        what="A pod that stops leaves its sessions with nobody.",
        breaks="sessions live on",
        seeds=(385, 235, 286),
        changes=_no_checkpoint,
    ),
    "sequence saved before acknowledgement": Planted(
        what="The sequence saved on disk is the last received one.",
        breaks="nothing is lost",
        seeds=(22, 21),
        changes=lambda: [(Worker, "_as_delivered", _as_received)],
    ),
    "close with 1000 on SIGTERM": Planted(
        what="A pod that stops closes its sessions with 1000, which ends them.",
        breaks="sessions live on",
        seeds=(13, 16, 14),
        changes=_stops_with_1000,
    ),
    "op 9 true starts a new session": Planted(
        what="An op 9 that says that the session can be resumed is answered with IDENTIFY.",
        breaks="sessions live on",
        seeds=(57, 42, 38),
        changes=_op_9_true_identifies,
    ),
    "two incarnations with one session": Planted(
        what="A pod goes on although a newer one of its name has its folder.",
        breaks="one holder",
        seeds=(41, 328, 204, 104),
        changes=_never_superseded,
    ),
    "newest first": Planted(
        what="What waits in a lane is delivered newest first.",
        breaks="order in a guild",
        seeds=(5, 2, 4),
        changes=_newest_first,
    ),
    "a queue without a bound": Planted(
        what="Events are accepted, and kept, however many wait.",
        breaks="bounds",
        seeds=(6, 25, 34, 60),
        changes=_never_full,
    ),
    "everything is sent twice": Planted(
        what="Each request is made once more after it was acknowledged.",
        breaks="nothing comes twice",
        seeds=(11, 20, 23, 62),
        changes=_sent_twice,
    ),
    "a drop that is counted twice": Planted(
        what="What is dropped at the queue's bound counts as two events.",
        breaks="drops are counted",
        seeds=(357, 774),
        changes=_counted_twice,
    ),
    "a drop that nobody counts": Planted(
        what="What is dropped at the queue's bound is not counted.",
        breaks="nothing is lost",
        seeds=(6, 25, 34, 60),
        changes=lambda: [(Ledger, "count_drop", lambda self, name, reason, count=1: None)],
    ),
    "two bodies of a batch exchanged": Planted(
        what="The first two payloads of a batch have each other's body.",
        breaks="what comes is what was sent",
        seeds=(1, 3),
        changes=_exchanged_bodies,
    ),
    "a filter that lets pass": Planted(
        what="What is excluded is delivered nevertheless.",
        breaks="what comes is what was sent",
        seeds=(1, 12),
        changes=lambda: [(forwarding, "_filter", lambda events: None)],
    ),
}
