"""What the identify gate holds back, as a person should hear of it."""

from __future__ import annotations

from collections.abc import Collection

from gateway_operator.api.conditions import timestamp
from gateway_operator.planning.budget import FLOOR
from gateway_operator.planning.health import listing, shards
from gateway_operator.planning.hold import Hold
from gateway_operator.planning.observed import Observation, ObservedGeneration
from shard_runtime.contract import HeldBack, ShardState


def degrading(observation: Observation, active: ObservedGeneration | None) -> Hold | None:
    """Why sessions that should be started are not, and not for their bucket's sake."""
    return _exhausted(observation, active) or _repeating(observation) or _away(observation)


def reserved(held: Collection[HeldBack]) -> str:
    """To be said of a reshard whose sessions wait for the budget; empty where they do not."""
    if HeldBack.RESERVE in held:
        return " The identify gate keeps the rest of today's session starts in reserve (spec.reshard.identifyReserve)."
    return ""


def _exhausted(observation: Observation, active: ObservedGeneration | None) -> Hold | None:
    """Sessions wait for permits that the gate keeps back until Discord's day starts anew."""
    discord = observation.discord
    if active is None or discord is None:
        return None
    if discord.remaining > FLOOR and HeldBack.BUDGET not in observation.held:
        return None
    waiting = sorted(shard.id for shard in shards(active) if shard.state is ShardState.WAITING)
    if not waiting:
        return None
    return Hold(
        reason="IdentifyBudgetExhausted",
        message=f"No session is started before {timestamp(discord.reset_at)}: the last {FLOOR} of {discord.total} "
        f"session starts are kept back, since Discord resets the token past them. Shards {listing(waiting)} wait.",
    )


def _repeating(observation: Observation) -> Hold | None:
    """Sessions do not last: whatever the cause, the budget must not be used up by it."""
    if HeldBack.PACE in observation.held:
        return Hold(
            reason="IdentifyBudgetAtRisk",
            message="Sessions are started again and again, so fast that the day's session starts would not last. "
            "Shards that were started today wait for up to an hour, and so does a reshard. See to why sessions end.",
        )
    if HeldBack.SHARE in observation.held:
        return Hold(
            reason="SessionsDoNotLast",
            message="A shard was started three times within an hour, and waits until that hour is over. "
            "See to why its sessions end.",
        )
    return None


def _away(observation: Observation) -> Hold | None:
    if HeldBack.AWAY not in observation.held:
        return None
    return Hold(
        reason="SharedGateAway",
        message="The operator that spec.identify.gateURL names gives no permits, so sessions that must be started anew "
        "wait. Its log and this operator's say why.",
    )
