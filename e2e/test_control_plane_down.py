"""Without the operator sessions live and deliver; only new sessions and decisions wait for it."""

from __future__ import annotations

from harness.scene import GATEWAY, Scene


def test_events_flow_while_the_operator_is_down(scene: Scene) -> None:
    scene.apply_gateway()
    scene.wait_ready()
    scene.system.scale(0)
    scene.load(100)
    scene.wait_events(500)
    scene.fault("reconnect")  # op 7 to every session: RESUME asks nobody
    scene.wait_events(500)
    assert scene.truth()["counters"]["resumesAccepted"] == 4
    scene.kubectl.run("scale", f"dgw/{GATEWAY}", "--replicas=6")  # a wish that waits
    scene.system.scale(1)
    status = scene.wait_generation(2)
    assert status["shards"] == 6
    scene.load(0)
    verdict = scene.verdict()
    assert (verdict.lost, verdict.duplicated_unmarked) == (0, 0), verdict
    assert scene.identifies() == 4 + 6
