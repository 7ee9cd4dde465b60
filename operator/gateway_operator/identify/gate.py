"""Who may send an IDENTIFY, and when: the pure core of the identify gate.

Theory. Discord takes one IDENTIFY per bucket (``shard % max_concurrency``) in 5 s, of all sessions of an application,
whatever gateway or generation they belong to, and a daily number of them; past the daily number it ends every session
and resets the token. So there is one gate per application, and it gives *permits*. What a pod does with a permit is
seen late or never, hence three rules that hold without seeing it:

- a permit can be used only for its life (2 s, on the pod's clock, counted from before it was given), so an IDENTIFY of
  a permit given at ``g`` is sent between ``g`` and ``g + 2``;
- a permit blocks its bucket until it is reported and 5.3 s have passed since Discord had its IDENTIFY: the network may
  hold that up, so what counts is when the pod knew that it had arrived. One of which nobody knows, since it is never
  reported or its connection ended before, is over after a minute;
- a permit counts against the budget from when it is given until a reading of the budget that is later than its end.

A gate that starts knows nothing of permits given before, and so gives none for a permit's life and a window.

Pods ask again and again (no connection is held); who is told to wait keeps a place in line, which is lost by not
coming back in time. In line, recovery of active sessions is before reshards, else the first to ask is first.

Times are seconds on one clock that never goes back. Sources: Discord's page "Gateway", sections "Rate Limiting",
"Sharding" and "Session Start Limit"; 5.3 s is the margin that discordeno uses.
"""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass, field
from typing import Final

from gateway_operator.identify.asks import Answer, Ask, Limits, Refused, ShardKey, Urgency
from gateway_operator.identify.pace import HOUR_SECONDS, Starts
from shard_runtime.contract import PERMIT_LIFE_SECONDS, HeldBack, Permit, PermitOutcome, PermitResult, PermitWait

WINDOW_SECONDS: Final = 5.3
UNREPORTED_SECONDS: Final = 60.0
"""From a permit until its IDENTIFY, if nobody knows of it, got there or never will."""
SILENCE_SECONDS: Final = PERMIT_LIFE_SECONDS + WINDOW_SECONDS
FLOOR: Final = 5
"""Session starts that nothing may use."""
SHARE: Final = 3
SHARE_SECONDS: Final = HOUR_SECONDS
"""A shard of a generation gets at most ``SHARE`` permits in this time, so that no loop can eat the budget."""
POLL_SECONDS: Final = 0.25
"""How often to ask while a permit of the same bucket is not reported yet."""
LONGEST_WAIT_SECONDS: Final = 15.0
GRACE_SECONDS: Final = 1.0
"""How late (beyond a tenth of the wait) one may come back and still keep the place in line."""


@dataclass(slots=True, kw_only=True)
class _Given:
    """A permit that was given, until it matters no more."""

    key: ShardKey
    pod_uid: str
    bucket: int | None
    """None: of another max_concurrency, so it may be of any bucket."""
    given: float
    sent: float = math.nan
    """When Discord had its IDENTIFY, as late as that may be."""
    over: float = math.inf
    """When it was reported or taken as spent."""
    assumed: bool = False
    """It was taken as spent for what the pod asked; a report that comes after all knows better."""
    before: float | None = None
    """When the shard was started before, where that was within a day."""
    wish: str = ""
    attempt: int = 0
    """Of the request that it answers."""

    def free_at(self) -> float:
        """When the bucket is free of it, as far as is known; infinite before it is over."""
        return math.inf if math.isinf(self.over) else max(self.over, self.sent + WINDOW_SECONDS)


@dataclass(slots=True, kw_only=True)
class _Waiting:
    """A place in line."""

    urgency: Urgency
    since: float
    lost_at: float


@dataclass(slots=True, kw_only=True)
class _Application:
    limits: Limits
    given: dict[str, _Given] = field(default_factory=dict)
    line: dict[ShardKey, _Waiting] = field(default_factory=dict)
    shares: dict[ShardKey, deque[float]] = field(default_factory=dict)
    starts: Starts = field(default_factory=Starts)


