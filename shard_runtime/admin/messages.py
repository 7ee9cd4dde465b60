"""Requests and answers between the HTTP server and what it serves."""

from __future__ import annotations

import hmac
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from shard_runtime import contract

JSON = "application/json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Head:
    """A request without its body."""

    method: str
    path: str
    """Without the query, which no call of ours has."""
    headers: Mapping[str, str]
    """Names in lower case; repeated ones joined with a comma."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    status: int
    body: bytes = b""
    content_type: str = JSON
    headers: Mapping[str, str] = field(default_factory=dict)


class Application(Protocol):
    """What a server serves."""

    def refuse(self, head: Head) -> Answer | None:
        """The refusal of a request that is not worth reading further (no such path, no leave), else None."""
        ...

    async def respond(self, head: Head, body: bytes) -> Answer:
        """Answer a request that was not refused."""
        ...


def problem(status: int, sentence: str, *, headers: Mapping[str, str] | None = None) -> Answer:
    """A refusal with its sentence."""
    return Answer(status=status, body=contract.encode(contract.Problem(error=sentence)), headers=headers or {})


def answer(message: contract.Wire, *, status: int = 200) -> Answer:
    return Answer(status=status, body=contract.encode(message))


def bearer_is(head: Head, token: str | None) -> bool:
    """Whether the request carries *token*, compared in constant time; never true for an absent token."""
    if not token:
        return False
    scheme, _, given = head.headers.get("authorization", "").partition(" ")
    return scheme.lower() == "bearer" and hmac.compare_digest(given.strip().encode(), token.encode())
