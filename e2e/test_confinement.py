"""What stands between a runtime pod and the cluster, and what `helm test` says of the release."""

from __future__ import annotations

import subprocess

from harness.kubectl import environment
from harness.scene import GATEWAY, GATEWAY_LABEL, Scene
from harness.system import NAMESPACE, RELEASE

ASK_THE_API_SERVER = """
import pathlib, ssl, urllib.error, urllib.request
anyone = ssl._create_unverified_context()
opener = urllib.request.build_opener(urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=anyone))
credentials = pathlib.Path("/var/run/secrets/kubernetes.io/serviceaccount/token")  # where they would be
headers = {"authorization": "Bearer " + credentials.read_text()} if credentials.exists() else {}
for path in ("/api/v1/namespaces/default/secrets", "/apis/discordgateway.dev/v1alpha1/discordgateways"):
    try:
        request = urllib.request.Request("https://kubernetes.default.svc" + path, headers=headers)
        with opener.open(request, timeout=5) as answer:
            print(answer.status)
    except urllib.error.HTTPError as error:
        print(error.code)
    except OSError:
        print("unreachable")
"""


def test_a_runtime_pod_gets_nothing_from_the_api_server(scene: Scene) -> None:
    scene.apply_gateway()
    scene.wait_ready()
    (pod,) = scene.kubectl.names("pods", selector=GATEWAY_LABEL)
    said = scene.kubectl.run("exec", pod, "--", "python", "-c", ASK_THE_API_SERVER).split()
    # a policy makes it unreachable where the network's plugin enforces one; without credentials it refuses anyway
    assert len(said) == 2
    assert set(said) <= {"401", "403", "unreachable"}


def test_a_gateway_has_a_policy_over_its_pods_and_its_going_takes_it_along(scene: Scene) -> None:
    scene.apply_gateway()
    scene.wait_ready()
    policy = scene.kubectl.get("networkpolicy", GATEWAY)
    assert policy is not None
    assert policy["spec"]["policyTypes"] == ["Egress"]
    ((label, value),) = policy["spec"]["podSelector"]["matchLabels"].items()
    assert f"{label}={value}" == GATEWAY_LABEL
    scene.kubectl.run("delete", "dgw", GATEWAY, "--timeout=60s")
    assert scene.kubectl.get("networkpolicy", GATEWAY) is None


def test_helm_test_passes(scene: Scene) -> None:
    helm = [scene.kubectl.command[0].removesuffix("kubectl") + "helm", f"--kubeconfig={scene.kubectl.kubeconfig}"]
    done = subprocess.run(
        [*helm, "test", RELEASE, "--namespace", NAMESPACE, "--timeout=150s"],
        capture_output=True,
        text=True,
        timeout=180,
        env=environment(),
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Succeeded" in done.stdout
