"""How many shards a generation gets and how they lie."""

from __future__ import annotations

from typing import Final

from gateway_operator.api.spec import Spec
from gateway_operator.planning.observed import DiscordInfo
from shard_runtime.contract import ShardLayout

LARGE_BOT_SHARDS: Final = 100
"""From here on counts are rounded; Discord's large-bot sharding begins at 150,000 guilds."""


def resolve_count(spec: Spec, discord: DiscordInfo) -> int:
    """The number of shards that *spec* asks for now; 0 is Discord's recommendation.

    A recommendation is legal as it is, but for a large bot every count must be a multiple of a number that Discord
    assigns; ``max_concurrency`` is that number as far as it is known (discordeno rounds the same way), so a
    recommendation is rounded up to it. A count that a person wrote is taken as it stands: Discord answers 4010 if it is
    not legal.
    """
    if spec.shards.count > 0:
        return spec.shards.count
    recommended = max(1, discord.recommended_shards)
    if recommended >= LARGE_BOT_SHARDS and discord.max_concurrency > 1:
        return -(-recommended // discord.max_concurrency) * discord.max_concurrency
    return recommended


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
