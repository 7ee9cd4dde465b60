"""Pods, and single sessions, that a run may give up though Discord does not end them.

A pod that is deleted loses its disk, and leaves its sessions with the operator and two siblings. What befalls those, or
the links to them, at that time may keep the next pod of its name from having them. And while it takes over from the
generation before, what it held is gone with the disk, so its sessions start anew on purpose; nothing is lost by that.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from system.kinds import ENDS_PROCESSES, KEEPS_CHECKPOINTS_FROM_OTHERS, LEAVES_SESSIONS_ALONE, TAKES_NO_WRITES
from system.pod_names import generation_of
from virtual.clock import VIRTUAL_EPOCH_MILLISECONDS

from discord_simulator.truth import SessionTruth

BEFORE_SECONDS: Final = 30.0
"""For which what had ended before the deletion may have an effect yet: reconnects, crash backoff."""
AFTER_SECONDS: Final = 90.0
"""From the end of a pod until the next one of its name has asked for what it left."""
SAVED_SECONDS: Final = 2.0
"""From when a disk takes writes again until each session of its pod is on it."""
REACTION_SECONDS: Final = 0.6
"""From a deletion until the pod is told."""


@dataclass(frozen=True, slots=True)
class Struck:
    """A step that was carried out; times are the loop's."""

    act: str
    began: float
    ended: float


@dataclass(frozen=True, slots=True)
class Wiped:
    """A pod that was deleted with its disk."""

    pod: str
    told_at: float
    at: float

    @property
    def generation(self) -> int:
        return generation_of(self.pod)


def begun_anew(wiped: Iterable[Wiped], settled_at: Mapping[int, float]) -> frozenset[str]:
    """Names of pods that were deleted before their generation had taken over for good.

    *settled_at*: by generation, when it had, on the loop's clock.
    """
    return frozenset(pod.pod for pod in wiped if pod.told_at < settled_at.get(pod.generation, math.inf))


def forgiven(wiped: Iterable[Wiped], struck: Sequence[Struck], settled_at: Mapping[int, float]) -> frozenset[str]:
    """Names of pods that were deleted, not for being of a generation that is over, while something kept their
    checkpoints from others."""
    return frozenset(
        pod.pod
        for pod in wiped
        if pod.told_at < min((at for number, at in settled_at.items() if number > pod.generation), default=math.inf)
        and any(
            step.act in KEEPS_CHECKPOINTS_FROM_OTHERS
            and step.began <= pod.at + AFTER_SECONDS
            and step.ended >= pod.told_at - BEFORE_SECONDS
            for step in _without_its_own(pod, struck)
        )
    )


def expired(sessions: Iterable[SessionTruth], struck: Sequence[Struck], *, expiry_seconds: float) -> frozenset[str]:
    """Ids of *sessions* that expired, while something that befell pods or their ways to Discord may have kept theirs
    from connecting."""
    away = [step for step in struck if step.act not in LEAVES_SESSIONS_ALONE]
    found: set[str] = set()
    for session in sessions:
        if session.end == "expired" and session.ended_at is not None:
            ended = (session.ended_at - VIRTUAL_EPOCH_MILLISECONDS) / 1000
            since = ended - expiry_seconds - BEFORE_SECONDS
            if any(step.began <= ended and step.ended >= since for step in away):
                found.add(session.id)
    return frozenset(found)


def unsaved(sessions: Iterable[SessionTruth], struck: Sequence[Struck]) -> frozenset[str]:
    """Ids of *sessions* that began while a disk took nothing, and whose process may have ended before it did again: a
    pod that starts anew knows nothing of them."""
    disks = [step for step in struck if step.act in TAKES_NO_WRITES]
    ends = [step for step in struck if step.act in ENDS_PROCESSES]
    found: set[str] = set()
    for session in sessions:
        began = (session.created_at - VIRTUAL_EPOCH_MILLISECONDS) / 1000
        until = max((disk.ended + SAVED_SECONDS for disk in disks if disk.began <= began <= disk.ended), default=-1.0)
        if any(end.ended >= began and end.began <= until for end in ends):
            found.add(session.id)
    return frozenset(found)


def _without_its_own(pod: Wiped, struck: Sequence[Struck]) -> Sequence[Struck]:
    own = [step for step in struck if step.act == "delete_pod" and 0 <= pod.told_at - step.began <= REACTION_SECONDS]
    return [step for step in struck if step is not max(own, key=lambda step: step.began)] if own else struck
