"""Another number of shards under load: the bot notices nothing, whatever happens to the operator meanwhile."""

from __future__ import annotations

import json

import pytest
from harness.kubectl import wait_until
from harness.scene import GATEWAY, GATEWAY_LABEL, Scene

RATE = 200


def begin(scene: Scene, *, overlap: int = 5) -> None:
    """Four shards under load."""
    scene.apply_gateway(reshard={"overlapSeconds": overlap})
    scene.wait_ready()
    scene.load(RATE)
    scene.wait_events(RATE)


def count(shards: int) -> str:
    return json.dumps({"spec": {"shards": {"count": shards}}})


def check_outcome(scene: Scene, *, generation: int, shards: int, identifies: int) -> None:
    """Generation *generation* holds all shards, alone, and the bot got everything once, or marked."""
    status = scene.wait_generation(generation)
    scene.wait_ready()
    assert status["shards"] == shards
    assert scene.kubectl.names("statefulsets", selector=GATEWAY_LABEL) == {f"{GATEWAY}-g{generation}"}
    scene.wait_events(RATE)
    assert scene.received()["lastHeaders"]["x-gateway-generation"] == str(generation)
    assert scene.received()["lastHeaders"]["x-gateway-shards"] == str(shards)

    scene.load(0)
    verdict = scene.verdict()
    assert verdict.sent > RATE * 5
    assert verdict.lost == 0, verdict
    # In this version an event that repeats with an identical body may arrive twice at the cutover, and then says so.
    assert verdict.duplicated_unmarked == 0, verdict
    # Order holds within a guild. Across the guilds of a shard it cannot, since each moves when it is ready.
    assert verdict.stream_violations == 0, verdict
    truth = scene.truth()
    assert truth["counters"]["identifiesAccepted"] == identifies
    assert truth["counters"]["bucketViolations"] == 0
    assert truth["sessions"] == {str(shards): {"sessions": shards, "connected": shards, "shards": shards}}


def wait_step(scene: Scene, *steps: str) -> str:
    """Until the reshard is at one of *steps*."""
    return wait_until(
        f"step {steps}",
        lambda: step if (step := (scene.status().get("reshard") or {}).get("step")) in steps else None,
        seconds=60,
        every=0.05,
    )


def test_a_patch_reshards_and_loses_nothing(scene: Scene) -> None:
    begin(scene, overlap=10)  # the default
    scene.patch(count(8))
    check_outcome(scene, generation=2, shards=8, identifies=4 + 8)
    (past,) = scene.status()["history"]
    assert (past["outcome"], past["from"], past["to"]) == ("Completed", 4, 8)


def test_scale_reshards_to_a_count_that_is_no_multiple(scene: Scene) -> None:
    begin(scene)
    scene.kubectl.run("scale", f"dgw/{GATEWAY}", "--replicas=3")
    check_outcome(scene, generation=2, shards=3, identifies=4 + 3)


def test_a_new_request_id_reshards_to_the_same_count(scene: Scene) -> None:
    begin(scene)
    scene.patch('{"spec": {"reshard": {"requestID": "again"}}}')
    check_outcome(scene, generation=2, shards=4, identifies=4 + 4)


@pytest.mark.parametrize("steps", [("Connecting",), ("Overlapping",), ("HandingOver", "Retiring")], ids="-".join)
def test_a_killed_operator_changes_nothing_of_a_reshard(scene: Scene, steps: tuple[str, ...]) -> None:
    begin(scene)
    scene.patch(count(8))
    wait_step(scene, *steps)
    scene.system.kill()
    check_outcome(scene, generation=2, shards=8, identifies=4 + 8)


def test_a_cutover_needs_no_operator_after_the_commit(scene: Scene) -> None:
    begin(scene)
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
    check_outcome(scene, generation=2, shards=8, identifies=4 + 8)


def test_a_target_without_progress_is_given_up_and_the_old_generation_goes_on(scene: Scene) -> None:
    begin(scene)
    scene.patch('{"spec": {"reshard": {"stallSeconds": 5}}}')
    scene.fault("refuseConnections", seconds=300)  # living connections stay
    scene.patch(count(8))
    scene.wait_condition("Resharding", "False", reason="Stalled", seconds=90)
    scene.fault("clear")
    status = scene.wait_generation(1)
    assert status["shards"] == 4
    assert [past["outcome"] for past in status["history"]][:1] == ["Stalled"]
    scene.wait_events(RATE)
    scene.load(0)
    verdict = scene.verdict()
    assert (verdict.lost, verdict.duplicated) == (0, 0), verdict
    assert scene.identifies() == 4
