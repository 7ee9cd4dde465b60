"""When to beat, whether Discord answers, and up to when everything it sent has arrived.

The first beat is jittered, so that shards that connect together do not beat together. A connection is dead when a beat
is due and no frame of any kind came since the last one: an acknowledgement can be stuck behind a burst of guilds, so
any frame counts. https://discord.com/developers/docs/events/gateway#sending-heartbeats

A link can go silent without a close, and a beat is due once in 41 s only. That is soon enough for a session that waits
for its events, but not for one whose events another generation is about to take over: so while that goes on, a session
that has been quiet for :data:`PROBE_SECONDS` is *probed* with a beat of its own, and given up when
:data:`DEAD_SECONDS` go by without an answer.

A connection keeps order, so a frame proves that all that Discord sent before it has arrived. Frames are not timed,
which spares a clock per event: what is known is that one came between two looks, so the earlier look counts.
"""

from __future__ import annotations

import math
from typing import Final

from shard_runtime.ports import Chance

PROBE_SECONDS: Final = 3.0
DEAD_SECONDS: Final = 15.0


class Heartbeat:
    """The heartbeat of one connection after another. Times are seconds on one monotonic clock."""

    __slots__ = (
        "_asked_at",
        "_chance",
        "_complete_at",
        "_heard_at",
        "_hurried",
        "_interval",
        "_last_frame_at",
        "_live",
        "_looked_at",
        "_probing",
        "_sent_at",
        "_unacknowledged",
        "due_at",
        "excused",
        "heard",
        "latency",
        "probe_at",
    )

    def __init__(self, chance: Chance) -> None:
        self._chance = chance
        self._interval = math.inf
        self._sent_at: float | None = None
        self._last_frame_at: float | None = None
        """Or when the connection opened, which has as long to say something."""
        self._heard_at: float | None = None
        """When the last frame came on any connection, or the shard was begun before the first one."""
        self._asked_at: float | None = None
        """When the oldest beat was sent after which nothing came."""
        self._complete_at: float | None = None
        self._looked_at = 0.0
        self._live = False
        self._probing = False
        self._hurried = False
        self.due_at = math.inf
        self.probe_at = math.inf
        """When to look whether a probe is due."""
        self.heard = False
        """Set by the driver with each frame; turned into a time when somebody looks."""
        self.excused = False
        """Set by the driver where silence is our own doing, since nobody reads."""
        self._unacknowledged = 0
        """Beats of this connection whose acknowledgement has not come; more, where one never does."""
        self.latency: float | None = None
        """Seconds from the last acknowledged beat to its acknowledgement."""

    def begin(self, now: float) -> None:
        """The shard is to be connected from now on."""
        if self._heard_at is None:
            self._heard_at = now

    def connected(self, now: float) -> None:
        if self.heard:  # on the connection before, since the last look
            self._heard_at = now
        self._last_frame_at = now
        self._asked_at = None
        self._unacknowledged = 0
        self.heard = self.excused = False

    def greeted(self, interval: float, now: float) -> None:
        self._interval = interval
        self.due_at = now + interval * self._chance.random()

    def current(self, now: float) -> None:
        """READY or RESUMED came: up to now the session has everything."""
        self._listen(now)
        self._live = True
        self._complete_at = now
        self._plan_probe(now)

    def disconnected(self) -> None:
        self.due_at = self._interval = self.probe_at = math.inf
        self._sent_at = None
        self._live = False

    def probe(self, wanted: bool, now: float) -> None:
        """Ask a quiet session often whether it is there, or no more."""
        if wanted != self._probing:
            self._probing = wanted
            self._plan_probe(now)

    def hurry(self, now: float) -> None:
        """Ask a live session now whether it is there, however short a time ago it was heard."""
        if self._live:
            self._hurried = True
            self.probe_at = now

    def _plan_probe(self, now: float) -> None:
        self.probe_at = now + PROBE_SECONDS if self._probing and self._live else math.inf

    def wants_probe(self, now: float) -> bool:
        """To be asked when :attr:`probe_at` has come; whether a beat is to be sent now."""
        self._listen(now)
        self._plan_probe(now)
        hurried, self._hurried = self._hurried, False
        return hurried or self._last_frame_at is None or now - self._last_frame_at >= PROBE_SECONDS

    def dead(self, now: float) -> bool:
        """Whether a probed session has not answered for too long."""
        self._listen(now)
        return self._asked_at is not None and now - self._asked_at >= DEAD_SECONDS

    def sent(self, now: float) -> None:
        self._listen(now)
        self._sent_at = now
        self._unacknowledged += 1
        if self._asked_at is None:
            self._asked_at = now
        self.due_at = now + self._interval

    @property
    def unacknowledged(self) -> int:
        """Acknowledgements that are to come until the one of the beat that was sent last."""
        return self._unacknowledged

    def acknowledged(self, now: float) -> None:
        self._unacknowledged = max(0, self._unacknowledged - 1)
        if self._sent_at is not None:
            self.latency = now - self._sent_at

    def unanswered(self, now: float) -> bool:
        """Whether nothing came since the last beat."""
        self._listen(now)
        sent, heard = self._sent_at, self._last_frame_at
        return sent is not None and heard is not None and heard <= sent

    def silent_seconds(self, now: float) -> float | None:
        """Age of the last frame, as far as looks at it tell, or of the beginning where none came; None before that."""
        self._listen(now)
        return None if self._heard_at is None else now - self._heard_at

    def behind_seconds(self, now: float) -> float | None:
        """How long ago it is that certainly everything had arrived that Discord had sent the session until then; None
        for a session that has not been live here."""
        self._listen(now)
        return None if self._complete_at is None else now - self._complete_at

    def _listen(self, now: float) -> None:
        if self.heard or self.excused:
            self._last_frame_at = self._heard_at = now
            self._asked_at = None
        if self.heard and self._live:
            self._complete_at = self._looked_at
        self._looked_at = now
        self.heard = self.excused = False
