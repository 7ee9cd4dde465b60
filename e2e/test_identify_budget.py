"""Discord's daily budget of session starts is never spent on a reshard that leaves no reserve."""

from __future__ import annotations

import re

from harness.kubectl import wait_until
from harness.outcome import RATE, assert_handed_over, begin
from harness.scene import GATEWAY, GATEWAY_LABEL, Scene


def test_a_reshard_waits_for_the_budget_and_goes_on_when_it_refills(scene: Scene) -> None:
    scene.fault("budget", remaining=107)  # one too few for 8 shards and a reserve of 100, without the first 4
    begin(scene, reshard={"overlapSeconds": 5})
    scene.kubectl.run("scale", f"dgw/{GATEWAY}", "--replicas=8")
    condition = scene.wait_condition("Resharding", "False", reason="IdentifyBudget", seconds=90)
    assert re.match(
        r"8 session starts and a reserve of 100 are needed, 10[37] of 1000 remain until ", condition["message"]
    )
    assert scene.condition("Ready")["status"] == "True"
    assert scene.kubectl.names("statefulsets", selector=GATEWAY_LABEL) == {f"{GATEWAY}-g1"}
    assert scene.identifies() == 4
    scene.wait_events(RATE)

    scene.fault("budget", remaining=1000)
    assert_handed_over(scene, generation=2, shards=8, identifies=4 + 8)


def test_a_lost_session_is_started_from_the_reserve(scene: Scene) -> None:
    scene.fault("budget", remaining=14)
    scene.apply_gateway()
    scene.wait_ready()
    scene.fault("kill", shard=1)
    wait_until("shard 1 anew", lambda: scene.identifies() == 5, seconds=60)
    scene.wait_ready()
    assert scene.truth()["budget"]["remaining"] == 14 - 5


def test_the_last_five_session_starts_are_used_by_nothing(scene: Scene) -> None:
    scene.fault("budget", remaining=4 + 5)
    scene.apply_gateway()
    scene.wait_ready()
    assert scene.truth()["budget"]["remaining"] == 5
    scene.fault("kill", shard=1)
    condition = scene.wait_condition("Degraded", "True", reason="IdentifyBudgetExhausted", seconds=90)
    assert "the last 5 of 1000 session starts are kept back" in condition["message"]
    assert condition["message"].endswith("Shards 1 wait.")
    assert scene.condition("Ready")["status"] == "False"
    assert (scene.identifies(), scene.truth()["budget"]["remaining"]) == (4, 5)

    scene.fault("budget", remaining=1000)
    scene.wait_ready(seconds=120)
    assert scene.identifies() == 5
    assert scene.condition("Degraded")["reason"] == "EventsLost", "of the session that was killed; said for an hour"
