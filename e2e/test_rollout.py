"""A changed pod template reaches the pods one at a time; no session is started anew over it, and nothing is lost."""

from __future__ import annotations

import json
from typing import Any

import pytest
from harness.cluster import copy_image
from harness.kubectl import wait_until
from harness.outcome import TWO_PODS, assert_nothing_happened, begin
from harness.scene import GATEWAY_LABEL, Scene

RATE = 100
SHARDS_OF_A_POD = TWO_PODS["perWorker"] * TWO_PODS["workersPerPod"]


def wait_rolled_out(scene: Scene, before: dict[str, str]) -> None:
    """Until every pod is another one and the rollout is over; asserts that never two were away at once.

    What counts is whether the sessions are back, and Discord knows: the condition Ready of a pod is as old as the
    kubelet's last probe.
    """

    def seen() -> bool:
        pods = scene.runtime_pods()
        now = {name: str(pod["metadata"]["uid"]) for name, pod in pods.items()}
        stay = [name for name in now if "deletionTimestamp" not in pods[name]["metadata"]]
        begun = sum(1 for name, uid in before.items() if now.get(name) != uid or name not in stay)
        assert scene.resumes() >= SHARDS_OF_A_POD * (begun - 1), "deleted before the last one's sessions were back"
        others = set(now) == set(before) and not set(now.values()) & set(before.values())
        return others and "rollout" not in scene.status()

    wait_until("all pods replaced", seen, seconds=180)


@pytest.mark.parametrize("change", ["template", "image"])
def test_a_rollout_under_load_resumes_every_session(scene: Scene, change: str) -> None:
    begin(scene, rate=RATE, shards=TWO_PODS)
    before = scene.pod_uids()
    template: dict[str, Any] = {"annotations": {"example.com/rolled": "once"}}
    if change == "image":
        (image,) = {pod["spec"]["containers"][0]["image"] for pod in scene.runtime_pods().values()}
        template = {"image": copy_image(image, tag="another")}
    scene.patch(json.dumps({"spec": {"template": template}}))
    wait_rolled_out(scene, before)
    scene.wait_ready()
    if change == "image":
        assert {pod["spec"]["containers"][0]["image"] for pod in scene.runtime_pods().values()} == {template["image"]}
    assert scene.resumes() == 8
    scene.wait_events(RATE)
    assert_nothing_happened(scene, shards=8, identifies=8)


def test_an_image_that_does_not_exist_takes_one_pod_and_is_mended_in_place(scene: Scene) -> None:
    begin(scene, rate=RATE, shards=TWO_PODS)
    before = scene.pod_uids()
    scene.patch('{"spec": {"template": {"image": "localhost/nobody/nothing:none"}}}')
    condition = scene.wait_condition("Ready", "False", reason="PodsNotRunning", seconds=120)
    assert "its image localhost/nobody/nothing:none cannot be pulled" in condition["message"]
    now = scene.pod_uids()
    assert len(set(now.values()) & set(before.values())) == 1, "the other pod is left alone"
    scene.patch('{"spec": {"template": {"image": null}}}')
    scene.wait_ready(seconds=120)
    wait_until("the rollout's end", lambda: "rollout" not in scene.status(), seconds=120)
    assert len(scene.kubectl.items("pods", selector=GATEWAY_LABEL)) == 2
    scene.wait_events(RATE)
    assert_nothing_happened(scene, shards=8, identifies=8)
