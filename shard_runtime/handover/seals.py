"""A pod's durable promise never to accept another event, with what it accepted.

Written and fsynced before the first asker is answered, so that the same answer can be given again after any restart: to
a second asker, to one whose answer was lost, to one that starts over. A restarted pod with a seal resumes its sessions
only to get again what it had accepted and not delivered: everything up to :attr:`Seal.accepted`, and nothing after.
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from shard_runtime.contract import GuildWindow, Wire, decode, encode


class Seal(Wire, frozen=True, kw_only=True):
    """What one worker persists. Times are unix milliseconds of its pod."""

    sealed_at: int
    """Every event that arrived before was accepted; see :func:`sealing_moment`."""
    by_generation: int
    """The generation that asked."""
    recorded_since: int | None
    """From when on the windows are complete; None when nothing was recorded."""
    windows: list[GuildWindow] = msgspec.field(default_factory=list)
    accepted: dict[str, int] = msgspec.field(default_factory=dict)
    """By session, the last sequence that was accepted."""

    def was_accepted(self, session: str, sequence: int) -> bool:
        """Whether a dispatch that a resume brings again was accepted before the seal, and so is to be delivered."""
        return sequence <= self.accepted.get(session, 0)


def encode_seal(seal: Seal) -> bytes:
    return encode(seal)


def decode_seal(data: bytes) -> Seal:
    """Raises ``msgspec.DecodeError`` for what is not a seal. The caller must then treat the pod as one that lost its
    state: sealed, without windows."""
    return decode(data, Seal)


def sealing_moment(now: int, last_heard: Iterable[int | None]) -> int:
    """The ``sealed_at`` of a pod that stops accepting *now*.

    *last_heard*: for each shard whose connection is down, resuming or silent, up to when everything had arrived, None
    for one of which that is not known; the others are left out. What Discord sent since then never arrived, and the new
    side must not take it for accepted; an early moment costs marked duplicates, a late one loses events.
    """
    return min([now, *(0 if heard is None else heard for heard in last_heard)])
