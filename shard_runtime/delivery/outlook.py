"""What others want to know of a delivery: how much is owed, of whom, for how long, and what has been counted."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping

from shard_runtime import contract
from shard_runtime.delivery.lanes import Lane
from shard_runtime.delivery.ledger import Ledger
from shard_runtime.delivery.outlet import Outlet
from shard_runtime.delivery.pressure import Pressure
from shard_runtime.delivery.receiver import Receiver
from shard_runtime.delivery.spilling import Spiller
from shard_runtime.measures import ALONE, Measures


class Outlook:
    """Reads only; the delivery is one."""

    _ledger: Ledger
    _outlet: Outlet
    _receiver: Receiver
    _pressure: Pressure | None
    _spiller: Spiller | None
    _monotonic: Callable[[], float]
    _all_lanes: Callable[[], Iterator[Lane]]

    def unacknowledged(self, guild: int) -> int:
        """Owed events of *guild*, 0 for those without one. Needs :meth:`track_guilds`."""
        guilds = self._ledger.guilds
        return 0 if guilds is None else guilds.get(guild, 0)

    def unacknowledged_guilds(self) -> Collection[int]:
        """Guilds with owed events. Needs :meth:`track_guilds`."""
        return self._ledger.unacknowledged_guilds()

    @property
    def queued(self) -> int:
        """Events that are queued, in flight or on disk."""
        return self._ledger.queued

    @property
    def stored(self) -> int:
        """Those of them that are safely on disk."""
        return self._ledger.stored

    @property
    def memory(self) -> int:
        """Bytes that owed events take in memory."""
        return self._ledger.bytes - sum(lane.backlog.size for lane in self._all_lanes())

    @property
    def disk_problem(self) -> str | None:
        """Why the queue does not spill to disk at the moment, as a sentence."""
        return None if self._spiller is None else self._spiller.problem

    def queued_of(self, shard: int) -> int:
        """Those of one shard."""
        return self._ledger.queued_of(shard)

    @property
    def oldest_seconds(self) -> float:
        """Age of the oldest event that is queued or in flight; 0 if there is none."""
        oldest = [moment for lane in self._all_lanes() if (moment := lane.oldest()) is not None]
        return self._monotonic() - min(oldest) if oldest else 0.0

    @property
    def receiver(self) -> contract.ReceiverStatus:
        return self._receiver.status

    @property
    def dropped(self) -> Mapping[tuple[str, str], int]:
        """Drops by event name and reason."""
        return self._ledger.dropped

    @property
    def counters(self) -> dict[str, int]:
        """Totals since the start."""
        ledger = self._ledger
        return {
            "accepted": ledger.accepted,
            "acknowledged": ledger.acknowledged,
            "dropped": ledger.dropped.total(),
            "deadLettered": ledger.dead_lettered,
            "maybeDuplicate": ledger.marked,
            "excluded": ledger.excluded,
            "requests": self._outlet.requests,
            "retried": self._outlet.retried,
            "spilled": 0 if self._spiller is None else self._spiller.written,
            "known": ledger.known,
            "pauses": 0 if self._pressure is None else self._pressure.pauses,
        }

    @property
    def measures(self) -> Measures:
        """What :attr:`counters` do not have."""
        outlet, ledger = self._outlet, self._ledger
        return Measures(
            counters={"requests": dict(outlet.meter.outcomes), "stalls": {ALONE: outlet.meter.stalls}},
            gauges={
                "queueBytes": {ALONE: ledger.bytes},
                "stalledLanes": {ALONE: sum(lane.stalled for lane in self._all_lanes())},
                "paused": {ALONE: int(self._pressure is not None and self._pressure.paused)},
            },
            histograms=outlet.meter.histograms(),
        )
