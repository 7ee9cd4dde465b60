"""The main job on a real cluster, to watch: examples/kubernetes applied, a failing bot, a reshard by ``kubectl patch``.

A line a second says what is going on; the last line is the outcome as one JSON object, judged by what the simulated
Discord knows it sent and what the receiver acknowledged. The chart is installed already (``demo_kubernetes.sh``).
"""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
import urllib.error
from pathlib import Path
from typing import Any, Final

from harness.kubectl import Kubectl, wait_until
from harness.proxy import ServiceProxy
from harness.scene import EXAMPLE_NAMESPACE, GATEWAY, GATEWAY_LABEL, Scene
from harness.system import System

E2E: Final = Path(__file__).parent
RATE: Final = 200
BEFORE, AFTER = 4, 8


class Narrator:
    """Prints a line a second from a thread of its own, so that it goes on while a kubectl waits."""

    def __init__(self, scene: Scene) -> None:
        self._scene = scene
        self._started = time.monotonic()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="narrator", daemon=True)
        self.doing = "starting"

    def __enter__(self) -> Narrator:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join(timeout=30)

    def _run(self) -> None:
        while not self._over.wait(1):
            print(self._line(), flush=True)

    def _line(self) -> str:
        try:
            status, sent = self._scene.status(), self._scene.truth()["sent"]
            acknowledged = self._scene.received()["totals"]["events"]
        except (AssertionError, urllib.error.URLError, OSError):
            return f"{time.monotonic() - self._started:5.1f} s  (no answer)  {self.doing}"
        shards = ", ".join(
            f"generation {g['number']} ({g['role']}) {g['readyShards']}/{g['shards']} READY"
            for g in status.get("generations") or []
        )
        return (
            f"{time.monotonic() - self._started:5.1f} s  {shards or 'no shards yet':<42}  sent {sent:>6}  "
            f"acknowledged {acknowledged:>6}  {self.doing}"
        )


def story(scene: Scene, narrator: Narrator) -> dict[str, Any]:
    """What happens, in order; gives the outcome. Raises ``AssertionError`` with what was waited for in vain."""
    narrator.doing = f"kubectl apply: {BEFORE} shards identify"
    scene.apply_gateway(shards={"count": BEFORE})
    scene.wait_ready()
    narrator.doing = f"{RATE} events a second"
    scene.load(RATE)
    scene.wait_events(RATE * 4)

    narrator.doing = "the bot answers 503; events queue"
    scene.behave(status=503)
    time.sleep(5)  # a bot that is away for five seconds, to watch
    narrator.doing = "the bot is back; the queue drains"
    scene.behave()
    scene.wait_events(RATE * 6)

    narrator.doing = f"kubectl patch: {BEFORE} to {AFTER} shards"
    scene.patch(json.dumps({"spec": {"shards": {"count": AFTER}}}))
    scene.wait_generation(2)
    scene.wait_ready()
    narrator.doing = f"{AFTER} shards deliver"
    scene.wait_events(RATE * 2)
    scene.load(0)
    narrator.doing = "the last events arrive"
    verdict = scene.verdict()
    counters, status = scene.truth()["counters"], scene.status()
    return {
        "generations": status["activeGeneration"],
        "shards": status["shards"],
        "sent": verdict.sent,
        "delivered": verdict.delivered,
        "lost": verdict.lost,
        "duplicated": verdict.duplicated,
        "identifies": counters["identifiesAccepted"],
        "resumes": counters["resumesAccepted"],
        "cutover_seconds": status["history"][0]["cutoverSeconds"],
    }


def main() -> int:
    """Run the demo; 1 when something was lost or did not come about."""
    tools, kubeconfig = (
        subprocess.run([E2E / "cluster.sh", word], check=True, capture_output=True, text=True).stdout.strip()
        for word in ("tools", "kubeconfig")
    )
    kubectl = Kubectl(tools=Path(tools), kubeconfig=Path(kubeconfig))
    system, proxy = System(kubectl), ServiceProxy(kubectl)
    scene = Scene(kubectl=kubectl, proxy=proxy, system=system, namespace=EXAMPLE_NAMESPACE)
    try:
        if kubectl.get("namespace", EXAMPLE_NAMESPACE):  # of a demo before
            scene.kubectl.run("delete", "dgw", "--all", "--timeout=60s")
            kubectl.run("delete", "namespace", EXAMPLE_NAMESPACE, "--timeout=120s", seconds=130)
        print("A simulated Discord, a bot and a DiscordGateway, each in pods of this cluster.", flush=True)
        scene.begin()
        scene.wait_up()
        with Narrator(scene) as narrator:
            result = story(scene, narrator)
        print(scene.kubectl.run("get", "dgw"), flush=True)
        scene.kubectl.run("delete", "dgw", GATEWAY, "--timeout=60s")
        wait_until("the pods' end", lambda: not scene.kubectl.names("pods", selector=GATEWAY_LABEL) or None, seconds=90)
        kubectl.run("delete", "namespace", EXAMPLE_NAMESPACE, "--wait=false")
    except AssertionError as error:
        print(f"The demo failed: {error}", file=sys.stderr, flush=True)
        print(f"Look with: kubectl -n {EXAMPLE_NAMESPACE} get dgw,pods,events", file=sys.stderr, flush=True)
        return 1
    finally:
        proxy.close()
    print(json.dumps(result), flush=True)
    return 0 if result["lost"] == 0 else 1


if __name__ == "__main__":
    sys.exit(main())
