"""The body and headers of one request, fixed from the moment they are made.

A batch in flight never changes: every retry sends the same bytes, so that a receiver (and later a signature) can tell a
retry from something new. Payloads are joined as Discord sent them, byte for byte, and never parsed.
"""

from __future__ import annotations

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

    id: str
    """The same on every retry; made of the first event's session and sequence, and how many follow."""
    events: Sequence[Event]
    body: bytes
    headers: Mapping[str, str]

    def __len__(self) -> int:
        return len(self.events)


def join(events: Iterable[Event]) -> bytes:
    """The body of format ``batch``: a JSON array of ``{"shard", "session", "payload"}``."""
    pieces: list[bytes] = []
    for event in events:
        session = event.session
        pieces.append(session.marked_entry if event.maybe_duplicate else session.entry)
        pieces.append(event.payload)
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
        id=f"{first.session.id}:{first.sequence}:{len(events)}",
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
