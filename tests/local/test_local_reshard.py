"""``dgw local`` from end to end: starts, reshards under load, stops and goes on, with nothing lost and nothing left."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from gateway_operator.cluster.processes.leftovers import start_time

if TYPE_CHECKING:
    from conftest import Stage


async def test_a_patch_reshards_under_load_and_a_restart_resumes(stage: Stage) -> None:
    gateway = stage.gateway
    await gateway.start()
    await gateway.until(lambda: gateway.ready(generation=1, shards=4))
    await stage.load(300)

    code, output = await gateway.dgw("patch", "-p", '{"spec":{"shards":{"count":8}}}')
    assert (code, output) == (0, "discordgateway.discordgateway.dev/bot patched\n")
    await gateway.until(lambda: gateway.ready(generation=2, shards=8))
    await gateway.until(lambda: [pod["generation"] for pod in gateway.pods()] == [2, 2])
    assert (await stage.counters())["identifiesAccepted"] == 12
    code, output = await gateway.dgw("status")
    assert code == 0
    (shown,) = json.loads(output)["gateways"]
    assert shown["status"]["history"][0]["outcome"] == "Completed"

    # What Discord sends while nobody is connected is replayed to the sessions of the next run. The share of the busiest
    # shard has to fit into Discord's buffer, also where the two runs are many seconds apart.
    await stage.load(30)
    pids = [pod["pid"] for pod in gateway.pods()]
    assert await gateway.stop() == 0
    assert [start_time(pid) for pid in pids] == [None, None]
    gateway.lines.clear()
    await gateway.start()
    await gateway.until(lambda: any("8/8 shards READY" in line for line in gateway.lines[-3:]))

    async def all_resumed() -> bool:
        return (await stage.counters())["resumesAccepted"] >= 8

    await gateway.until(all_resumed)
    await stage.load(0)
    await gateway.until(stage.all_delivered)
    counters = await stage.counters()
    assert counters["identifiesAccepted"] == 12
    assert counters["resumesAccepted"] == 8
    assert counters["bucketViolations"] == 0
    assert gateway.stored()["spec"]["shards"]["count"] == 8, "the patch outlives the restart"
