"""A deleted gateway leaves nothing behind, whether or not the operator saw it go."""

from __future__ import annotations

from harness.kubectl import wait_until
from harness.scene import GATEWAY, Scene


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
