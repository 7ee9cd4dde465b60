"""A deleted gateway leaves nothing behind, whether or not the operator saw it go."""

from __future__ import annotations

import os
import time
from contextlib import ExitStack
from pathlib import Path

import pytest
from chaos.control_plane import ApiServer
from chaos.machine import contained, go_on, processes_of, stop
from harness.kubectl import wait_until
from harness.scene import GATEWAY, Scene

NODE = Path(os.environ.get("DISCORD_GATEWAY_NODE", "/var/tmp/discord-gateway-node"))
HUNG_SECONDS = 25
"""Longer than a call of the operator waits, and than its Lease lasts."""


def left(scene: Scene) -> set[str]:
    """What is left of the gateway; the Secret with the token is the person's."""
    gateway = {GATEWAY} if scene.kubectl.get("dgw", GATEWAY) else set()
    return gateway | scene.owned()


def wait_nothing_left(scene: Scene) -> None:
    wait_until("nothing left of the gateway", lambda: not left(scene) or None, seconds=90)
    assert scene.kubectl.names("secrets") == {GATEWAY}
    assert scene.kubectl.names("configmaps") == {"kube-root-ca.crt"}
    assert scene.kubectl.names("services") == {"simulator", "receiver"}


def test_delete_leaves_nothing_behind(scene: Scene) -> None:
    scene.apply_gateway()
    scene.wait_ready()
    assert len(left(scene)) > 5
    scene.kubectl.run("delete", "dgw", GATEWAY, "--timeout=60s")
    wait_nothing_left(scene)


def test_a_delete_while_the_operator_was_down_leaves_nothing_behind(scene: Scene) -> None:
    scene.apply_gateway()
    scene.wait_ready()
    scene.system.scale(0)
    scene.kubectl.run("delete", "dgw", GATEWAY, "--wait=false")
    assert scene.kubectl.get("dgw", GATEWAY) is not None  # the finalizer holds it
    scene.system.scale(1)
    wait_nothing_left(scene)


def test_a_delete_in_the_middle_of_a_reshard_leaves_nothing_behind(scene: Scene) -> None:
    scene.apply_gateway()
    scene.wait_ready()
    scene.kubectl.run("scale", f"dgw/{GATEWAY}", "--replicas=8")
    wait_until("a target", lambda: scene.status().get("targetGeneration"), seconds=30)
    scene.kubectl.run("delete", "dgw", GATEWAY, "--timeout=60s")
    wait_nothing_left(scene)


def test_a_delete_while_the_api_server_hangs_leaves_nothing_behind(scene: Scene) -> None:
    api = ApiServer(NODE)
    if not api.here:
        pytest.skip("the API server is in another machine")
    scene.apply_gateway()
    scene.wait_ready()
    (operator,) = scene.system.pods()
    with ExitStack() as undo:
        # it hears of the deletion when nobody answers it any more, so that its first try is in vain
        processes = contained(processes_of(operator["metadata"]["uid"]))
        stop(processes)
        undo.callback(go_on, processes)
        scene.kubectl.run("delete", "dgw", GATEWAY, "--wait=false")
        assert scene.owned()
        undo.callback(api.hang())
        go_on(processes)
        hung_at = time.monotonic()
        wait_until("the time", lambda: time.monotonic() - hung_at > HUNG_SECONDS, seconds=2 * HUNG_SECONDS)
    wait_nothing_left(scene)
    assert "no usable answer" in scene.system.logs(since=operator["metadata"]["creationTimestamp"])
