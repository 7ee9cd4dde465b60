"""Everything about the simulated Discord that a test may want otherwise, with Discord's own values as defaults.

Facts and their grades: docs/protocol.md. Sizes are in bytes, times in seconds unless a name says otherwise.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

from discord_simulator.intents import PRIVILEGED

DEFAULT_APPLICATION_ID: Final = 1100000000000000000
DEFAULT_TOKEN: Final = "MTEwMDAwMDAwMDAwMDAwMDAwMA.simulated.token"
"""Shaped like Discord's: the first part is the application id in base64. No secret."""

API_VERSIONS: Final = frozenset({"6", "7", "8", "9", "10"})
"""Versions whose gateway answers; every other ``v`` closes with 4012 (Discord, "API Versioning")."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What one simulated application and its gateway are like."""

    token: str = DEFAULT_TOKEN
    application_id: int = DEFAULT_APPLICATION_ID
    guilds: int = 20

    max_concurrency: int = 16
    bucket_seconds: float = 5.0
    """One IDENTIFY per bucket (``shard_id % max_concurrency``) in this time."""
    identify_total: int = 1000
    identify_window_seconds: float = 86_400.0
    refused_identifies_count: bool = False
    """Whether an IDENTIFY answered by op 9 takes from the budget; undocumented, staff spoke of successful ones."""
    recommended_shards: int | None = None
    """None: one per 1000 guilds, at least one."""
    shard_multiple: int = 1
    """Shard counts that are not a multiple of it close with 4010, as for very large bots."""
    max_guilds_per_session: int = 2500
    close_outgrown_sessions: bool = False
    """Whether a session that grows past it while it runs is closed with 4011; at Discord known only of IDENTIFY."""
    privileged_intents: int = PRIVILEGED
    """Privileged intents that the application was granted; others close with 4014."""

    heartbeat_interval_milliseconds: int = 41_250
    heartbeat_tolerance: float = 2.0
    """Intervals without a heartbeat after which the server closes; a first beat may come a full interval late."""
    heartbeat_close_code: int = 1000
    """What reports saw the server close a silent connection with. The session is kept."""
    heartbeat_request_seconds: float = 0.0
    """Mean time between heartbeats that the server asks for (op 1), at random moments; 0: it never asks."""
    acknowledgements_behind_bursts: bool = False
    """Whether heartbeats that come during a session's GUILD_CREATE burst are acknowledged only after it."""
    trace: bool = True
    """Whether HELLO has the undocumented ``_trace``."""

    drop_probability: float = 0.0
    """Chance that an event does not reach a session; Discord documents delivery zero, one or several times."""
    duplicate_probability: float = 0.0
    """Chance that an event reaches a session once more, under a sequence of its own."""
    shuffle_keys: bool = False
    """Whether the keys of dispatches come in random order."""
    voice_server_audience: Literal["asker", "all"] = "asker"
    """Which of the sessions that see a guild are sent VOICE_SERVER_UPDATE; not known of Discord."""
    presence_updates: int = 5
    presence_update_seconds: float = 20.0
    """A session's op 3 beyond so many in so long is ignored; Discord gives the limit but not what follows."""

    replay_events: int | None = None
    """None: ``max(100, min(3500, 75 * guilds of the session))``."""
    session_expiry_seconds: float = 90.0
    trim_replay_by_heartbeat: bool = False
    """Whether a heartbeat's sequence frees the replay buffer up to it; not known of Discord."""

    zlib_parts: int = 1
    """Most websocket messages that a payload of a zlib-stream is split over; how many, and where, is chance."""

    digests: bool = False
    """Whether the ground truth has a digest of every event's body."""

    guild_bytes: int = 4000
    message_bytes: int = 900
    members_per_guild: int = 25
    burst_guilds_per_second: int = 5000
    """How fast the GUILD_CREATEs follow READY."""
