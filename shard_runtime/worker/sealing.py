"""The old side of a handover, for one worker: its window, its fence, what is still owed, and what comes after."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Final

import msgspec

from shard_runtime import contract
from shard_runtime.contract import ShardState
from shard_runtime.delivery import Delivery
from shard_runtime.handover.received import Received
from shard_runtime.handover.seals import Seal, sealing_moment
from shard_runtime.handover.window import AFTER_MILLISECONDS, Window
from shard_runtime.orders import ReceivedPart, Windows
from shard_runtime.ports import Clock, Disk
from shard_runtime.worker.flow import Flow

SILENT_SECONDS: Final = 10.0
"""A session that is READY, and from which nothing came for so long in spite of probes, is cut off."""
UNKNOWN_MILLISECONDS: Final = 24 * 3600 * 1000
"""Stands for not knowing how far behind a session is."""

EVERYONE: Final = contract.HandoverRequest(generation=0, count=1, shards=[0])
"""Stands for an asker of all guilds."""


class _Sealed(contract.Wire, frozen=True, kw_only=True):
    """``seal.json``."""

    generation: int
    seal: Seal
    owed: list[int]
    """Guilds with accepted events that were not acknowledged at the seal: after a restart all of them count as owed
    until a resume has brought those events again."""
    kept: dict[int, contract.Kept] = msgspec.field(default_factory=dict)
    at: int = 0
    """When it was sealed; :attr:`Seal.sealed_at` may be earlier."""


class OldSide:
    """Remembers what a worker accepts while a successor exists, and seals it."""

    def __init__(
        self,
        *,
        path: Path,
        config: contract.RuntimeConfig,
        flow: Flow,
        delivery: Delivery,
        statuses: Callable[[], list[contract.ShardStatus]],
        handed_over: Callable[[], dict[str, int]],
        kept: Callable[[], dict[int, contract.Kept]],
        clock: Clock,
        disk: Disk,
        log: logging.Logger,
    ) -> None:
        """*handed_over*: by session, the last sequence that a shard gave to *flow*. *kept*: by shard, what its session
        has besides events."""
        self._kept = kept
        self._path = path
        self._config = config
        self._flow = flow
        self._delivery = delivery
        self._statuses = statuses
        self._handed_over = handed_over
        self._clock = clock
        self._disk = disk
        self._log = log
        self._window: Window | None = None
        self._after: Window | None = None
        """What the sessions receive in the moment after the seal; not known after a restart."""
        self._after_until = 0
        self._received: Received | None = None
        """What they receive from then on; from the restart on after one."""
        self._sealed_here = 0
        self._sealed: _Sealed | None = None
        self._restored = False

    @property
    def sealed(self) -> bool:
        return self._sealed is not None

    def restore(self) -> bool:
        """Put an earlier seal in force again; whether there is one."""
        data = self._disk.read(self._path)
        if data is None:
            return False
        try:
            sealed = contract.decode(data, _Sealed)
        except msgspec.DecodeError as error:
            self._log.error("%s cannot be used; the worker is sealed without its windows: %s", self._path, error)
            return False
        if sealed.generation != self._config.generation:
            return False
        self._put_in_force(sealed, complete=False)
        self._sealed_here = sealed.at
        self._restored = True
        missing = [session for session in sealed.seal.accepted if self._delivery.watermark(session) is None]
        if missing and sealed.owed:
            self._log.error(
                "%d sessions of the sealed worker are not known any more; what they owed is lost.", len(missing)
            )
        return True

    def record(self, wanted: bool) -> None:
        """Keep a window of what is accepted, or not."""
        if wanted == (self._window is not None) or self.sealed:
            return
        now = self._clock.unix_milliseconds()
        self._window = self._new_window(now) if wanted else None
        self._flow.record(self._window)
        self._delivery.track_guilds(wanted)

    def look(self) -> None:
        """To be called several times a second: how far back the window has to reach."""
        if self._window is not None:
            self._window.complete_until(self._clock.unix_milliseconds() - self._behind_milliseconds())

    def _behind_milliseconds(self) -> int:
        """How long ago the session was complete that is furthest behind. Shards that hold none, or have stopped for
        good, have nothing to come."""
        ages = [
            UNKNOWN_MILLISECONDS if status.behind_seconds is None else math.ceil(status.behind_seconds * 1000)
            for status in self._statuses()
            if status.sequence is not None and status.state is not ShardState.STOPPED
        ]
        return max(ages, default=0)

    def _new_window(self, since: int) -> Window:
        return Window(since=since, overlap_seconds=self._config.overlap_seconds, own_user=self._flow.own_user)

    def seal(self, by_generation: int) -> None:
        """Accept nothing more, durably. Raises ``OSError`` when it cannot be persisted; then nothing has changed.

        No event comes in between: everything here happens within one turn of the loop.
        """
        if self.sealed:
            return
        self._delivery.track_guilds(True)
        now = self._clock.unix_milliseconds()
        seal = Seal(
            # without a window all that is asked is when certainly nothing more was accepted
            sealed_at=now if self._window is None else sealing_moment(now, self._last_heard(self._statuses(), now)),
            by_generation=by_generation,
            recorded_since=None if self._window is None else self._window.recorded_since,
            windows=[] if self._window is None else self._window.export(EVERYONE),
            accepted=self._handed_over() if self._flow.active else {},
        )
        sealed = _Sealed(
            generation=self._config.generation,
            seal=seal,
            owed=sorted(self._delivery.unacknowledged_guilds()),
            kept=self._kept(),
            at=now,
        )
        self._disk.write(self._path, contract.encode(sealed))
        self._put_in_force(sealed, complete=True)
        self._sealed_here = now
        self._after, self._after_until = self._new_window(now), now + AFTER_MILLISECONDS
        self._flow.follow(self._after, until=self._after_until)

    def _put_in_force(self, sealed: _Sealed, *, complete: bool) -> None:
        self._sealed = sealed
        self._received = Received(complete=complete)
        self._flow.fence(sealed.seal.accepted)
        self._flow.keep(self._received)
        self._flow.record(None)
        self._window = None
        self._delivery.track_guilds(True)

    @staticmethod
    def _last_heard(statuses: Iterable[contract.ShardStatus], now: int) -> Iterable[int | None]:
        for status in statuses:
            behind = status.behind_seconds
            if status.state is not ShardState.READY or behind is None or behind > SILENT_SECONDS:
                yield None if behind is None else now - math.ceil(behind * 1000)

    def windows(self, request: contract.HandoverRequest) -> Windows:
        """The answer to *request*, sealed or not."""
        shards = frozenset(request.shards)

        def asked(guild: int) -> bool:
            return contract.shard_of_guild(guild, request.count) in shards

        if self._sealed is None:
            window = self._window
            return Windows(
                sealed_at=None,
                recorded_since=None if window is None else window.recorded_since,
                windows=window.export(request) if window is not None and request.windows else [],
                unacknowledged=sorted(filter(asked, self._delivery.unacknowledged_guilds())),
                behind_milliseconds=self._behind_milliseconds(),
            )
        seal = self._sealed.seal
        owed = set(self._delivery.unacknowledged_guilds())
        if self._restored and self._flow.owed():
            owed.update(self._sealed.owed)
        return Windows(
            sealed_at=seal.sealed_at,
            recorded_since=seal.recorded_since,
            windows=[window for window in seal.windows if asked(window.guild)] if request.windows else [],
            unacknowledged=sorted(filter(asked, owed)),
            kept=self._kept_of(asked) if request.windows else {},
            sealed_milliseconds=max(0, self._clock.unix_milliseconds() - self._sealed_here),
            after=self._received_after(request),
        )

    def received(self, request: contract.ReceivedRequest) -> ReceivedPart:
        """What the sessions went on receiving of the asker's guilds; nothing is known of it before the seal."""
        if self._received is None:
            return ReceivedPart(complete=False)
        events, more = self._received.page(request)
        return ReceivedPart(
            complete=self._received.complete,
            behind_milliseconds=self._behind_milliseconds(),
            events=events,
            more=more,
        )

    def retire(self) -> None:
        """The generation is over: nobody asks any more."""
        self._received = None
        self._flow.keep(None)

    def _kept_of(self, asked: Callable[[int], bool]) -> dict[int, contract.Kept]:
        assert self._sealed is not None
        return {
            shard: msgspec.structs.replace(kept, calls=[call for call in kept.calls if asked(call.guild)])
            for shard, kept in self._sealed.kept.items()
        }

    def _received_after(self, request: contract.HandoverRequest) -> list[contract.GuildWindow] | None:
        if not request.after or self._after is None or self._clock.unix_milliseconds() <= self._after_until:
            return None
        return self._after.export(request)
