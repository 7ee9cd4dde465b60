"""IDENTIFYs as Discord got them: whether each had a permit, and whether one that came too close to another is to be
blamed on the gate.

The gate is told when Discord had an IDENTIFY, and until then its bucket is taken. It cannot be told by a process that
is gone while the network still holds its frame up, and a gate that starts anew knows nothing of what was sent before.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from shard_runtime.contract import PERMIT_LIFE_SECONDS

SLACK_SECONDS: Final = 0.1
"""By which clocks run apart in the life of a permit, at most."""
HELD_UP_SECONDS: Final = 0.3
"""A frame that takes longer was held up: the gate's window is so much longer than Discord's."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Identify:
    bucket: int
    shard: tuple[int, int]
    """Generation and number."""
    pod: str
    sent_at: float
    arrived_at: float
    orphaned: bool
    """The process that sent it was gone when it arrived."""

    def is_beyond_the_gate(self, gates: list[float]) -> bool:
        """Whether the gate could not know that it was still to come; *gates* are the moments at which gates began."""
        held_up = self.arrived_at - self.sent_at > HELD_UP_SECONDS
        return held_up and (self.orphaned or any(self.sent_at < began for began in gates))


class Identifies:
    """All of a run, and those of them that came too early."""

    def __init__(self) -> None:
        self._last: dict[int, Identify] = {}
        self._permits: dict[tuple[int, int], float] = {}
        """By generation and shard, when its last permit was given, on the loop's clock."""
        self.too_close: list[tuple[Identify, Identify]] = []
        """Each that was refused for its bucket, behind the one that had taken it."""
        self.without_permit: list[Identify] = []
        """Each that was sent without one, or when its life was over."""

    def permitted(self, generation: int, shard: int, now: float) -> None:
        """The gate gave a permit."""
        self._permits[generation, shard] = now

    def note(self, identify: Identify, *, refused: bool) -> None:
        given = self._permits.get(identify.shard)
        if given is None or identify.sent_at - given > PERMIT_LIFE_SECONDS + SLACK_SECONDS:
            self.without_permit.append(identify)
        before = self._last.get(identify.bucket)
        if refused and before is not None:
            self.too_close.append((before, identify))
        if not refused:
            self._last[identify.bucket] = identify
