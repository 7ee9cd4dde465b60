"""The release's life: upgraded over the chart before without a word to the pods, and gone without a trace."""

from __future__ import annotations

import json
from typing import Any, Final

import pytest
from harness.cluster import E2E, install
from harness.helm import Helm
from harness.kubectl import Kubectl, wait_until
from harness.outcome import RATE, assert_handed_over, assert_nothing_happened, begin
from harness.scene import GATEWAY, Scene
from harness.system import NAMESPACE, RELEASE, SELECTOR

PREVIOUS: Final = E2E / "charts"
"""The chart of the version before this one, packaged; see README.md."""
CRD: Final = "CustomResourceDefinition/discordgateways.discordgateway.dev"


@pytest.fixture
def helm(kubectl: Kubectl) -> Helm:
    return Helm(kubectl)


def test_an_upgrade_from_the_previous_chart_leaves_pods_alone(scene: Scene, helm: Helm) -> None:
    begin(scene, reshard={"overlapSeconds": 5})
    before = scene.pod_uids()
    (previous,) = PREVIOUS.glob("*.tgz")
    (operator,) = scene.system.images()
    # The images of the version before are not built here, so its chart gets the present ones. They may need rights that
    # it does not give, so nothing is asked of the operator while it is installed but to leave alone what runs.
    tag = operator.rpartition(":")[2]
    values = [f"--set-string={image}.tag={tag}" for image in ("image", "runtime.image")]
    options = ["--reset-values", *values, "--wait", "--timeout=180s"]
    helm.run("upgrade", RELEASE, str(previous), f"--namespace={NAMESPACE}", *options)
    operators = scene.system.pod_names()
    install()
    wait_until("other operators", lambda: not scene.system.pod_names() & operators, seconds=90)
    scene.system.wait_leader()
    scene.patch('{"spec": {"reshard": {"cooldownSeconds": 60}}}')
    wait_seen(scene)
    scene.wait_events(RATE)
    assert scene.pod_uids() == before
    assert (scene.identifies(), scene.resumes()) == (4, 0)
    scene.kubectl.run("scale", f"dgw/{GATEWAY}", "--replicas=8")
    assert_handed_over(scene, generation=2, shards=8, identifies=4 + 8)


def test_uninstalled_it_leaves_the_crd_and_the_gateways_at_work(scene: Scene, helm: Helm) -> None:
    begin(scene)
    assert len(traces(scene.kubectl)) > 5
    helm.run("uninstall", RELEASE, f"--namespace={NAMESPACE}", "--wait", "--timeout=120s")
    try:
        wait_until("nothing but the CRD", lambda: traces(scene.kubectl) == {CRD}, seconds=90)
        scene.fault("reconnect")  # op 7 to every session: RESUME asks nobody
        scene.wait_events(2 * RATE)
        assert scene.resumes() == 4
    finally:
        install()
    scene.system.wait_leader()
    scene.patch('{"spec": {"forward": {"maxDelayMilliseconds": 3}}}')
    wait_seen(scene)
    assert_nothing_happened(scene, shards=4, identifies=4)


def wait_seen(scene: Scene) -> None:
    """Until the operator has looked at the present spec."""
    gateway = scene.kubectl.get("dgw", GATEWAY)
    assert gateway is not None
    generation = gateway["metadata"]["generation"]
    wait_until("a pass of the operator", lambda: scene.status()["observedGeneration"] == generation, seconds=60)


def traces(kubectl: Kubectl) -> set[str]:
    """``kind/name`` of everything of the release: what its namespace holds, and what names it elsewhere."""
    resources = kubectl.run("api-resources", "--verbs=list", "--output=name").split()
    kinds = ",".join(sorted(name for name in resources if not name.startswith("events")))
    found = json.loads(kubectl.run("get", kinds, "--all-namespaces", "-o", "json"))["items"]
    return {
        f"{item['kind']}/{item['metadata']['name']}"
        for item in found
        if _is_of_the_release(item["metadata"]) and item["metadata"]["name"] not in ("kube-root-ca.crt", "default")
    }


def _is_of_the_release(metadata: dict[str, Any]) -> bool:
    label, _, value = SELECTOR.partition("=")
    return (
        metadata.get("namespace") == NAMESPACE
        or (metadata.get("labels") or {}).get(label) == value
        or (metadata.get("annotations") or {}).get("meta.helm.sh/release-name") == RELEASE
    )
