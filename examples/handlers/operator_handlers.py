"""An example of both handlers of the operator: give it with `--handlers FILE`, or install it as a package."""

import math

MOST_GUILDS = 1000


async def should_reshard(context, default, gateway):
    """Whether a bot gets more shards: here at 1,000 guilds each, and for as many as bring it to half of that."""
    if gateway.guilds / gateway.shards < MOST_GUILDS:
        return await default(gateway)
    return math.ceil(gateway.guilds / (MOST_GUILDS / 2))


async def reshard(context, default, gateway, plan):
    """A reshard is about to begin: here it waits while somebody has asked for silence."""
    if getattr(context.state, "silence", False):
        return
    context.log.info("%s goes from %d to %d shards", gateway.name, gateway.shards, plan.shards)
    await default(gateway, plan)
