"""What the receiver has acknowledged, in memory as columns and in a log that survives the process.

One line per acknowledged request, written before the answer: ``[arrival, generation, sessions, names, rows, digests]``
with a row ``[session, sequence, shard, name, marked]`` per payload, where session and name are indexes into the line's
own tables, and a digest per payload where the receiver makes them.
A line that was cut off by a crash is the last one, and its request was never answered, so it is skipped.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import msgspec


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """One payload of an acknowledged request."""

    session: str
    sequence: int
    """0 for a payload without ``s``."""
    shard: int
    name: str
    marked: bool
    """Delivered as ``maybeDuplicate``."""
    digest: int | None = None
    """Of ``d``, where the receiver makes them."""


class _Line(msgspec.Struct, array_like=True):
    at: int
    generation: str
    sessions: list[str]
    names: list[str]
    rows: list[tuple[int, int, int, int, int]]
    digests: list[int] = []


class Received(msgspec.Struct, rename="camel", kw_only=True):
    """Columns of all acknowledged payloads in order of arrival (``GET /control/received?all=1``)."""

    sessions: list[str]
    names: list[str]
    generations: list[str]
    session: list[int]
    """Indexes into ``sessions``; ``name`` and ``generation`` likewise."""
    sequence: list[int]
    shard: list[int]
    name: list[int]
    generation: list[int]
    marked: list[int]
    """Positions of the payloads that came as ``maybeDuplicate``."""
    at: list[int]
    """Unix milliseconds."""
    digests: list[int] = []
    """Of the bodies; empty unless the receiver makes them."""


class Totals(msgspec.Struct, rename="camel", kw_only=True):
    requests: int = 0
    """Acknowledged ones, over all restarts of the receiver."""
    events: int = 0
    """Acknowledged payloads, every delivery counted."""
    distinct: int = 0
    """By (session, sequence)."""
    marked: int = 0
    first_at: int | None = None
    last_at: int | None = None


class Receipts:
    """*append* makes one line durable against the end of the process, or raises ``OSError``."""

    def __init__(self, *, append: Callable[[bytes], None]) -> None:
        self._append = append
        self._sessions: dict[str, int] = {}
        self._names: dict[str, int] = {}
        self._generations: dict[str, int] = {}
        self._session = array("I")
        self._sequence = array("I")
        self._shard = array("H")
        self._name = array("H")
        self._generation = array("H")
        self._marked = array("I")
        self._at = array("Q")
        self._digests = array("Q")
        self._seen: set[tuple[int, int]] = set()
        self.totals = Totals()

    def record(self, deliveries: Iterable[Delivery], *, generation: str, at: int) -> None:
        """Log one request's payloads, then remember them. Raises ``OSError``; then nothing was remembered."""
        deliveries = list(deliveries)
        sessions: dict[str, int] = {}
        names: dict[str, int] = {}
        rows = [
            (
                sessions.setdefault(delivery.session, len(sessions)),
                delivery.sequence,
                delivery.shard,
                names.setdefault(delivery.name, len(names)),
                int(delivery.marked),
            )
            for delivery in deliveries
        ]
        digests = [delivery.digest for delivery in deliveries if delivery.digest is not None]
        line = _Line(
            at=at, generation=generation, sessions=list(sessions), names=list(names), rows=rows, digests=digests
        )
        self._append(msgspec.json.encode(line) + b"\n")
        self._remember(line)

    def read_back(self, lines: Iterable[bytes]) -> None:
        """Take in what an earlier process has logged; a torn line is skipped."""
        for raw in lines:
            try:
                line = msgspec.json.decode(raw, type=_Line)
            except msgspec.DecodeError:
                continue
            self._remember(line)

    def _remember(self, line: _Line) -> None:
        sessions = [self._sessions.setdefault(session, len(self._sessions)) for session in line.sessions]
        names = [self._names.setdefault(name, len(self._names)) for name in line.names]
        generation = self._generations.setdefault(line.generation, len(self._generations))
        for session, sequence, shard, name, marked in line.rows:
            if marked:
                self._marked.append(len(self._session))
            self._session.append(sessions[session])
            self._sequence.append(sequence)
            self._shard.append(shard)
            self._name.append(names[name])
            self._generation.append(generation)
            self._at.append(line.at)
            self._seen.add((sessions[session], sequence))
        self._digests.extend(line.digests)
        totals = self.totals
        totals.requests += 1
        totals.events += len(line.rows)
        totals.distinct = len(self._seen)
        totals.marked = len(self._marked)
        totals.first_at = line.at if totals.first_at is None else totals.first_at
        totals.last_at = line.at

    def received(self) -> Received:
        return Received(
            sessions=list(self._sessions),
            names=list(self._names),
            generations=list(self._generations),
            session=self._session.tolist(),
            sequence=self._sequence.tolist(),
            shard=self._shard.tolist(),
            name=self._name.tolist(),
            generation=self._generation.tolist(),
            marked=self._marked.tolist(),
            at=self._at.tolist(),
            digests=self._digests.tolist(),
        )
