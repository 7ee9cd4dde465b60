"""All hooks, as data; docs/handlers.md is checked against this table.

Every hook is ``async`` and is called with a context, the default, and what the default takes. ``followed`` are those on
which a session's life depends: whatever the hook does, the default runs if the hook has not run it.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final


class Side(enum.Enum):
    RUNTIME = "shard_runtime.hooks"
    OPERATOR = "gateway_operator.hooks"

    @property
    def group(self) -> str:
        """The group of entry points that hooks of this side are installed under."""
        return self.value


@dataclass(frozen=True, slots=True)
class Hook:
    name: str
    side: Side
    takes: tuple[str, ...]
    """Parameters after context and default."""
    seconds: float | None
    """How long a call may take until the default takes its place; None: as long as it likes."""
    followed: bool = False
    """The default runs in any case."""
    repeatable: bool = False
    """The default may be called more than once."""

    @property
    def signature(self) -> str:
        """How it is written."""
        return f"async def {self.name}({', '.join(('context', 'default', *self.takes))})"


HOOKS: Final[Mapping[str, Hook]] = {
    hook.name: hook
    for hook in (
        Hook("start_gateway", Side.RUNTIME, (), 30.0, followed=True),
        Hook("spawn_shards", Side.RUNTIME, ("shards",), 60.0, followed=True, repeatable=True),
        Hook("create_shard", Side.RUNTIME, ("shard",), 10.0),
        Hook("request_identify", Side.RUNTIME, ("shard",), None),
        # A permit is used within 2 s, so the hook may have one of them.
        Hook("identify", Side.RUNTIME, ("shard", "payload"), 1.0, followed=True),
        Hook("heartbeat", Side.RUNTIME, ("shard", "sequence"), 1.0, followed=True),
        Hook("handle_payload", Side.RUNTIME, ("event",), 5.0),
        Hook("log", Side.RUNTIME, ("line",), 5.0),
        Hook("should_reshard", Side.OPERATOR, ("gateway",), 5.0),
        Hook("reshard", Side.OPERATOR, ("gateway", "plan"), 30.0),
    )
}
