"""What a person writes wrong is said in a sentence: by the API server where it can, in a condition where it cannot."""

from __future__ import annotations

from typing import Any

import pytest
from harness.kubectl import Kubectl, KubectlError, wait_until
from harness.scene import GATEWAY, GATEWAY_LABEL, Scene, example, merged


@pytest.mark.parametrize(
    ("spec", "sentence"),
    [
        ({"intents": ["GUILDS", "GUILD_MESAGES"]}, '"GUILD_MESAGES" is not a Discord intent'),
        ({"apiURL": "discord.com/api/v10"}, "apiURL"),
        ({"shards": {"count": -1}}, "spec.shards.count"),
        ({"shards": {"count": 8, "first": 5, "last": 3}}, "shards.last must not be below shards.first"),
        ({"forward": {"url": "receiver.default.svc/events"}}, "forward.url"),
        ({"forward": {"format": "xml"}}, 'supported values: "batch", "single"'),
        ({"tokenSecretRef": None}, "spec.tokenSecretRef: Required value"),
        ({"shardz": {"count": 8}}, 'unknown field "spec.shardz"'),
    ],
    ids=["intent", "api-url", "negative-count", "first-last", "receiver-url", "format", "no-token", "unknown-field"],
)
def test_the_api_server_refuses_a_bad_manifest(kubectl: Kubectl, spec: dict[str, Any], sentence: str) -> None:
    _, gateway = example("gateway.yaml", "default")
    with pytest.raises(KubectlError) as refused:
        kubectl.apply(merged(gateway, {"spec": spec}))
    assert sentence in str(refused.value)
    assert kubectl.get("dgw", GATEWAY) is None


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
