"""What a shard is connected to in tests: a sink, a gate and a log that remember."""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass, field
from typing import Any

from shard_runtime.contract import Permit, PermitResult


@dataclass
class RecordingSink:
    """:class:`~shard_runtime.shard.ShardSink` that keeps everything, and acknowledges it unless told otherwise."""

    events: list[tuple[str, int, str]] = field(default_factory=list)
    """(session, sequence, name) of each dispatch handed over."""
    payloads: list[bytes] = field(default_factory=list)
    happened: list[tuple[str, str]] = field(default_factory=list)
    """("started" | "resumed" | "lost", session)."""
    passed: list[tuple[str, int]] = field(default_factory=list)
    missing: list[tuple[str, int, int]] = field(default_factory=list)
    unreadable: int = 0
    lost: int = 0
    """Of what is missing."""
    watermarks: dict[str, int] = field(default_factory=dict)
    acknowledging: bool = True
    fail_at: set[int] = field(default_factory=set)
    """Sequences at which ``dispatch`` raises once."""
    always_fail_at: set[int] = field(default_factory=set)
    dropped: list[tuple[str, int, str]] = field(default_factory=list)

    def session_started(self, shard: int, session_id: str, payload: bytes) -> None:
        self.happened.append(("started", session_id))
        self._acknowledge(session_id, json.loads(payload)["s"])

    def session_resumed(self, shard: int, session_id: str) -> None:
        self.happened.append(("resumed", session_id))

    def session_lost(self, shard: int, session_id: str, sequence: int, cause: str) -> None:
        self.happened.append(("lost", session_id))

    def dispatch(self, shard: int, session_id: str, sequence: int, names: list[str], payloads: list[bytes]) -> None:
        sequences = range(sequence, sequence + len(payloads))
        if failing := self.fail_at.intersection(sequences):
            self.fail_at -= failing
            raise RuntimeError("this sink was told to fail")
        if self.always_fail_at.intersection(sequences):
            raise RuntimeError("this sink fails at it every time")
        self.events += [(session_id, number, name) for number, name in zip(sequences, names, strict=True)]
        self.payloads += payloads
        self._acknowledge(session_id, sequences[-1])

    def sequence_passed(self, shard: int, session_id: str, sequence: int) -> None:
        self.passed.append((session_id, sequence))
        self._acknowledge(session_id, sequence)

    def sequences_missing(
        self, shard: int, session_id: str, first: int, last: int, *, unreadable: int, lost: int
    ) -> None:
        self.missing.append((session_id, first, last))
        self.unreadable += unreadable
        self.lost += lost

    def given_up(self, shard: int, session_id: str, sequence: int, name: str) -> None:
        self.dropped.append((session_id, sequence, name))
        self._acknowledge(session_id, sequence)

    def watermark(self, session_id: str) -> int | None:
        return self.watermarks.get(session_id)

    def _acknowledge(self, session_id: str, sequence: int) -> None:
        if self.acknowledging:
            self.watermarks[session_id] = sequence


@dataclass
class ScriptedPermits:
    """:class:`~shard_runtime.shard.Permits`: gives a permit after ``delay`` seconds, of the next of ``lives``."""

    delay: float = 0.0
    lives: list[int] = field(default_factory=list)
    asked: int = 0
    given: list[str] = field(default_factory=list)
    results: list[tuple[str, PermitResult]] = field(default_factory=list)

    async def acquire(self, shard: int) -> Permit:
        self.asked += 1
        await asyncio.sleep(self.delay)
        permit = Permit(id=f"permit-{len(self.given) + 1}", life_milliseconds=self.lives.pop(0) if self.lives else 2000)
        self.given.append(permit.id)
        return permit

    async def report(self, permit: Permit, result: PermitResult) -> None:
        self.results.append((permit.id, result))

    @property
    def outcomes(self) -> list[str]:
        return [result.outcome.value for _, result in self.results]


@dataclass
class RecordingLog:
    lines: list[dict[str, Any]] = field(default_factory=list)

    def __call__(self, event: str, /, **fields: object) -> None:
        self.lines.append({"event": event, **fields})

    def named(self, event: str) -> list[dict[str, Any]]:
        return [line for line in self.lines if line["event"] == event]
