"""A namespace of its own for every test, with a simulated Discord and a receiver, made from examples/kubernetes."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import Any, Final

import yaml

from discord_simulator.verdict import Verdict, fetch_verdict
from harness.kubectl import Kubectl, wait_until
from harness.proxy import ServiceProxy, call
from harness.system import System

EXAMPLES: Final = Path(__file__).parents[2] / "examples" / "kubernetes"
EXAMPLE_NAMESPACE: Final = "discord-gateway-demo"
GATEWAY: Final = "my-bot"
GATEWAY_LABEL: Final = f"discordgateway.dev/gateway={GATEWAY}"
_PATIENCE_SECONDS: Final = 3.0
OWNED: Final = "statefulsets,pods,services,configmaps,secrets,poddisruptionbudgets,controllerrevisions"


def example(name: str, namespace: str) -> list[dict[str, Any]]:
    """The manifests of an example, moved to *namespace*."""
    text = (EXAMPLES / name).read_text().replace(EXAMPLE_NAMESPACE, namespace)
    return [dict(document) for document in yaml.safe_load_all(text)]


def merged(base: dict[str, Any], patch: dict[str, Any]) -> dict[str, Any]:
    """*base* with *patch* laid over it, as a JSON merge patch would be."""
    result = dict(base)
    for key, value in patch.items():
        if value is None:
            result.pop(key, None)
        elif isinstance(value, dict) and isinstance(result.get(key), dict):
            result[key] = merged(result[key], value)
        else:
            result[key] = value
    return result


class Scene:
    """What a test does and sees."""

    def __init__(self, *, kubectl: Kubectl, proxy: ServiceProxy, system: System, namespace: str) -> None:
        self.namespace = namespace
        self.system = system
        self.kubectl = kubectl.within(namespace)
        self._proxy = proxy
        self.simulator = proxy.service(namespace, "simulator")
        self.receiver = proxy.service(namespace, "receiver")

    def begin(self, **labels: str) -> None:
        """Ask for the namespace, which has *labels* and admits only restricted pods, and for what is in it."""
        labels = {"pod-security.kubernetes.io/enforce": "restricted", **labels}
        metadata = {"name": self.namespace, "labels": labels}
        self.kubectl.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": metadata})
        self.kubectl.apply(*example("simulator.yaml", self.namespace), *example("receiver.yaml", self.namespace))

    def wait_up(self) -> None:
        """Until simulator and receiver answer."""
        self.kubectl.run("wait", "--for=condition=Available", "deployment", "--all", "--timeout=120s", seconds=130)

    def tear_down(self) -> None:
        """Delete the gateways, then the namespace; the operator has to be up for the first."""
        self.kubectl.run("delete", "dgw", "--all", "--timeout=60s")
        self.kubectl.run("delete", "namespace", self.namespace, "--wait=false")

    # --- The gateway --------------------------------------------------------------------------------------------------

    def manifests(self, **spec: Any) -> list[dict[str, Any]]:
        """Secret and DiscordGateway of the example; *spec* is laid over the spec."""
        secret, gateway = example("gateway.yaml", self.namespace)
        return [secret, merged(gateway, {"spec": spec})]

    def apply_gateway(self, **spec: Any) -> None:
        self.kubectl.apply(*self.manifests(**spec))

    def patch(self, patch: str) -> str:
        return self.kubectl.run("patch", "dgw", GATEWAY, "--type=merge", f"--patch={patch}")

    def wait_ready(self, *, seconds: int = 90) -> None:
        """As a person waits."""
        self.kubectl.run(
            "wait", "--for=condition=Ready", f"dgw/{GATEWAY}", f"--timeout={seconds}s", seconds=seconds + 10
        )

    def status(self) -> dict[str, Any]:
        gateway = self.kubectl.get("dgw", GATEWAY)
        return dict((gateway or {}).get("status") or {})

    def condition(self, kind: str) -> dict[str, Any]:
        """A condition of the gateway; empty while there is none."""
        conditions = self.status().get("conditions") or []
        return next((dict(condition) for condition in conditions if condition["type"] == kind), {})

    def wait_condition(
        self, kind: str, status: str, *, reason: str | None = None, seconds: float = 60
    ) -> dict[str, Any]:
        looked = time.monotonic()

        def seen() -> dict[str, Any] | None:
            nonlocal looked
            if time.monotonic() - looked > _PATIENCE_SECONDS:
                self.look()
                looked = time.monotonic()
            condition = self.condition(kind)
            wanted = condition.get("status") == status and reason in (None, condition.get("reason"))
            return condition if wanted else None

        return wait_until(f"condition {kind}={status} ({reason})", seen, seconds=seconds)

    def look(self) -> None:
        """Make the operator look now; by itself it does so every half minute, and at once when an object changes."""
        mark = f"example.com/looked-at={time.time()}"
        self.kubectl.run("annotate", "statefulsets", f"--selector={GATEWAY_LABEL}", mark, "--overwrite")

    def wait_generation(self, number: int, *, seconds: float = 120) -> dict[str, Any]:
        """Until generation *number* is active, alone and idle."""

        def seen() -> dict[str, Any] | None:
            status = self.status()
            alone = [generation["number"] for generation in status.get("generations") or []] == [number]
            idle = status.get("targetGeneration") is None and status.get("reshard") is None
            return status if status.get("activeGeneration") == number and alone and idle else None

        return wait_until(f"generation {number} alone", seen, seconds=seconds)

    def owned(self) -> set[str]:
        """``kind/name`` of everything that carries the gateway's label."""
        items = self.kubectl.items(OWNED, selector=GATEWAY_LABEL)
        return {f"{item['kind']}/{item['metadata']['name']}" for item in items}

    def runtime_pods(self) -> dict[str, dict[str, Any]]:
        """Pods that hold shards, by name."""
        return {str(pod["metadata"]["name"]): pod for pod in self.kubectl.items("pods", selector=GATEWAY_LABEL)}

    def pod_uids(self) -> dict[str, str]:
        """UIDs of the pods that hold shards, by name."""
        return {name: str(pod["metadata"]["uid"]) for name, pod in self.runtime_pods().items()}

    # --- Discord and the bot ------------------------------------------------------------------------------------------

    def load(self, rate: float) -> None:
        """Events per second over all guilds; 0 stops."""
        call("POST", f"{self.simulator}/control/load", {"rate": rate})

    def add_guilds(self, number: int) -> None:
        """The bot joins so many more guilds."""
        call("POST", f"{self.simulator}/control/guilds", {"add": number})

    def fault(self, action: str, **parameters: Any) -> None:
        call("POST", f"{self.simulator}/control/faults", {"action": action, **parameters})

    def truth(self) -> dict[str, Any]:
        """The simulator's totals."""
        return dict(call("GET", f"{self.simulator}/control/truth?summary=1"))

    def resumes(self) -> int:
        return int(self.truth()["counters"]["resumesAccepted"])

    def identifies(self) -> int:
        return int(self.truth()["counters"]["identifiesAccepted"])

    def received(self) -> dict[str, Any]:
        """The receiver's totals, and the headers of its last request."""
        return dict(call("GET", f"{self.receiver}/control/received"))

    def behave(self, **behaviour: Any) -> None:
        """How the receiver answers; nothing is healthy."""
        call("POST", f"{self.receiver}/control/behaviour", behaviour)

    def wait_events(self, more: int, *, seconds: float = 30) -> None:
        """Until the receiver has acknowledged *more* events than now."""
        wanted = self.received()["totals"]["events"] + more
        wait_until(f"{more} more events", lambda: self.received()["totals"]["events"] >= wanted, seconds=seconds)

    def verdict(self, *, seconds: float = 30) -> Verdict:
        """What was lost and doubled once the load has stopped and the queues had *seconds* to empty."""
        deadline = time.monotonic() + seconds
        while True:
            verdict = asyncio.run(fetch_verdict(simulator=self.simulator, receiver=self.receiver))
            if verdict.lost == 0 or time.monotonic() > deadline:
                return verdict
            time.sleep(1)
