"""Whether Discord's daily budget of session starts has room.

Past the budget Discord kills every session of the application and resets its token, so a generation is only begun with
a budget that was read just before, and a reshard leaves the reserve for recovery.
"""

from __future__ import annotations

from typing import Final

from gateway_operator.api.conditions import timestamp
from gateway_operator.planning.hold import Hold
from gateway_operator.planning.observed import DiscordInfo

FLOOR: Final = 5
"""Session starts that nothing may use: room for what was counted by Discord and not by us."""

FRESH_MILLISECONDS: Final = 30_000


def refusal(discord: DiscordInfo, *, shards: int, reserve: int, now: int) -> Hold | None:
    """Why *shards* sessions may not be started now, leaving *reserve* and what nothing may use; None if they may."""
    if now - discord.read_at > FRESH_MILLISECONDS or (discord.reset_at <= now and discord.reset_at > discord.read_at):
        return Hold(reason="ReadingBudget", message="Discord's session start limit is being read.", refresh=True)
    reserve = max(reserve, FLOOR)
    needed = shards + reserve
    if discord.remaining >= needed:
        return None
    return Hold(
        reason="IdentifyBudget",
        message=f"{shards} session starts and a reserve of {reserve} are needed, {discord.remaining} of "
        f"{discord.total} remain until {timestamp(discord.reset_at)}.",
    )
