"""How long a session can be away before Discord has forgotten what it missed.

Discord replays a bounded number of a session's last events, so a pod may only be restarted while that number covers the
time a restart takes. Source: docs/protocol.md, section 5, "Resume window".
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

from shard_runtime.contract import ShardStatus

LEAST_EVENTS: Final = 100
MOST_EVENTS: Final = 3500
EVENTS_PER_GUILD: Final = 75

RESTART_SECONDS: Final = 5.0
"""What a deleted pod takes until its sessions are resumed; 1.4 to 2 s were measured on a node that has the image."""


def replay_events(guilds: int) -> int:
    """How many events Discord keeps for a session with so many guilds."""
    return max(LEAST_EVENTS, min(MOST_EVENTS, guilds * EVENTS_PER_GUILD))


def hastiest(shards: Iterable[ShardStatus], rates: Mapping[int, float]) -> tuple[int, float] | None:
    """The shard whose events Discord forgets first, and after how many seconds; None while a rate is not known.

    *rates* are events per second by shard. A shard without a session has nothing to forget.
    """
    found = (-1, float("inf"))
    for shard in shards:
        if shard.sequence is None:
            continue
        rate = rates.get(shard.id)
        if rate is None:
            return None
        seconds = replay_events(shard.guilds) / rate if rate > 0 else float("inf")
        if seconds < found[1]:
            found = (shard.id, seconds)
    return found
