"""What a person writes wrong is said in a sentence: by the API server where it can, in a condition where it cannot."""

from __future__ import annotations

from typing import Any

import pytest
from harness.kubectl import Kubectl, KubectlError, wait_until
from harness.scene import GATEWAY, GATEWAY_LABEL, Scene, example, merged

REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "intent": (
        {"intents": ["GUILDS", "GUILD_MESAGES"]},
        '"GUILD_MESAGES" is not a Discord intent; write one of GUILDS',
    ),
    "api-url": (
        {"apiURL": "discord.com/api/v10"},
        "apiURL must be a URL that starts with http:// or https:// and a host",
    ),
    "gateway-url": (
        {"gatewayURL": "https://gateway"},
        "gatewayURL must be a URL that starts with ws:// or wss:// and a host",
    ),
    "gate-url": (
        {"identify": {"gateURL": "gateways-operator:8080"}},
        "gateURL must be a URL that starts with http:// or https:// and a host",
    ),
    "receiver-url": (
        {"forward": {"url": "receiver.default.svc/events"}},
        "url must be a URL that starts with http:// or https:// and a host",
    ),
    "ca-bundle": ({"forward": {"caBundle": "MIIB"}}, "caBundle must be PEM certificates"),
    "event-name": (
        {"forward": {"events": {"include": ["messageCreate"]}}},
        '"messageCreate" is not the name of a dispatch',
    ),
    "storage-size": ({"storage": {"size": "10"}}, "storage.size must be a number with a unit, such as 10Gi"),
    "negative-count": ({"shards": {"count": -1}}, "spec.shards.count"),
    "first-last": ({"shards": {"count": 8, "first": 5, "last": 3}}, "shards.last must not be below shards.first"),
    "part-without-count": (
        {"shards": {"count": 0, "first": 2, "last": 3}},
        "a part of the shards needs shards.count to be written out, the same for all parts",
    ),
    "part-beyond-count": (
        {"shards": {"count": 4, "first": 2, "last": 4}},
        "shards.first and shards.last must be below shards.count; shard ids start at 0",
    ),
    "own-variable": (
        {"template": {"env": [{"name": "POD_UID", "value": "1"}]}},
        "this variable is set by the operator; choose another name",
    ),
    "own-volume": (
        {"template": {"volumes": [{"name": "token", "emptyDir": {}}]}},
        "this is a volume of the operator's; choose another name",
    ),
    "own-path": (
        {"template": {"volumeMounts": [{"name": "more", "mountPath": "/tmp"}]}},
        "mountPath must be an absolute path outside of /etc/discord-gateway",
    ),
    "format": ({"forward": {"format": "xml"}}, 'supported values: "batch", "single"'),
    "no-token": ({"tokenSecretRef": None}, "spec.tokenSecretRef: Required value"),
    "unknown-field": ({"shardz": {"count": 8}}, 'unknown field "spec.shardz"'),
}


@pytest.mark.parametrize(("spec", "sentence"), REFUSED.values(), ids=REFUSED)
def test_the_api_server_refuses_a_bad_manifest(kubectl: Kubectl, spec: dict[str, Any], sentence: str) -> None:
    _, gateway = example("gateway.yaml", "default")
    with pytest.raises(KubectlError) as refused:
        kubectl.apply(merged(gateway, {"spec": spec}))
    assert sentence in str(refused.value)
    assert kubectl.get("dgw", GATEWAY) is None


def test_the_api_server_refuses_a_name_too_long_for_what_is_made_of_it(kubectl: Kubectl) -> None:
    _, gateway = example("gateway.yaml", "default")
    name = "a" * 41
    with pytest.raises(KubectlError) as refused:
        kubectl.apply(merged(gateway, {"metadata": {"name": name}}))
    assert "metadata.name must be at most 40 characters" in str(refused.value)
    assert kubectl.get("dgw", name) is None


def test_a_missing_secret_is_named_and_its_creation_heals(scene: Scene) -> None:
    secret, gateway = scene.manifests()
    scene.kubectl.apply(gateway)
    condition = scene.wait_condition("Ready", "False", reason="SecretMissing")
    assert f"{scene.namespace}/{GATEWAY} does not exist" in condition["message"]
    assert scene.condition("TokenValid")["status"] == "False"
    scene.kubectl.apply(merged(secret, {"stringData": {"token": None, "TOKEN": secret["stringData"]["token"]}}))
    condition = scene.wait_condition("Ready", "False", reason="SecretKeyMissing")
    assert 'has no key "token" (keys: TOKEN)' in condition["message"]
    assert scene.kubectl.names("statefulsets") == set()
    scene.kubectl.apply(secret)
    scene.wait_ready()


def test_a_wrong_token_is_said_and_never_identified_with(scene: Scene) -> None:
    secret, gateway = scene.manifests()
    scene.kubectl.apply(merged(secret, {"stringData": {"token": "bm9ib2R5.wrong.token"}}), gateway)
    scene.wait_condition("TokenValid", "False", reason="TokenRefused")
    assert scene.condition("Ready")["status"] == "False"
    assert scene.truth()["counters"]["identifyAttempts"] == 0
    assert scene.kubectl.items("pods", selector=GATEWAY_LABEL) == []
    scene.kubectl.apply(secret)
    scene.wait_ready()


def test_a_token_that_the_gateway_refuses_is_not_identified_with_again(scene: Scene) -> None:
    scene.apply_gateway()
    scene.wait_ready()
    scene.fault("close", code=4004)
    scene.wait_condition("TokenValid", "False")
    wait_until("stopped shards", lambda: scene.condition("Ready")["status"] == "False", seconds=30)
    (pod,) = scene.kubectl.items("pods", selector=GATEWAY_LABEL)
    assert [container["restartCount"] for container in pod["status"]["containerStatuses"]] == [0]
    assert scene.truth()["counters"]["identifyAttempts"] == 4


def test_an_unreachable_api_is_said_and_heals(scene: Scene) -> None:
    scene.fault("api", status=500, seconds=600)
    scene.apply_gateway()
    scene.wait_condition("Ready", "False", reason="APIUnreachable")
    # a Service may take a second to lead anywhere, and then that is said first
    wait_until("the API's answer", lambda: "answered 500" in scene.condition("Ready")["message"], seconds=60)
    scene.fault("clear")
    scene.wait_ready()


def test_a_shared_identify_gate_that_is_away_leaves_what_runs_alone(scene: Scene) -> None:
    scene.apply_gateway()
    scene.wait_ready()
    scene.patch('{"spec": {"identify": {"gateURL": "http://127.0.0.1:1"}}}')
    scene.load(50)
    scene.wait_events(50)
    scene.patch('{"spec": {"identify": {"gateURL": null}}}')
    scene.wait_ready()
    assert scene.status()["activeGeneration"] == 1


@pytest.mark.parametrize("behaviour", [{"status": 500}, {"hang": True}], ids=["500", "hangs"])
def test_a_receiver_that_fails_is_said_and_loses_nothing(scene: Scene, behaviour: dict[str, Any]) -> None:
    scene.apply_gateway(forward={"timeoutSeconds": 1})
    scene.wait_ready()
    scene.load(100)
    scene.wait_events(100)
    scene.behave(**behaviour)
    condition = scene.wait_condition("ReceiverReachable", "False")
    assert condition["message"]
    scene.behave()
    scene.wait_events(100)
    scene.load(0)
    verdict = scene.verdict()
    assert (verdict.lost, verdict.duplicated_by_key, verdict.lane_violations) == (0, 0, 0), verdict
