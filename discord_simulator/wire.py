"""HTTP without sockets: requests and answers as values, so that one handler serves sockets and a virtual network."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import msgspec


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    method: str
    path: str
    query: Mapping[str, str] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    """Names in lower case."""
    body: bytes = b""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    status: int = 200
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)
    after_seconds: float = 0.0
    """How long the answer takes."""
    hangs: bool = False
    """The answer never comes; the connection ends when the caller gives up."""


def answer(value: object, *, status: int = 200) -> Answer:
    """An answer with *value* as JSON."""
    return Answer(status=status, body=msgspec.json.encode(value), headers={"content-type": "application/json"})


class Problem(msgspec.Struct):
    """Body of every refused control call."""

    error: str


def refused(status: int, sentence: str) -> Answer:
    return answer(Problem(error=sentence), status=status)
