"""The body and headers of one request, fixed from the moment they are made.

A batch in flight never changes: every retry sends the same id and bytes, so that a receiver can tell a retry from
something new. Payloads are joined as Discord sent them, byte for byte, and never parsed.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from shard_runtime.delivery.events import Event


@dataclass(frozen=True, slots=True)
class Origin:
    """Who sends: the values of ``X-Gateway-Name``, ``X-Gateway-Generation`` and ``X-Gateway-Shards`` (the count)."""

    gateway: str
    generation: int
    shards: int

    def headers(self) -> dict[str, str]:
        return {
            "Content-Type": "application/json",
            "User-Agent": "discord-gateway-operator (shard_runtime)",
            "X-Gateway-Name": self.gateway,
            "X-Gateway-Generation": str(self.generation),
            "X-Gateway-Shards": str(self.shards),
        }


@dataclass(frozen=True, slots=True)
class Batch:
    """What one request carries."""

    events: Sequence[Event]
    body: bytes
    headers: Mapping[str, str]

    def __len__(self) -> int:
        return len(self.events)

    @property
    def id(self) -> str:
        """The same on every retry, and the same after a restart only for the same events.

        Receivers drop a message whose id they have seen, so another selection of events must have another id, also when
        it begins with the same one and is as long.
        """
        first = self.events[0]
        if len(self.events) == 1:
            return f"{first.session.id}:{first.sequence}"
        digest = hashlib.blake2b(digest_size=8)
        for event in self.events:
            digest.update(f"{event.session.id}:{event.sequence} ".encode())
        return f"{first.session.id}:{first.sequence}:{len(self.events)}:{digest.hexdigest()}"


def join(events: Iterable[Event]) -> bytes:
    """The body of format ``batch``: a JSON array of ``{"shard", "session", "payload"}``."""
    pieces = [
        piece
        for event in events
        for piece in (
            event.session.marked_entry if event.maybe_duplicate else event.session.entry,
            event.payload,
        )
    ]
    pieces[0] = b"[" + pieces[0][2:]  # an entry begins with the end of the one before
    pieces.append(b"}]")
    return b"".join(pieces)


def make_batch(events: Sequence[Event], *, headers: Mapping[str, str], single: bool) -> Batch:
    """A batch of *events* (at least one; exactly one for format ``single``).

    In format ``single`` the body is the payload itself, and what an entry says beside it goes into headers.
    """
    first = events[0]
    own = {**headers, "X-Gateway-Events": str(len(events))}
    if single:
        own["X-Gateway-Shard"] = str(first.session.shard)
        own["X-Gateway-Session"] = first.session.id
        if first.maybe_duplicate:
            own["X-Gateway-Maybe-Duplicate"] = "true"
    return Batch(
        events=events,
        body=first.payload if single else join(events),
        headers=own,
    )


def halve(batch: Batch, *, headers: Mapping[str, str]) -> tuple[Batch, Batch]:
    """Two batches for one of at least two events, in order."""
    middle = len(batch) // 2
    return (
        make_batch(batch.events[:middle], headers=headers, single=False),
        make_batch(batch.events[middle:], headers=headers, single=False),
    )
