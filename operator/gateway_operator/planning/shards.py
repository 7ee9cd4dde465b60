"""How many shards a generation gets and how they lie."""

from __future__ import annotations

from typing import Final

from gateway_operator.api.spec import MOST_SHARDS, Spec
from gateway_operator.planning.observed import DiscordInfo
from shard_runtime.contract import ShardLayout

LARGE_BOT_SHARDS: Final = 100
"""From here on counts are rounded; Discord's large-bot sharding begins at 150,000 guilds."""


def resolve_count(spec: Spec, discord: DiscordInfo) -> int:
    """The number of shards that *spec* asks for now; 0 is Discord's recommendation.

    A count that a person wrote is taken as it stands: Discord answers 4010 if it is not legal.
    """
    return spec.shards.count or legal_count(max(1, discord.recommended_shards), discord)


def legal_count(count: int, discord: DiscordInfo, *, most: int | None = None) -> int:
    """*count* as Discord takes it, at most *most*.

    For a large bot every count must be a multiple of a number that Discord assigns; ``max_concurrency`` is that number
    as far as it is known (discordeno rounds the same way). Rounded up, or down where up is too many.
    """
    most = MOST_SHARDS if most is None else min(most, MOST_SHARDS)
    multiple = discord.max_concurrency if count >= LARGE_BOT_SHARDS else 1
    return min(-(-count // multiple), max(1, most // multiple)) * multiple


def layout(spec: Spec, count: int) -> ShardLayout:
    """How *count* shards lie over pods and workers."""
    shards = spec.shards
    return ShardLayout(
        count=count,
        first=shards.first,
        last=count - 1 if shards.last is None else shards.last,
        per_worker=shards.per_worker,
        workers_per_pod=shards.workers_per_pod,
    )
