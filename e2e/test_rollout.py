"""A changed pod template reaches the pods one at a time; no session is started anew over it, and nothing is lost."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from harness.cluster import copy_image
from harness.kubectl import wait_until
from harness.outcome import TWO_PODS, assert_nothing_happened, begin
from harness.scene import GATEWAY, Scene

RATE = 100
PULL_LABEL = f"discordgateway.dev/pulls-for={GATEWAY}"
SHARDS_OF_A_POD = TWO_PODS["perWorker"] * TWO_PODS["workersPerPod"]


def is_ready(pod: dict[str, Any]) -> bool:
    conditions = pod["status"].get("conditions") or []
    return any(condition["type"] == "Ready" and condition["status"] == "True" for condition in conditions)


def first_events(scene: Scene, reason: str) -> dict[str, str]:
    """When the kubelet first said *reason* of each pod, as RFC 3339."""
    told: dict[str, str] = {}
    for event in scene.kubectl.items("events"):
        about = event["involvedObject"]
        if about["kind"] == "Pod" and event["reason"] == reason:
            at = str(event["firstTimestamp"])
            told[str(about["name"])] = min(at, told.get(str(about["name"]), at))
    return told


def wait_rolled_out(scene: Scene, before: dict[str, str]) -> None:
    """Until every pod is another one and the rollout is over; asserts that never two were away at once.

    Away are pods whose sessions are not back, which Discord knows, and pods that a drain would count as away, which the
    kubelet knows.
    """

    def seen() -> bool:
        pods = scene.runtime_pods()
        now = {name: str(pod["metadata"]["uid"]) for name, pod in pods.items()}
        stay = [name for name in now if "deletionTimestamp" not in pods[name]["metadata"]]
        begun = sum(1 for name, uid in before.items() if now.get(name) != uid or name not in stay)
        assert scene.resumes() >= SHARDS_OF_A_POD * (begun - 1), "deleted before the last one's sessions were back"
        away = [name for name in before if name not in stay or not is_ready(pods[name])]
        assert len(away) <= 1, f"{away} were away at once"
        others = set(now) == set(before) and not set(now.values()) & set(before.values())
        return others and "rollout" not in scene.status()

    wait_until("all pods replaced", seen, seconds=180)


def assert_pulled_ahead(scene: Scene, before: dict[str, str]) -> None:
    """The node had the image before a pod was told to end; and what pulled it is gone."""
    pulled = {name: at for name, at in first_events(scene, "Pulled").items() if name not in before}
    (puller,) = [name for name in pulled if name.startswith(f"{GATEWAY}-pull-")]
    assert pulled[puller] <= min(first_events(scene, "Killing")[name] for name in before)
    assert scene.kubectl.names("pods", selector=PULL_LABEL) == set()


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
        assert_pulled_ahead(scene, before)
    assert scene.resumes() == 8
    scene.wait_events(RATE)
    assert_nothing_happened(scene, shards=8, identifies=8)


def test_an_image_that_does_not_exist_takes_no_pod_and_is_mended_in_place(scene: Scene) -> None:
    begin(scene, rate=RATE, shards=TWO_PODS, reshard={"stallSeconds": 30})
    before = scene.pod_uids()
    (image,) = {pod["spec"]["containers"][0]["image"] for pod in scene.runtime_pods().values()}
    scene.patch('{"spec": {"template": {"image": "localhost/nobody/nothing:none"}}}')
    condition = scene.wait_condition("Degraded", "True", reason="RolloutStalled", seconds=120)
    said = r"Image localhost/nobody/nothing:none cannot be pulled to node \S+ \((ErrImagePull|ImagePullBackOff): .+\)"
    assert re.match(said, condition["message"]), condition["message"]
    assert re.match(said, scene.status()["rollout"]["message"])
    assert scene.condition("Ready")["status"] == "True"
    assert scene.pod_uids() == before, "no pod was replaced"
    assert scene.resumes() == 0
    scene.wait_events(RATE)

    scene.patch(json.dumps({"spec": {"template": {"image": copy_image(image, tag="mended")}}}))
    wait_rolled_out(scene, before)
    scene.wait_ready()
    assert scene.condition("Degraded")["status"] == "False"
    assert scene.kubectl.names("pods", selector=PULL_LABEL) == set()
    assert scene.resumes() == 8
    scene.wait_events(RATE)
    assert_nothing_happened(scene, shards=8, identifies=8)
