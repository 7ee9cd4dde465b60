"""A token is rotated by changing its Secret; a wrong one stops what is new and leaves alone what lives."""

from __future__ import annotations

from harness.kubectl import wait_until
from harness.outcome import assert_nothing_happened, begin
from harness.scene import GATEWAY_LABEL, Scene, merged

RATE = 100
WRONG = {"stringData": {"token": "bm9ib2R5.wrong.token"}}


def test_a_wrong_token_in_the_secret_leaves_living_sessions_alone(scene: Scene) -> None:
    begin(scene, rate=RATE)
    secret, _ = scene.manifests()
    scene.kubectl.apply(merged(secret, WRONG))
    condition = scene.wait_condition("TokenValid", "False", reason="TokenRefused", seconds=120)
    assert condition["message"]
    assert scene.condition("Ready")["status"] == "True"
    scene.wait_events(RATE)

    scene.patch('{"spec": {"shards": {"count": 8}}}')  # a wish that waits for a token that is accepted
    scene.wait_condition("Resharding", "False", reason="TokenRefused", seconds=60)
    scene.patch('{"spec": {"shards": {"count": 4}}}')

    scene.kubectl.apply(secret)
    scene.wait_condition("TokenValid", "True", seconds=120)
    scene.fault("drop")  # every connection: they resume with what the Secret holds now
    wait_until("4 sessions resumed", lambda: scene.resumes() == 4, seconds=60)
    scene.wait_ready()
    (pod,) = scene.kubectl.items("pods", selector=GATEWAY_LABEL)
    assert [container["restartCount"] for container in pod["status"]["containerStatuses"]] == [0]
    scene.wait_events(RATE)
    assert_nothing_happened(scene, shards=4, identifies=4)
