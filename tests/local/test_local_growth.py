"""A bot that grows under load: resharded by itself past 80 %, with nothing lost, and not again."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from conftest import Stage


async def test_a_growing_bot_gets_more_shards_by_itself(stage: Stage) -> None:
    gateway = stage.gateway
    text = gateway.file.read_text()
    gateway.file.write_text(
        text.replace("reshard: {overlapSeconds: 4}", "reshard: {overlapSeconds: 4, auto: true, guildsPerShard: 16}")
    )
    await gateway.start()
    await gateway.until(lambda: gateway.ready(generation=1, shards=4))
    await stage.load(200)
    # 40 guilds of 64 so far.
    async with stage.http.post(f"{stage.discord}/control/guilds", json={"add": 15}) as answer:
        answer.raise_for_status()
    await gateway.until(lambda: gateway.ready(generation=2, shards=9), seconds=90)

    def over() -> dict[str, Any] | None:
        history = gateway.status().get("history") or [None]
        return None if "reshard" in gateway.status() else history[0]

    past = await gateway.until(over)
    assert (past["outcome"], past["reason"], past["from"], past["to"]) == ("Completed", "Automatic", 4, 9)
    assert gateway.stored()["spec"]["shards"]["count"] == 4, "the spec is the person's"
    await stage.load(0)
    await gateway.until(stage.all_delivered)
    verdict = await stage.verdict()
    assert verdict.lost == 0
    counters = await stage.counters()
    assert counters["identifiesAccepted"] == 13
    assert counters["bucketViolations"] == 0
    assert [entry["number"] for entry in gateway.status()["generations"]] == [2]
