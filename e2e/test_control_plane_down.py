"""Without the operator sessions live and deliver; only new sessions and decisions wait for it."""

from __future__ import annotations

from harness.kubectl import wait_until
from harness.outcome import RATE, assert_handed_over, begin
from harness.scene import GATEWAY, Scene

AWAY_SECONDS = 60


def test_a_minute_without_the_operator_changes_nothing_for_the_bot(scene: Scene) -> None:
    begin(scene, reshard={"overlapSeconds": 5})
    scene.system.scale(0)
    away_from = scene.truth()["now"]
    scene.fault("reconnect")  # op 7 to every session: RESUME asks nobody
    wait_until("4 sessions resumed", lambda: scene.resumes() == 4, seconds=60)
    scene.kubectl.run("scale", f"dgw/{GATEWAY}", "--replicas=6")  # a wish that waits
    wait_until("a minute", lambda: scene.truth()["now"] - away_from >= AWAY_SECONDS * 1000, seconds=120)
    scene.fault("drop")  # cut off, they resume too
    wait_until("4 sessions resumed again", lambda: scene.resumes() == 8, seconds=60)
    scene.wait_events(RATE)
    assert scene.received()["lastHeaders"]["x-gateway-generation"] == "1"
    scene.system.scale(1)
    assert_handed_over(scene, generation=2, shards=6, identifies=4 + 6)
