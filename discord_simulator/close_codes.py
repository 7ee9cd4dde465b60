"""Close codes that the server sends, and whether the session survives them.

Source: Discord, "Gateway Close Event Codes". Whether a session is still there afterwards is graded in docs/protocol.md;
the simulator keeps it wherever Discord's page says that a client may reconnect and does not speak of a new session.
"""

from __future__ import annotations

import enum
from typing import Final


class CloseCode(enum.IntEnum):
    UNKNOWN_ERROR = 4000
    UNKNOWN_OPCODE = 4001
    DECODE_ERROR = 4002
    NOT_AUTHENTICATED = 4003
    AUTHENTICATION_FAILED = 4004
    ALREADY_AUTHENTICATED = 4005
    INVALID_SEQUENCE = 4007
    RATE_LIMITED = 4008
    SESSION_TIMED_OUT = 4009
    INVALID_SHARD = 4010
    SHARDING_REQUIRED = 4011
    INVALID_API_VERSION = 4012
    INVALID_INTENTS = 4013
    DISALLOWED_INTENTS = 4014


ENDS_SESSION: Final = frozenset(
    {
        CloseCode.NOT_AUTHENTICATED,
        CloseCode.AUTHENTICATION_FAILED,
        CloseCode.INVALID_SEQUENCE,
        CloseCode.SESSION_TIMED_OUT,
        CloseCode.INVALID_SHARD,
        CloseCode.SHARDING_REQUIRED,
        CloseCode.INVALID_API_VERSION,
        CloseCode.INVALID_INTENTS,
        CloseCode.DISALLOWED_INTENTS,
    }
)
"""Sent by the server, these end the connection's session too."""

CLIENT_ENDS_SESSION: Final = frozenset({1000, 1001})
"""Sent by the client, these end the session at once; every other code, or none, keeps it."""
