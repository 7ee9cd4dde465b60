"""A gateway that was applied: READY, events at the bot, pods without privileges."""

from __future__ import annotations

from harness.scene import GATEWAY, GATEWAY_LABEL, Scene


def test_events_of_an_applied_gateway_arrive_with_its_headers(scene: Scene) -> None:
    scene.apply_gateway()
    scene.wait_ready()
    scene.load(100)
    scene.wait_events(300)
    scene.load(0)

    headers = scene.received()["lastHeaders"]
    assert headers["x-gateway-name"] == GATEWAY
    assert headers["x-gateway-generation"] == "1"
    assert headers["x-gateway-shards"] == "4"
    assert int(headers["x-gateway-events"]) >= 1
    assert headers["content-type"] == "application/json"
    assert scene.identifies() == 4

    verdict = scene.verdict()
    assert verdict.sent > 300
    assert (verdict.lost, verdict.duplicated) == (0, 0), verdict
    assert (verdict.lane_violations, verdict.stream_violations) == (0, 0), verdict


def test_single_format_sends_one_payload_per_request(scene: Scene) -> None:
    scene.apply_gateway(forward={"format": "single"})
    scene.wait_ready()
    scene.load(20)
    scene.wait_events(40)
    scene.load(0)
    received = scene.received()
    assert received["lastHeaders"]["x-gateway-events"] == "1"
    assert received["lastHeaders"]["x-gateway-shard"] in {"0", "1", "2", "3"}
    assert received["lastHeaders"]["x-gateway-session"]
    assert scene.verdict().lost == 0


def test_runtime_pods_are_restricted_and_hold_no_credentials(scene: Scene) -> None:
    scene.apply_gateway()  # the namespace refuses pods that are not restricted
    scene.wait_ready()
    (pod,) = scene.kubectl.items("pods", selector=GATEWAY_LABEL)
    spec = pod["spec"]
    (container,) = spec["containers"]
    assert spec["automountServiceAccountToken"] is False
    assert spec["securityContext"]["runAsNonRoot"] is True
    assert container["securityContext"]["readOnlyRootFilesystem"] is True
    assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
    assert not [volume for volume in spec["volumes"] if "projected" in volume]

    look = (
        "import os, pathlib; print(os.getuid(), pathlib.Path('/var/run/secrets').exists());"
        "import importlib.util; print(importlib.util.find_spec('kubernetes'))"
    )
    printed = scene.kubectl.run("exec", pod["metadata"]["name"], "--", "python", "-c", look)
    assert printed.split() == ["65532", "False", "None"]
