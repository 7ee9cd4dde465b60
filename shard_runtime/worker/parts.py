"""What a worker is made of: each part, with what it is given of the others.

Nothing is decided here; :mod:`shard_runtime.worker.core` steers the parts.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Final

from gateway_hooks import Hooks
from shard_runtime import contract
from shard_runtime.checkpoints import Checkpoints
from shard_runtime.contract import overlapping_shards
from shard_runtime.delivery import Delivery, DiskDeadLetters, Origin
from shard_runtime.handover.cutover import Cutover
from shard_runtime.handover.keys import own_user_of
from shard_runtime.hooked import payloads, permits
from shard_runtime.orders import Begin, WorkerStatus
from shard_runtime.permits import PermitClient
from shard_runtime.ports import Chance, Clock, Disk, Network
from shard_runtime.shard import Permits
from shard_runtime.siblings import Siblings
from shard_runtime.worker.flow import Flow
from shard_runtime.worker.gaps import Gaps
from shard_runtime.worker.inheritance import Inheritance
from shard_runtime.worker.mending import Mending
from shard_runtime.worker.notices import Notices
from shard_runtime.worker.sealing import OldSide
from shard_runtime.worker.sessions import SessionFile
from shard_runtime.worker.shards import Shards
from shard_runtime.worker.takeover import Takeover

LATE_SECONDS: Final = 50.0
"""Less than the time for which a complete handover recognises late copies, see :meth:`Parts._settled`."""


@dataclass(slots=True)
class Secrets:
    """What may be exchanged while the worker runs."""

    token: str = field(repr=False)
    operator: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class HandoverParts:
    """What there is only while guilds are taken over from the generation before."""

    cutover: Cutover
    mending: Mending
    takeover: Takeover


class Parts:
    def __init__(
        self,
        *,
        begin: Begin,
        secrets: Secrets,
        status: Callable[[], WorkerStatus],
        sessions_changed: Callable[[], None],
        clock: Clock,
        chance: Chance,
        network: Network,
        disk: Disk,
        log: logging.Logger,
        hooks: Hooks | None,
    ) -> None:
        """Reads the worker's folder. *status* is the worker's own, and *sessions_changed* is called when a session
        began or ended."""
        config, folder = begin.config, Path(begin.state)
        self._begin = begin
        self._config = config
        self._folder = folder
        self._clock = clock
        self._chance = chance
        self._disk = disk
        self._log = log
        self.shards: Shards
        new_delivery: Callable[..., Delivery] = Delivery
        if hooks is not None and payloads.NAME in hooks:
            new_delivery = partial(payloads.HookedDelivery, hooks=hooks)
        self.delivery = new_delivery(
            origin=Origin(gateway=config.gateway, generation=config.generation, shards=config.layout.count),
            forward=begin.forward,
            network=network,
            clock=clock,
            chance=chance,
            log=log.log,
            dead_letters=DiskDeadLetters(disk=disk, folder=folder / "dead-letters"),
            spill=disk.spill(folder / "spill.sqlite"),
            replay_events=lambda shard: self.shards.replay_events(shard),
            replay_seconds=lambda: self.shards.replay_seconds(),
            pause=lambda paused: self.shards.pause_reading(paused),
            on_volume=config.layout.pod_workers(begin.pod),
        )
        self.flow = Flow(
            count=config.layout.count,
            own_user=own_user_of(begin.token),
            delivery=self.delivery,
            clock=clock,
            log=log,
            sessions_changed=sessions_changed,
            lost=self._lost,
            left_out=lambda shard, events: self.gaps.left_out(shard, events=events),
        )
        self.gaps = Gaps(path=folder / "gaps.json", generation=config.generation, disk=disk, log=log)
        self.permits = PermitClient(
            config=config,
            pod_uid=begin.pod_uid,
            bearer=lambda: secrets.operator,
            clock=clock,
            chance=chance,
            network=network,
            log=log,
        )
        self.shards = Shards(
            ids=begin.shards,
            config=config,
            token=lambda: secrets.token,
            sink=self.flow,
            permits=_permits(self.permits, hooks),
            clock=clock,
            chance=chance,
            network=network,
            log=log,
            hooks=hooks,
        )
        self.file = SessionFile(
            path=folder / "sessions.json",
            generation=config.generation,
            count=config.layout.count,
            disk=disk,
            log=log,
        )
        self.old_side = OldSide(
            path=folder / "seal.json",
            config=config,
            flow=self.flow,
            delivery=self.delivery,
            statuses=self.shards.statuses,
            handed_over=self.shards.handed_over,
            kept=self.shards.kept,
            clock=clock,
            disk=disk,
            log=log,
        )
        self.notices = Notices(
            config=config,
            pod=begin.pod,
            bearer=lambda: secrets.operator,
            status=status,
            clock=clock,
            chance=chance,
            network=network,
            log=log,
        )
        self.siblings = Siblings(pod_url=config.pod_url, bearer=lambda: secrets.operator, network=network, disk=disk)
        self.checkpoints = Checkpoints(
            config=config,
            pod=begin.pod,
            pod_uid=begin.pod_uid,
            bearer=lambda: secrets.operator,
            siblings=self.siblings,
            network=network,
            clock=clock,
            log=log,
        )

    def new_handover(
        self, predecessor: contract.Predecessor, save_queue: Callable[[], Awaitable[None]]
    ) -> HandoverParts:
        """*save_queue* writes what is queued to disk, as far as that takes it."""
        cutover = Cutover(
            count=self._config.layout.count,
            shards=self._begin.shards,
            predecessor=predecessor.layout,
            overlap_seconds=self._config.overlap_seconds,
        )
        mending = self._new_mending(predecessor, cutover, save_queue)
        takeover = Takeover(
            folder=self._folder,
            cutover=cutover,
            config=self._config,
            shards=self._begin.shards,
            siblings=self.siblings,
            apply=self.flow.apply,
            settled=self._settled,
            away=self.shards.away,
            heard_since=self.shards.heard_since,
            hurry=self.shards.hurry,
            inherit=Inheritance(
                shards=self._begin.shards,
                count=self._config.layout.count,
                predecessor=predecessor.layout,
                send=self.shards.command,
                kept=self.shards.kept,
                clock=self._clock,
                log=self._log,
            ),
            mending=mending,
            clock=self._clock,
            chance=self._chance,
            disk=self._disk,
            log=self._log,
        )
        return HandoverParts(cutover, mending, takeover)

    def _new_mending(
        self, predecessor: contract.Predecessor, cutover: Cutover, save_queue: Callable[[], Awaitable[None]]
    ) -> Mending:
        layout, count = predecessor.layout, self._config.layout.count
        return Mending(
            generation=self._config.generation,
            count=count,
            predecessor=predecessor.generation,
            pods_of=lambda shard: {layout.pod_of(old) for old in overlapping_shards(shard, count, layout)},
            own_user=self.flow.own_user,
            siblings=self.siblings,
            carry_out=self.flow.carry_out,
            flows=cutover.flows,
            save=save_queue,
            lost=self._lost,
            path=self._folder / "mending.json",
            disk=self._disk,
            clock=self._clock,
            chance=self._chance,
            log=self._log,
        )

    def _settled(self) -> bool:
        """Whether everything from before the end of the handover is acknowledged, so that no resume brings it again."""
        return self.delivery.oldest_seconds < LATE_SECONDS

    def _lost(self, shard: int, cause: str, events: int) -> None:
        self.gaps.note(shard, cause=cause, events=events, now=self._clock.unix_milliseconds())


def _permits(gate: PermitClient, hooks: Hooks | None) -> Permits:
    return gate if hooks is None or permits.NAME not in hooks else permits.HookedPermits(gate, hooks)
