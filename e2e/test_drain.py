"""A drain takes pods one by one, by the gateway's PodDisruptionBudget, and no session is started anew over it."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from harness.kubectl import environment, wait_until
from harness.outcome import TWO_PODS, assert_nothing_happened, begin
from harness.scene import GATEWAY_LABEL, Scene

RATE = 100
REFUSED = "violate the pod's disruption budget"


@contextmanager
def drain(scene: Scene, node: str, log: Path) -> Iterator[subprocess.Popen[str]]:
    """``kubectl drain`` of the gateway's pods, which goes on; the node takes pods again in the end."""
    options = [f"--pod-selector={GATEWAY_LABEL}", "--delete-emptydir-data", "--timeout=180s"]
    with log.open("w") as file:
        process = subprocess.Popen(
            [*scene.kubectl.command, "drain", node, *options], stdout=file, stderr=file, text=True, env=environment()
        )
    try:
        yield process
    finally:
        process.kill()
        process.wait()
        scene.kubectl.run("uncordon", node)


def test_a_drain_takes_pods_one_by_one_and_loses_nothing(scene: Scene, tmp_path: Path) -> None:
    begin(scene, rate=RATE, shards=TWO_PODS)
    before = scene.pod_uids()
    (node,) = {pod["spec"]["nodeName"] for pod in scene.runtime_pods().values()}
    log = tmp_path / "drain.log"
    with drain(scene, node, log) as process:
        wait_until("an eviction that is refused", lambda: REFUSED in log.read_text(), seconds=60)
        # the one node is closed, so the first pod has nowhere to go, and for so long the second one stays
        wait_until("a pod that waits for a node", lambda: waiting(scene), seconds=60)
        assert len(set(scene.pod_uids().values()) & set(before.values())) == 1
        scene.kubectl.run("uncordon", node)  # stands for another node
        code = wait_until(
            "the drain's end", lambda: (process.poll(),) if process.poll() is not None else None, seconds=120
        )
        assert code == (0,), log.read_text()
    wait_until("two other pods", lambda: len(set(scene.pod_uids().values()) - set(before.values())) == 2, seconds=60)
    wait_until("8 sessions resumed", lambda: scene.resumes() == 8, seconds=60)
    scene.wait_ready()
    scene.wait_events(RATE)
    assert_nothing_happened(scene, shards=8, identifies=8)


def waiting(scene: Scene) -> list[str]:
    return [name for name, pod in scene.runtime_pods().items() if pod["status"]["phase"] == "Pending"]
