"""What a bug planted on purpose is."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from unittest.mock import patch

Change = tuple[object, str, object]
"""An owner, the name of its attribute, and what is there instead."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Planted:
    what: str
    """What the bug does, as a sentence."""
    breaks: str
    """Name of the promise that the seeds' runs break."""
    seeds: tuple[int, ...]
    """Runs that catch it. One is enough; there are more since a change of the product makes a seed another run."""
    changes: Callable[[], Iterable[Change]]

    @contextmanager
    def plant(self) -> Iterator[None]:
        with ExitStack() as stack:
            for owner, name, instead in self.changes():
                if isinstance(owner, dict):
                    stack.enter_context(patch.dict(owner, {name: instead}))
                else:
                    stack.enter_context(patch.object(owner, name, instead))
            yield
