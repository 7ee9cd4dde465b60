"""Twenty minutes of real faults: nothing is lost, nothing comes twice unmarked, and everything recovers.

``make chaos`` runs it, on the node of ``e2e/node`` only. ``CHAOS_SEED``, ``CHAOS_MINUTES`` and ``CHAOS_RATE`` (events
per second) change what it does; ``e2e/artifacts/chaos.json`` says what it came to.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
from harness.kubectl import Kubectl
from harness.scene import Scene
from harness.system import System
from harness.traces import ARTIFACTS

from chaos.run import Run
from chaos.schedule import COUNTS, draw
from chaos.volumes import CLASS, SIZE, Volumes

SEED = int(os.environ.get("CHAOS_SEED", "1"))
MINUTES = float(os.environ.get("CHAOS_MINUTES", "20"))
RATE = float(os.environ.get("CHAOS_RATE", "150"))
ROOT = Path(os.environ.get("DISCORD_GATEWAY_NODE", "/var/tmp/discord-gateway-node"))

DISCORD = [
    "--host=0.0.0.0",
    "--port=8080",
    "--guilds=200",
    "--max-concurrency=4",
    # it remembers sessions and events for longer than anything lasts here: so nothing may be lost
    "--session-expiry=900",
    "--replay-events=200000",
]
VOLUMES = 16
"""Two generations at a time have five pods, and claims of one that is over take a while to go."""


@pytest.fixture
def two_operators(system: System) -> Iterator[None]:
    system.replicas = 2
    system.scale(2)
    yield
    system.replicas = 1
    system.restore()


@pytest.fixture
def volumes(kubectl: Kubectl) -> Iterator[Volumes]:
    volumes = Volumes(kubectl=kubectl, folder=ROOT / "chaos", number=VOLUMES)
    volumes.make()
    yield volumes
    volumes.remove()


@pytest.mark.verify
@pytest.mark.timeout(60 * (3 * MINUTES + 15), func_only=True)
@pytest.mark.usefixtures("two_operators")
def test_nothing_is_lost_whatever_befalls_the_pods_and_the_machine(
    volumes: Volumes, scene: Scene, pytestconfig: pytest.Config
) -> None:
    capture = pytestconfig.pluginmanager.getplugin("capturemanager")

    def say(line: str) -> None:
        with capture.global_and_fixture_disabled():
            print(line, flush=True)

    arguments = {"spec": {"template": {"spec": {"containers": [{"name": "simulator", "args": DISCORD}]}}}}
    scene.kubectl.run("patch", "deployment", "simulator", f"--patch={msgspec.json.encode(arguments).decode()}")
    scene.kubectl.run("rollout", "status", "deployment/simulator", "--timeout=120s", seconds=130)
    scene.apply_gateway(
        shards={"count": COUNTS[0], "perWorker": 2, "workersPerPod": 2},
        reshard={"auto": False, "overlapSeconds": 5},
        storage={"size": SIZE, "storageClassName": CLASS},
    )
    scene.wait_ready(seconds=180)
    say(f"\nseed {SEED}, {RATE:g} events a second; the kernel has no netem, so links are slowed by a program")
    run = Run(scene=scene, root=ROOT, volumes=volumes, rate=RATE, say=say)
    numbers = run.go(draw(seed=SEED, minutes=MINUTES))
    result = run.result(seed=SEED, numbers=numbers)
    ARTIFACTS.mkdir(parents=True, exist_ok=True)
    (ARTIFACTS / "chaos.json").write_bytes(msgspec.json.format(msgspec.json.encode(result)))
    say(msgspec.json.encode(result).decode())
    assert result.strikes
