"""A bot that is not there: events wait for it."""

from __future__ import annotations

import json

from harness.kubectl import wait_until
from harness.outcome import RATE, assert_nothing_happened, begin
from harness.scene import GATEWAY, Scene

AWAY_SECONDS = 20


def select(scene: Scene, label: str) -> None:
    """Which pods the bot's Service leads to."""
    patch = json.dumps({"spec": {"selector": {"app": label}}})
    scene.kubectl.run("patch", "service", "receiver", f"--patch={patch}")


def rollout(scene: Scene) -> str:
    """What the rollout does or waits for."""
    return str((scene.status().get("rollout") or {}).get("message", ""))


def test_a_receiver_that_was_away_gets_everything_when_it_is_back(scene: Scene) -> None:
    begin(scene)
    select(scene, "nobody")  # a Service without pods refuses connections
    # living ones end with the bot's process; what it has acknowledged it finds again in its log
    stop = "import os, signal; os.kill(1, signal.SIGTERM)"
    scene.kubectl.run("exec", "deployment/receiver", "--", "python", "-c", stop)
    condition = scene.wait_condition("ReceiverReachable", "False", reason="RequestsFail")
    assert condition["message"]
    away_from = scene.truth()["now"]
    wait_until("a while", lambda: scene.truth()["now"] - away_from >= AWAY_SECONDS * 1000, seconds=60)
    assert scene.condition("Ready")["status"] == "True"
    # a pod that ends meanwhile keeps what it holds for its successor only on a volume; without one it is left alone
    scene.patch('{"spec": {"template": {"annotations": {"example.com/rolled": "once"}}}}')
    wait_until(
        "a rollout that waits",
        lambda: "backlog" in (scene.status().get("rollout") or {}).get("message", ""),
        seconds=60,
    )
    select(scene, "receiver")
    scene.wait_condition("ReceiverReachable", "True")
    wait_until("the rollout", lambda: "rollout" not in scene.status(), seconds=120)
    scene.wait_ready()
    scene.wait_events(RATE)
    assert f"{GATEWAY}-g1-0" in scene.runtime_pods()
    assert_nothing_happened(scene, shards=4, identifies=4)
