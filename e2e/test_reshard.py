"""Another number of shards under load: the bot notices nothing, whatever happens to the operator meanwhile."""

from __future__ import annotations

import json

import pytest
from harness.kubectl import wait_until
from harness.outcome import RATE, assert_handed_over, assert_nothing_happened, begin
from harness.scene import GATEWAY, Scene, example

SHORT = {"overlapSeconds": 5}


def count(shards: int) -> str:
    return json.dumps({"spec": {"shards": {"count": shards}}})


def wait_step(scene: Scene, *steps: str) -> str:
    """Until the reshard is at one of *steps*."""
    return wait_until(
        f"step {steps}",
        lambda: step if (step := (scene.status().get("reshard") or {}).get("step")) in steps else None,
        seconds=60,
        every=0.05,
    )


def test_a_patch_reshards_and_loses_nothing(scene: Scene) -> None:
    begin(scene, reshard={"overlapSeconds": 10})  # the default
    scene.patch(count(8))
    assert_handed_over(scene, generation=2, shards=8, identifies=4 + 8)
    (past,) = scene.status()["history"]
    assert (past["outcome"], past["from"], past["to"]) == ("Completed", 4, 8)


def test_scale_reshards_to_a_count_that_is_no_multiple(scene: Scene) -> None:
    begin(scene, reshard=SHORT)
    scene.kubectl.run("scale", f"dgw/{GATEWAY}", "--replicas=3")
    assert_handed_over(scene, generation=2, shards=3, identifies=4 + 3)


def test_an_autoscaler_raises_the_count(scene: Scene) -> None:
    """The example's one, which finds the gateway's scale, and has no metrics here: to its lower bound."""
    begin(scene, reshard={**SHORT, "auto": False})
    (autoscaler,) = example("hpa.yaml", scene.namespace)
    scene.kubectl.apply(autoscaler)
    assert_handed_over(scene, generation=2, shards=autoscaler["spec"]["minReplicas"], identifies=4 + 8)
    status = wait_until(  # it looks every 15 s
        "the autoscaler to see the new count",
        lambda: (
            found
            if (found := (scene.kubectl.get("hpa", GATEWAY) or {}).get("status", {})).get("currentReplicas") == 8
            else None
        ),
        seconds=60,
    )
    able = {condition["type"]: condition["status"] for condition in status["conditions"]}
    assert able["AbleToScale"] == "True", status


def test_a_new_request_id_reshards_to_the_same_count(scene: Scene) -> None:
    begin(scene, reshard=SHORT)
    scene.patch('{"spec": {"reshard": {"requestID": "again"}}}')
    assert_handed_over(scene, generation=2, shards=4, identifies=4 + 4)


@pytest.mark.parametrize("steps", [("Connecting",), ("Overlapping",), ("HandingOver", "Retiring")], ids="-".join)
def test_a_killed_operator_changes_nothing_of_a_reshard(scene: Scene, steps: tuple[str, ...]) -> None:
    begin(scene, reshard=SHORT)
    scene.patch(count(8))
    wait_step(scene, *steps)
    scene.system.kill()
    assert_handed_over(scene, generation=2, shards=8, identifies=4 + 8)


def test_a_cutover_needs_no_operator_after_the_commit(scene: Scene) -> None:
    begin(scene, reshard=SHORT)
    scene.patch(count(8))
    wait_step(scene, "HandingOver", "Retiring")
    scene.system.scale(0)
    wait_until(
        "events from generation 2",
        lambda: scene.received()["lastHeaders"]["x-gateway-generation"] == "2",
        seconds=30,
    )
    scene.wait_events(RATE)
    scene.system.scale(1)
    assert_handed_over(scene, generation=2, shards=8, identifies=4 + 8)


def test_a_target_without_progress_is_given_up_and_the_old_generation_goes_on(scene: Scene) -> None:
    begin(scene, reshard=SHORT)
    scene.patch('{"spec": {"reshard": {"stallSeconds": 5}}}')
    scene.fault("refuseConnections", seconds=300)  # living connections stay
    scene.patch(count(8))
    scene.wait_condition("Resharding", "False", reason="Stalled", seconds=90)
    scene.fault("clear")
    status = scene.wait_generation(1)
    assert status["shards"] == 4
    assert [past["outcome"] for past in status["history"]][:1] == ["Stalled"]
    scene.wait_events(RATE)
    assert_nothing_happened(scene, shards=4, identifies=4)
