"""A bot that grows past what its shards are meant to hold gets more of them by itself, and notices nothing."""

from __future__ import annotations

from harness.kubectl import wait_until
from harness.outcome import assert_handed_over, begin
from harness.scene import GATEWAY, Scene

GUILDS = 200
PER_SHARD = 100
"""At 80 % of 4 shards of 100 guilds more are asked for: at 320."""


def test_guilds_past_80_percent_reshard_by_themselves(scene: Scene) -> None:
    begin(scene, reshard={"auto": True, "guildsPerShard": PER_SHARD, "overlapSeconds": 5})
    wait_until("utilisation", lambda: scene.status().get("utilisation") == 50, seconds=90)
    assert scene.status()["capacity"] == 4 * PER_SHARD
    assert scene.status()["activeGeneration"] == 1

    scene.add_guilds(120)
    assert_handed_over(scene, generation=2, shards=8, identifies=4 + 8)
    status = scene.status()
    # Nothing is known of its growth, so twice as many guilds are provided for: 640 at 80 guilds a shard.
    assert status["capacity"] == 8 * PER_SHARD
    (past,) = status["history"]
    assert (past["outcome"], past["reason"], past["from"], past["to"]) == ("Completed", "Automatic", 4, 8)
    gateway = scene.kubectl.get("dgw", GATEWAY)
    assert gateway is not None
    assert gateway["spec"]["shards"]["count"] == 4, "the spec is the person's"
