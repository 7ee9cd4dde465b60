"""Discord's gateway opcodes.

https://discord.com/developers/docs/topics/opcodes-and-status-codes#gateway-gateway-opcodes
"""

from __future__ import annotations

import enum


class Opcode(enum.IntEnum):
    DISPATCH = 0
    HEARTBEAT = 1
    """Both ways: Discord may ask for a beat out of turn."""
    IDENTIFY = 2
    PRESENCE_UPDATE = 3
    VOICE_STATE_UPDATE = 4
    RESUME = 6
    RECONNECT = 7
    """Resume on a new connection; may come before or instead of HELLO."""
    REQUEST_GUILD_MEMBERS = 8
    INVALID_SESSION = 9
    HELLO = 10
    HEARTBEAT_ACK = 11
    REQUEST_SOUNDBOARD_SOUNDS = 31
    REQUEST_CHANNEL_INFO = 43
