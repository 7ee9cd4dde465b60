"""What follows from each way a connection can end.

A session outlives its connection, so the question after every close is the same: resume it, start a new one, or stop
and tell a person. Discord documents the codes and whether to reconnect; whether the session survived is graded in
docs/protocol.md, and where the grades disagree we try RESUME, which is free, before IDENTIFY, which is rationed: where
the session is gone after all, Discord answers RESUME with an invalid session, at the cost of one round trip.

https://discord.com/developers/docs/topics/opcodes-and-status-codes#gateway-gateway-close-event-codes
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from typing import Final

from shard_runtime.protocol.intents import privileged_names

KEEP_SESSION: Final = 4000
"""Sent by us to end a connection and keep its session. Never 1000 or 1001: those end the session at once."""

END_SESSION: Final = 1000
"""Sent by us to end a connection and its session, so that Discord keeps no replay buffer for it."""


class After(enum.Enum):
    RESUME = "resume"
    IDENTIFY = "identify"
    """The session is gone; a new one is needed."""
    STOP = "stop"
    """No further try may succeed, and each costs trust: a person has to change something."""


AFTER_CLOSE: Final[Mapping[int | None, After]] = {
    None: After.RESUME,  # dropped without a code
    1000: After.RESUME,  # seen from Discord without a reason; whether the session survives is undocumented
    1001: After.RESUME,  # going away
    4000: After.RESUME,  # unknown error
    4001: After.RESUME,  # unknown opcode, or a payload that does not fit it
    4002: After.RESUME,  # decode error, or more than 4096 bytes sent
    4003: After.IDENTIFY,  # sent before identifying, or the session was invalidated
    4004: After.STOP,  # wrong token
    4005: After.RESUME,  # a second IDENTIFY on one connection
    4007: After.IDENTIFY,  # our sequence was refused
    4008: After.RESUME,  # more than 120 payloads in 60 s
    4009: After.IDENTIFY,  # the session timed out
    4010: After.STOP,  # invalid shard
    4011: After.STOP,  # more than 2,500 guilds on the shard
    4012: After.STOP,  # invalid API version
    4013: After.STOP,  # invalid intents
    4014: After.STOP,  # intents that are not approved
}
"""Codes that are not in the table are resumed too."""

TOKEN_REFUSED: Final = 4004


def after_close(code: int | None) -> After:
    """What to do after Discord closed with *code* (None: the connection dropped without one)."""
    return AFTER_CLOSE.get(code, After.RESUME)


def problem(code: int, *, shard: int, shard_count: int, intents: int) -> str:
    """One sentence for a person about a close code after which no further try is made."""
    if code == 4004:
        return (
            "Discord refused the bot token (close code 4004). Put a valid token into the Secret of spec.tokenSecretRef."
        )
    if code == 4010:
        return (
            f"Discord refused shard {shard} of {shard_count} (close code 4010). Large bots need a multiple of the "
            "shard count that Discord assigned; set spec.shards.count to one, or to 0."
        )
    if code == 4011:
        return (
            f"Shard {shard} of {shard_count} would hold more than 2,500 guilds (close code 4011). "
            "Raise spec.shards.count, or set it to 0 for Discord's recommendation."
        )
    if code == 4012:
        return "Discord refused the API version (close code 4012). Set spec.apiURL to one that ends in /api/v10."
    if code == 4013:
        return f"Discord refused the intents {intents} as invalid (close code 4013). Correct spec.intents."
    if code == 4014:
        asked = ", ".join(privileged_names(intents)) or "one of spec.intents"
        return (
            f"Discord does not allow this bot all of its intents (close code 4014). Enable {asked} in the developer "
            "portal, or remove what is not enabled there from spec.intents."
        )
    return f"Discord closed shard {shard} with code {code}; no further try is made."
