"""The installed operator: looked at, killed, switched off."""

from __future__ import annotations

from typing import Any, Final

from harness.kubectl import Kubectl, wait_until

NAMESPACE: Final = "discord-gateway-system"
RELEASE: Final = "gateways"
DEPLOYMENT: Final = f"{RELEASE}-operator"
SELECTOR: Final = f"app.kubernetes.io/instance={RELEASE}"


class System:
    """The operator of the chart's release."""

    namespace: Final = NAMESPACE

    def __init__(self, kubectl: Kubectl) -> None:
        self.kubectl = kubectl.within(NAMESPACE)

    def pods(self) -> list[dict[str, Any]]:
        return self.kubectl.items("pods", selector=SELECTOR)

    def wait_up(self) -> None:
        self.kubectl.run("rollout", "status", f"deployment/{DEPLOYMENT}", "--timeout=90s")

    def scale(self, replicas: int) -> None:
        """Returns when as many pods run, and no more."""
        self.kubectl.run("scale", f"deployment/{DEPLOYMENT}", f"--replicas={replicas}")
        if replicas:
            self.wait_up()
        wait_until(f"{replicas} operator pods", lambda: len(self.pods()) == replicas, seconds=60)

    def kill(self) -> str:
        """SIGKILL without a chance to say goodbye: the pod's grace is none. Returns the pod's name."""
        (pod,) = self.pods()
        name = str(pod["metadata"]["name"])
        self.kubectl.run("delete", "pod", name, "--grace-period=0", "--force", "--wait=false")
        return name

    def logs(self) -> str:
        return self.kubectl.run("logs", f"deployment/{DEPLOYMENT}", "--tail=-1")
