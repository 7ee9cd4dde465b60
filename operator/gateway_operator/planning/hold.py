"""Why something that is wanted is not done now: one word for programs, one sentence for people."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Hold:
    """A reason to wait."""

    reason: str
    message: str
    refresh: bool = False
    """``GET /gateway/bot`` must be read anew before it can be decided."""
