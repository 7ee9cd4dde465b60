"""The body and headers of one request, fixed from the moment they are made.

A batch in flight never changes: every retry sends the same id and bytes, so that a receiver can tell a retry from
something new. Payloads are joined as Discord sent them, byte for byte, and never parsed.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from shard_runtime.delivery.events import Event, Run


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


class Batch:
    """What one request carries: *events*, or *runs* that become events when somebody asks for them."""

    __slots__ = ("_count", "_events", "body", "headers", "runs")

    def __init__(
        self,
        *,
        body: bytes,
        headers: Mapping[str, str],
        events: Sequence[Event] | None = None,
        runs: Sequence[Run] = (),
    ) -> None:
        self.body = body
        self.headers = headers
        self._events = events
        self.runs: Sequence[Run] = runs
        """Empty where the events are known one by one."""
        self._count = sum([run.count for run in runs]) if events is None else len(events)

    def __len__(self) -> int:
        return self._count

    @property
    def events(self) -> Sequence[Event]:
        if self._events is None:
            self._events = [event for run in self.runs for event in run.events()]
            self.runs = ()
        return self._events

    @property
    def accepted_at(self) -> float:
        """Of the first event."""
        return self.runs[0].accepted_at if self.runs else self.events[0].accepted_at

    @property
    def id(self) -> str:
        """The same on every retry, and the same after a restart only for the same events.

        Receivers drop a message whose id they have seen, so another selection of events must have another id, also when
        it begins with the same one and is as long.
        """
        if self.runs:
            keys = [f"{run.session.id}:{sequence}" for run in self.runs for sequence in run.sequences]
        else:
            keys = [f"{event.session.id}:{event.sequence}" for event in self.events]
        if len(keys) == 1:
            return keys[0]
        digest = hashlib.blake2b("".join([f"{key} " for key in keys]).encode(), digest_size=8)
        return f"{keys[0]}:{len(keys)}:{digest.hexdigest()}"


def join(pieces: list[bytes]) -> bytes:
    """The body of format ``batch``, a JSON array of ``{"shard", "session", "payload"}``, of entries and payloads."""
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
        return Batch(body=first.payload, headers=own, events=events)
    pieces: list[bytes] = []
    for event in events:
        session = event.session
        pieces.append(session.marked_entry if event.maybe_duplicate else session.entry)
        pieces.append(event.payload)
    return Batch(body=join(pieces), headers=own, events=events)


def make_batch_of_runs(runs: Sequence[Run], *, headers: Mapping[str, str]) -> Batch:
    """A batch of the events of *runs*, at least one, in format ``batch``."""
    count = sum([run.count for run in runs])
    pieces = [b""] * (2 * count)
    at = 0
    for run in runs:
        if run.count == 1:
            pieces[at] = run.session.entry
            pieces[at + 1] = run.payloads[0]
            at += 2
            continue
        after = at + 2 * run.count
        pieces[at:after:2] = [run.session.entry] * run.count
        pieces[at + 1 : after : 2] = run.payloads
        at = after
    return Batch(body=join(pieces), headers={**headers, "X-Gateway-Events": str(count)}, runs=runs)


def halve(batch: Batch, *, headers: Mapping[str, str]) -> tuple[Batch, Batch]:
    """Two batches for one of at least two events, in order."""
    middle = len(batch) // 2
    return (
        make_batch(batch.events[:middle], headers=headers, single=False),
        make_batch(batch.events[middle:], headers=headers, single=False),
    )
