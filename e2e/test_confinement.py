"""What stands between a runtime pod and the cluster, and what `helm test` says of the release."""

from __future__ import annotations

import contextlib
import json
import subprocess
from typing import Any

import pytest
from chaos import machine
from harness.kubectl import environment, wait_until
from harness.policies import enforced
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

CONNECT = """
import http.client, json, ssl, sys
said = {}
for host, port in json.loads(sys.argv[1]):
    server = http.client.HTTPSConnection(host, port, timeout=4, context=ssl._create_unverified_context())
    try:
        server.connect()
    except (TimeoutError, ConnectionRefusedError) as error:
        said[f"{host}:{port}"] = type(error).__name__
        continue
    server.request("GET", "/version")
    said[f"{host}:{port}"] = server.getresponse().status
print(json.dumps(said))
"""
"""Anything but an answer of HTTP, a timeout or a refusal ends it with an error, which is the test's."""

RESOLVE = "import socket, sys; print(socket.getaddrinfo(sys.argv[1], 8080, type=socket.SOCK_STREAM)[0][4][0])"

SHARDS = 4


def test_a_runtime_pod_gets_nothing_from_the_api_server(scene: Scene) -> None:
    scene.apply_gateway()
    scene.wait_ready()
    (pod,) = scene.kubectl.names("pods", selector=GATEWAY_LABEL)
    said = scene.kubectl.run("exec", pod, "--", "python", "-c", ASK_THE_API_SERVER).split()
    # a policy makes it unreachable where the network's plugin enforces one; without credentials it refuses anyway
    assert len(said) == 2
    assert set(said) <= {"401", "403", "unreachable"}


def test_under_its_policy_a_runtime_pod_cannot_reach_the_api_server_and_works_on(scene: Scene) -> None:
    scene.apply_gateway()
    scene.wait_ready()
    (pod,) = scene.kubectl.items("pods", selector=GATEWAY_LABEL)
    name = pod["metadata"]["name"]
    ready_since = ready(pod)
    # no policy is over the simulator's pod: what gets no answer below is there, and answers
    assert answered(connect(scene, "deploy/simulator"))

    with contextlib.ExitStack() as policy:
        bare = answered(connect(scene, name))
        if bare:  # no plugin enforces
            sandbox = machine.sandbox(machine.processes_of(pod["metadata"]["uid"]))
            if sandbox is None:
                pytest.skip("no plugin of the cluster enforces policies, and its pods are in another machine")
            policy.enter_context(enforced(scene.kubectl, pod, sandbox=sandbox))
        assert set(connect(scene, name).values()) <= {"TimeoutError", "ConnectionRefusedError"}
        works_on(scene, name)
        assert set(connect(scene, name).values()) <= {"TimeoutError", "ConnectionRefusedError"}
    if bare:
        assert answered(connect(scene, name)), "it was the policy"
    (after,) = scene.kubectl.items("pods", selector=GATEWAY_LABEL)
    assert after["metadata"]["uid"] == pod["metadata"]["uid"]
    assert ready(after) == ready_since, "Ready all the time"


def connect(scene: Scene, pod: str) -> dict[str, Any]:
    """What *pod* hears of the API server, by each of its addresses: the Service's and its own."""
    default = scene.kubectl.within("default")
    service = default.get("service", "kubernetes")
    assert service is not None
    servers = {(service["spec"]["clusterIP"], 443)}
    for each in default.items("endpointslices", selector="kubernetes.io/service-name=kubernetes"):
        for endpoint in each["endpoints"]:
            servers |= {(ip, port["port"]) for ip in endpoint["addresses"] for port in each["ports"]}
    assert len(servers) >= 2
    said = json.loads(scene.kubectl.run("exec", pod, "--", "python", "-c", CONNECT, json.dumps(sorted(servers))))
    assert len(said) == len(servers)
    return dict(said)


def answered(said: dict[str, Any]) -> bool:
    """Whether HTTP did, by all addresses; an answer by some is neither reached nor not."""
    by_address = {isinstance(answer, int) for answer in said.values()}
    assert len(by_address) == 1, said
    return by_address.pop()


def ready(pod: dict[str, Any]) -> str:
    """Since when it is."""
    condition = next(each for each in pod["status"]["conditions"] if each["type"] == "Ready")
    assert condition["status"] == "True"
    return str(condition["lastTransitionTime"])


def works_on(scene: Scene, pod: str) -> None:
    """All that a pod needs others for, on connections that are made now."""
    assert scene.kubectl.run("exec", pod, "--", "python", "-c", RESOLVE, f"receiver.{scene.namespace}.svc").strip()
    scene.fault("invalidate")  # Discord has forgotten its sessions: each of the new ones needs a permit of the operator
    wait_until("new sessions", lambda: scene.identifies() == 2 * SHARDS, seconds=60)
    resumed = scene.resumes()
    scene.load(100)
    scene.wait_events(200)
    scene.fault("drop")
    wait_until("sessions resumed", lambda: scene.resumes() == resumed + SHARDS, seconds=60)
    scene.wait_events(200)
    # what a pod says of its receiver is asked for by the operator
    scene.behave(status=500)
    scene.wait_condition("ReceiverReachable", "False")
    scene.behave()
    scene.wait_condition("ReceiverReachable", "True")
    scene.load(0)
    verdict = scene.verdict()
    assert verdict.sent > 400
    assert (verdict.lost, verdict.duplicated) == (0, 0), verdict


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