class IdentifyGate:
    """The gate of all applications of one operator. Not safe for threads; knows no clock."""

    def __init__(self, *, now: float, incarnation: str) -> None:
        """*incarnation* makes the ids of this gate's permits differ from those of any gate before."""
        self._incarnation = incarnation
        self._started = now
        self._count = 0
        self._applications: dict[str, _Application] = {}
        self._owners: dict[str, str] = {}
        self._stopped: dict[tuple[str, str], str] = {}

    # --- What is known of Discord ------------------------------------------------------------------------------------

    def limits_read(self, now: float, application: str, limits: Limits) -> None:
        """Take note of a reading of the session start limit; one that is older than the last is ignored."""
        known = self._applications.get(application)
        if known is None:
            self._applications[application] = _Application(limits=limits)
            return
        if limits.read_at <= known.limits.read_at:
            return
        if limits.max_concurrency != known.limits.max_concurrency:
            for given in known.given.values():
                given.bucket = None
        known.limits = limits
        self._forget(known, now)

    def remaining(self, now: float, application: str) -> int | None:
        """Session starts left as far as is known, permits that Discord may not have counted yet subtracted."""
        known = self._applications.get(application)
        if known is None:
            return None
        self._expire(known, now)
        return self._left(known)

    def token_changed(self, namespace: str, gateway: str) -> None:
        """The gateway's Secret holds another token than the one that was refused."""
        self._stopped.pop((namespace, gateway), None)

    def stop(self, namespace: str, gateway: str) -> None:
        """Discord has refused the gateway's token: no more identifies with it."""
        self._stopped[namespace, gateway] = "Discord does not accept the bot token (close code 4004)."

    def stopped(self, namespace: str, gateway: str) -> str | None:
        """Why the gateway's identifies are stopped; None while they are not."""
        return self._stopped.get((namespace, gateway))

    # --- Permits -----------------------------------------------------------------------------------------------------

    def request(self, now: float, ask: Ask) -> Answer:
        """Give a permit now, or say when to ask again."""
        why = self.stopped(ask.key.namespace, ask.key.gateway)
        if why is not None:
            return Refused(reason=why)
        known = self._applications.get(ask.application)
        if known is None:
            return _wait(1.0, "Discord's session start limit was not read yet.")
        self._expire(known, now)
        if not self._end_earlier(known, ask, now):
            return _wait(LONGEST_WAIT_SECONDS, "The shard has asked again since; this request came late.")
        held = self._held_back(known, ask, now)
        if held is not None:
            known.line.pop(ask.key, None)  # who may not go keeps nobody waiting
            return held
        seconds, reason = self._until_turn(known, ask, now)
        if seconds > 0:
            return self._line_up(known, ask, now, seconds, reason)
        known.line.pop(ask.key, None)
        self._count += 1
        permit = Permit(id=f"{self._incarnation}-{self._count}")
        given = _Given(
            key=ask.key,
            pod_uid=ask.pod_uid,
            bucket=_bucket(known, ask.key),
            given=now,
            wish=ask.wish,
            attempt=ask.attempt,
        )
        given.before = known.starts.note(now, ask.key)
        known.given[permit.id] = given
        known.shares.setdefault(ask.key, deque()).append(now)
        self._owners[permit.id] = ask.application
        return permit

    def result(self, now: float, permit_id: str, result: PermitResult, *, namespace: str, gateway: str) -> bool:
        """Take note of what became of a permit; False when it is not (or no longer) known to be that gateway's."""
        known = self._applications.get(self._owners.get(permit_id, ""))
        given = None if known is None else known.given.get(permit_id)
        if known is None or given is None or (given.key.namespace, given.key.gateway) != (namespace, gateway):
            return False
        if result.outcome is PermitOutcome.TOKEN_REFUSED:
            self.stop(namespace, gateway)
        self._expire(known, now)
        if not (math.isinf(given.over) or given.assumed):
            return True
        if result.outcome is PermitOutcome.UNUSED:
            if not given.assumed:
                self._take_back(known, permit_id)
            return True
        given.sent = _arrival(given, now, result)
        given.over, given.assumed = now, False
        return True

    # --- Rules -------------------------------------------------------------------------------------------------------

    def _held_back(self, known: _Application, ask: Ask, now: float) -> PermitWait | None:
        """Reasons that have nothing to do with the bucket."""
        silent = self._started + SILENCE_SECONDS - now
        if silent > 0:
            return _wait(silent, "The identify gate has just started and waits for permits that it does not know of.")
        times = known.shares.get(ask.key)
        while times and times[0] <= now - SHARE_SECONDS:
            times.popleft()
        if times and len(times) >= SHARE:
            return _wait(
                min(LONGEST_WAIT_SECONDS, times[0] + SHARE_SECONDS - now),
                f"Shard {ask.key.shard} has used its {SHARE} session starts of this hour.",
                HeldBack.SHARE,
            )
        left, recovers = self._left(known), ask.urgency is Urgency.RECOVERY
        keep = FLOOR if recovers else max(FLOOR, ask.reserve)
        if left - 1 < keep:
            return _wait(
                LONGEST_WAIT_SECONDS,
                f"{max(0, left)} session starts are left today and {keep} are kept back.",
                HeldBack.BUDGET if recovers else HeldBack.RESERVE,
            )
        again = known.starts.repeated(now, ask.key) or not recovers
        if again and known.starts.too_many(now, left=left - FLOOR, reset_at=known.limits.reset_at):
            return _wait(
                LONGEST_WAIT_SECONDS,
                "Sessions are started again and again, so fast that the day's session starts would not last.",
                HeldBack.PACE,
            )
        return None

    def _left(self, known: _Application) -> int:
        limits = known.limits
        uncounted = sum(given.over >= limits.read_at for given in known.given.values())
        if limits.read_at < self._started + PERMIT_LIFE_SECONDS:
            # Permits of the gate before this one may have been used after the reading.
            uncounted += limits.max_concurrency
        return limits.remaining - uncounted

    def _until_turn(self, known: _Application, ask: Ask, now: float) -> tuple[float, str]:
        """Seconds until the asker's turn in its bucket (0: now), and what is waited for."""
        bucket = _bucket(known, ask.key)
        holders = [given for given in known.given.values() if given.bucket in (bucket, None)]
        free = max((given.free_at() for given in holders), default=now)
        reason = f"Identifies of bucket {bucket} are {WINDOW_SECONDS} s apart."
        if math.isinf(free):
            earliest = max(given.given + WINDOW_SECONDS for given in holders)
            free = max(earliest, now + POLL_SECONDS)
            reason = f"An IDENTIFY of bucket {bucket} is under way."
        place = known.line.get(ask.key)
        since = now if place is None or place.lost_at <= now else place.since
        mine = (ask.urgency, since, ask.key)
        ahead = sum(
            waiting.lost_at > now and _bucket(known, key) == bucket and (waiting.urgency, waiting.since, key) < mine
            for key, waiting in known.line.items()
            if key != ask.key
        )
        if ahead:
            reason = f"{ahead} shards of bucket {bucket} are first."
        return max(0.0, free - now) + ahead * WINDOW_SECONDS, reason

    def _line_up(self, known: _Application, ask: Ask, now: float, seconds: float, reason: str) -> PermitWait:
        seconds = min(seconds, LONGEST_WAIT_SECONDS)
        place = known.line.get(ask.key)
        since = now if place is None or place.lost_at <= now else place.since
        lost_at = now + 1.1 * seconds + GRACE_SECONDS
        known.line[ask.key] = _Waiting(urgency=ask.urgency, since=since, lost_at=lost_at)
        return _wait(seconds, reason)

    # --- Housekeeping ------------------------------------------------------------------------------------------------

    def _expire(self, known: _Application, now: float) -> None:
        """Take permits that were never reported as spent."""
        for given in known.given.values():
            if math.isinf(given.over) and now >= given.given + UNREPORTED_SECONDS:
                given.sent = given.given + PERMIT_LIFE_SECONDS
                given.over = given.given + UNREPORTED_SECONDS

    def _end_earlier(self, known: _Application, ask: Ask, now: float) -> bool:
        """A pod that asks for a shard again is done with the permit it had, though the report was lost or is to come.

        It has used it, and its connection is over, so that its IDENTIFY was there by now or is lost; unless it still
        asks for the same wish: then the answer was lost, or came late. False if the pod
        has asked again since *ask*: a permit for that would reach nobody, and might free one that is being used.
        """
        lost: list[str] = []
        for permit_id, given in known.given.items():
            if given.key != ask.key or given.pod_uid != ask.pod_uid:
                continue
            same = given.wish == ask.wish != ""
            if same and given.attempt >= ask.attempt:
                return False
            if not math.isinf(given.over):
                continue
            if same:
                lost.append(permit_id)
            else:
                given.sent = max(now, given.given + PERMIT_LIFE_SECONDS)
                given.over, given.assumed = now, True
        for permit_id in lost:
            self._take_back(known, permit_id)
        return True

    def _take_back(self, known: _Application, permit_id: str) -> None:
        """The permit was not used, and is as if it had not been given."""
        given = known.given[permit_id]
        self._drop(known, permit_id)
        times = known.shares.get(given.key)
        if times is not None and given.given in times:
            times.remove(given.given)
        known.starts.take_back(given.given, given.key, given.before)

    def _forget(self, known: _Application, now: float) -> None:
        """Drop what matters no more: the size is bounded by what can be given in half a minute and asked in an hour."""
        for permit_id, given in list(known.given.items()):
            if given.over < known.limits.read_at and given.free_at() <= now:
                self._drop(known, permit_id)
        known.starts.forget(now)
        known.line = {key: waiting for key, waiting in known.line.items() if waiting.lost_at > now}
        known.shares = {key: times for key, times in known.shares.items() if times and times[-1] > now - SHARE_SECONDS}

    def _drop(self, known: _Application, permit_id: str) -> None:
        known.given.pop(permit_id, None)
        self._owners.pop(permit_id, None)


def _bucket(known: _Application, key: ShardKey) -> int:
    return key.shard % max(1, known.limits.max_concurrency)


def _arrival(given: _Given, now: float, result: PermitResult) -> float:
    """When Discord had the IDENTIFY of *given*, at the latest.

    The report took time to come, so what it tells was earlier than it seems; too late is the safe side.
    """
    if result.under_way:
        return max(now, given.given + UNREPORTED_SECONDS - WINDOW_SECONDS)
    ago = result.arrived_milliseconds_ago
    if ago is not None:
        return min(now, max(given.given, now - ago / 1000))
    latest = min(now, given.given + PERMIT_LIFE_SECONDS)  # by a pod that only knows when it sent it
    ago = result.sent_milliseconds_ago
    return latest if ago is None else min(latest, max(given.given, now - ago / 1000))


def _wait(seconds: float, reason: str, held: HeldBack | None = None) -> PermitWait:
    return PermitWait(
        retry_after_milliseconds=max(1, math.ceil(seconds * 1000)),
        reason=reason,
        held=None if held is None else held.value,
    )
