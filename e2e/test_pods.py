"""Sessions outlive the pods that hold them: what a pod leaves is resumed by the one that replaces it."""

from __future__ import annotations

from harness.kubectl import wait_until
from harness.outcome import TWO_PODS, assert_nothing_happened, assert_sessions, begin, end
from harness.scene import GATEWAY, Scene

RATE = 100


def delete_pod(scene: Scene, name: str) -> None:
    """Returns when its successor's shards are all READY."""
    before = scene.pod_uids()
    scene.kubectl.run("delete", "pod", name, "--timeout=90s")
    ready = f"pod {name} back"
    wait_until(ready, lambda: scene.pod_uids().get(name, before[name]) != before[name], seconds=90)
    scene.kubectl.run("wait", "--for=condition=Ready", f"pod/{name}", "--timeout=120s", seconds=130)


def test_a_deleted_pod_resumes_without_identify(scene: Scene) -> None:
    begin(scene, rate=RATE)
    delete_pod(scene, f"{GATEWAY}-g1-0")  # alone: it has no siblings
    assert scene.resumes() == 4
    scene.wait_ready()
    scene.wait_events(RATE)
    assert_nothing_happened(scene, shards=4, identifies=4)


def test_a_deleted_pod_resumes_by_its_siblings_while_the_operator_is_down(scene: Scene) -> None:
    begin(scene, rate=RATE, shards=TWO_PODS)
    scene.system.scale(0)
    delete_pod(scene, f"{GATEWAY}-g1-1")
    assert scene.resumes() == 4
    scene.wait_events(RATE)
    scene.system.scale(1)
    scene.wait_ready()
    assert_nothing_happened(scene, shards=8, identifies=8)


def test_a_killed_worker_resumes_without_identify(scene: Scene) -> None:
    begin(scene, rate=RATE, shards=TWO_PODS)
    kill = (
        "import os, pathlib, signal\n"
        "for folder in pathlib.Path('/proc').glob('[0-9]*'):\n"
        "    if b'shard_runtime.worker' in (folder / 'cmdline').read_bytes().split(b'\\0')[1:3]:\n"
        "        os.kill(int(folder.name), signal.SIGKILL)\n"
    )
    scene.kubectl.run("exec", f"{GATEWAY}-g1-0", "--", "python", "-c", kill)
    wait_until("4 sessions resumed", lambda: scene.resumes() == 4, seconds=60)
    scene.wait_ready()
    scene.wait_events(RATE)
    pod = scene.runtime_pods()[f"{GATEWAY}-g1-0"]
    assert [container["restartCount"] for container in pod["status"]["containerStatuses"]] == [0]
    verdict = end(scene)
    # what the worker had sent and was not answered yet is sent again, under the same key
    assert verdict.duplicated == verdict.redelivered, verdict
    assert_sessions(scene, shards=8, identifies=8)
