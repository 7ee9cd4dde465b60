"""A changed pod template under load: pods are replaced one by one, every session is resumed, nothing is lost."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from conftest import Stage


async def test_a_changed_template_rolls_without_an_identify(stage: Stage) -> None:
    gateway = stage.gateway
    stage.write(count=8)
    await gateway.start()
    await gateway.until(lambda: gateway.ready(generation=1, shards=8))
    before = {pod["index"]: pod["uid"] for pod in gateway.pods()}
    assert sorted(before) == [0, 1]
    await stage.load(100)

    patch = {"spec": {"template": {"env": [{"name": "ROLLED", "value": "yes"}]}}}
    code, _ = await gateway.dgw("patch", "-p", json.dumps(patch))
    assert code == 0
    away: list[set[int]] = []

    def rolled() -> bool:
        status: dict[str, Any] = gateway.status()
        missing = {shard for entry in status["generations"] for shard in entry.get("notReadyShards", [])}
        if missing and missing not in away:
            away.append(missing)
        after = {pod["index"]: pod["uid"] for pod in gateway.pods()}
        replaced = after.keys() == before.keys() and not set(after.values()) & set(before.values())
        return replaced and "rollout" not in status and bool(status["readyShards"] == 8)

    await gateway.until(rolled)
    assert all(shards <= {0, 1, 2, 3} or shards <= {4, 5, 6, 7} for shards in away), "one pod at a time"
    await stage.load(0)
    await gateway.until(stage.all_delivered)
    counters = await stage.counters()
    assert counters["identifiesAccepted"] == 8
    assert counters["resumesAccepted"] == 8
    verdict = await stage.verdict()
    assert verdict.lost == 0
    assert [entry["number"] for entry in gateway.status()["generations"]] == [1]
