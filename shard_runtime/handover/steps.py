"""What a worker has to do after each call of its cutover."""

from __future__ import annotations

from typing import NamedTuple

from shard_runtime.handover.holding import Held
from shard_runtime.handover.placed import Placed


class Deliver(NamedTuple):
    event: Held
    maybe_duplicate: bool


class Step:
    """What follows from a call. Delivered in this order; a guild's events are in the order in which they arrived."""

    __slots__ = ("deliver", "overflowed", "placed", "skip")

    def __init__(self) -> None:
        self.deliver: list[Deliver] = []
        self.skip: list[Held] = []
        """Trimmed, accepted by the old side, or never given to it and too old: their sequences are finished."""
        self.overflowed: list[Held] = []
        """Given up because the bound on what is held was reached; finished too, to be counted as dropped."""

        self.placed: dict[int, list[Placed]] = {}
        """By old pod, streams whose place was found: to be written down before anything is delivered."""

    def extend(self, other: Step) -> None:
        self.deliver += other.deliver
        self.skip += other.skip
        self.overflowed += other.overflowed
        for pod, found in other.placed.items():
            self.placed.setdefault(pod, []).extend(found)
