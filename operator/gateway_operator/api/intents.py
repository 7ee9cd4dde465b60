"""Discord's intents by name.

Bits from Discord's page "Gateway Events", section "Gateway Intents". Bits 17 to 19, 22 and 23 are not defined and are
answered with close code 4013, so intents are written by name and never as a number.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from typing import Final

INTENTS: Final[Mapping[str, int]] = {
    "GUILDS": 1 << 0,
    "GUILD_MEMBERS": 1 << 1,  # privileged
    "GUILD_MODERATION": 1 << 2,
    "GUILD_EXPRESSIONS": 1 << 3,
    "GUILD_INTEGRATIONS": 1 << 4,
    "GUILD_WEBHOOKS": 1 << 5,
    "GUILD_INVITES": 1 << 6,
    "GUILD_VOICE_STATES": 1 << 7,
    "GUILD_PRESENCES": 1 << 8,  # privileged
    "GUILD_MESSAGES": 1 << 9,
    "GUILD_MESSAGE_REACTIONS": 1 << 10,
    "GUILD_MESSAGE_TYPING": 1 << 11,
    "DIRECT_MESSAGES": 1 << 12,
    "DIRECT_MESSAGE_REACTIONS": 1 << 13,
    "DIRECT_MESSAGE_TYPING": 1 << 14,
    "MESSAGE_CONTENT": 1 << 15,  # privileged
    "GUILD_SCHEDULED_EVENTS": 1 << 16,
    "AUTO_MODERATION_CONFIGURATION": 1 << 20,
    "AUTO_MODERATION_EXECUTION": 1 << 21,
    "GUILD_MESSAGE_POLLS": 1 << 24,
    "DIRECT_MESSAGE_POLLS": 1 << 25,
}


def intent_bits(names: Iterable[str]) -> int:
    """The number that IDENTIFY carries for *names*. Raises ``KeyError`` for a name that is not an intent."""
    bits = 0
    for name in names:
        bits |= INTENTS[name]
    return bits


def nearest(word: str, candidates: Iterable[str]) -> str | None:
    """The one of *candidates* that *word* was most likely meant to be, if any is near."""
    by_folded = {candidate.casefold(): candidate for candidate in candidates}
    found = difflib.get_close_matches(word.casefold(), by_folded, n=1, cutoff=0.6)
    return by_folded[found[0]] if found else None


def did_you_mean(word: str, candidates: Iterable[str]) -> str:
    """End of a sentence about *word*: ``"; did you mean GUILD_MESSAGES?"``, or a full stop where nothing is near."""
    near = nearest(word, candidates)
    return f"; did you mean {near}?" if near else "."
