"""What every hook of a pod gets first."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from types import SimpleNamespace


@dataclass(frozen=True, slots=True, kw_only=True)
class HookContext:
    """Where a hook runs. There is one for each process of a pod: for its workers, and for ``log`` in the supervisor."""

    namespace: str
    gateway: str
    generation: int
    shard_count: int
    """Of the generation: the number that Discord routes by."""
    pod: int
    worker: int | None = None
    """None in the supervisor."""
    shards: tuple[int, ...] = ()
    """Ids of the worker's shards."""
    log: logging.Logger
    """Writes to the pod's log; secrets are taken out."""
    state: SimpleNamespace = field(default_factory=SimpleNamespace)
    """Free for hooks, to keep something from one call to the next."""
