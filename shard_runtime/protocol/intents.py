"""The intents that Discord grants only on request, to name them when it refuses.

https://discord.com/developers/docs/events/gateway#privileged-intents
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

PRIVILEGED: Final[Mapping[str, int]] = {
    "GUILD_MEMBERS": 1 << 1,
    "GUILD_PRESENCES": 1 << 8,
    "MESSAGE_CONTENT": 1 << 15,
}


def privileged_names(intents: int) -> list[str]:
    """Names of the privileged intents among *intents* (Discord's bits)."""
    return [name for name, bit in PRIVILEGED.items() if intents & bit]
