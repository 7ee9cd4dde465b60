"""Until the commit a reshard is a person's to hold, promote or take back."""

from __future__ import annotations

import json

from harness.outcome import RATE, assert_handed_over, assert_nothing_happened, begin
from harness.scene import GATEWAY, GATEWAY_LABEL, Scene

HELD = {"overlapSeconds": 5, "autoPromote": False}


def test_a_held_reshard_is_promoted_by_a_patch(scene: Scene) -> None:
    begin(scene, reshard=HELD)
    scene.kubectl.run("scale", f"dgw/{GATEWAY}", "--replicas=8")
    condition = scene.wait_condition("Resharding", "True", reason="Holding", seconds=120)
    assert "autoPromote is false; set it to true" in condition["message"]
    assert scene.received()["lastHeaders"]["x-gateway-generation"] == "1"
    scene.patch('{"spec": {"reshard": {"autoPromote": true}}}')
    assert_handed_over(scene, generation=2, shards=8, identifies=4 + 8)


def test_the_old_count_aborts_before_the_commit_and_the_next_reshard_is_another_one(scene: Scene) -> None:
    begin(scene, reshard=HELD)
    scene.kubectl.run("scale", f"dgw/{GATEWAY}", "--replicas=8")
    scene.wait_condition("Resharding", "True", reason="Holding", seconds=120)
    scene.kubectl.run("scale", f"dgw/{GATEWAY}", "--replicas=4")
    status = scene.wait_generation(1)
    (past,) = status["history"]
    assert (past["outcome"], past["from"], past["to"]) == ("Aborted", 4, 8)
    assert past["message"] == "The spec changed before generation 2 took over."
    assert scene.kubectl.names("statefulsets", selector=GATEWAY_LABEL) == {f"{GATEWAY}-g1"}
    scene.wait_events(RATE)
    assert scene.received()["lastHeaders"]["x-gateway-generation"] == "1"

    scene.patch(json.dumps({"spec": {"shards": {"count": 6}, "reshard": {"autoPromote": True}}}))
    assert_handed_over(scene, generation=3, shards=6, identifies=4 + 8 + 6, ended=4 + 8)


def test_an_abort_while_the_target_connects_leaves_the_old_sessions_alone(scene: Scene) -> None:
    begin(scene, reshard=HELD)
    scene.fault("refuseConnections", seconds=300)  # living connections stay
    scene.kubectl.run("scale", f"dgw/{GATEWAY}", "--replicas=8")
    scene.wait_condition("Resharding", "True", reason="Connecting", seconds=60)
    scene.kubectl.run("scale", f"dgw/{GATEWAY}", "--replicas=4")
    status = scene.wait_generation(1)
    assert [past["outcome"] for past in status["history"]] == ["Aborted"]
    scene.fault("clear")
    scene.wait_events(RATE)
    assert_nothing_happened(scene, shards=4, identifies=4)
