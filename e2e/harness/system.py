"""The installed operator: looked at, killed, switched off, doubled."""

from __future__ import annotations

import json
from datetime import datetime
from typing import Any, Final

from harness.kubectl import Kubectl, wait_until

NAMESPACE: Final = "discord-gateway-system"
RELEASE: Final = "gateways"
DEPLOYMENT: Final = f"{RELEASE}-operator"
SELECTOR: Final = f"app.kubernetes.io/instance={RELEASE}"

_SIGNAL: Final = """
import os, pathlib, sys, time
for folder in pathlib.Path("/proc").iterdir():
    if folder.name.isdigit():
        command = (folder / "cmdline").read_bytes().split(b"\\0")
        if command[1:3] == [b"-m", b"gateway_operator"]:
            print(time.time(), flush=True)
            os.kill(int(folder.name), int(sys.argv[1]))
"""


class System:
    """The operator of the chart's release."""

    namespace: Final = NAMESPACE

    def __init__(self, kubectl: Kubectl) -> None:
        self.kubectl = kubectl.within(NAMESPACE)
        self.replicas = 1
        """How many operators there are when nothing was done to them."""

    def pods(self) -> list[dict[str, Any]]:
        return self.kubectl.items("pods", selector=SELECTOR)

    def images(self) -> set[str]:
        return {str(container["image"]) for pod in self.pods() for container in pod["spec"]["containers"]}

    def pod_names(self) -> set[str]:
        return {str(pod["metadata"]["name"]) for pod in self.pods()}

    def wait_up(self) -> None:
        self.kubectl.run("rollout", "status", f"deployment/{DEPLOYMENT}", "--timeout=120s", seconds=130)

    def scale(self, replicas: int) -> None:
        """Returns when as many pods run, and no more."""
        self.kubectl.run("scale", f"deployment/{DEPLOYMENT}", f"--replicas={replicas}")
        self._settle(replicas)

    def restore(self) -> None:
        """As many operators as there were before the test."""
        self.scale(self.replicas)

    def _settle(self, replicas: int) -> None:
        if replicas:
            self.wait_up()
        wait_until(f"{replicas} operator pods", lambda: len(self.pods()) == replicas, seconds=90)

    def kill(self) -> str:
        """Delete the pod without grace. Returns the pod's name."""
        (name,) = self.pod_names()
        self.kubectl.run("delete", "pod", name, "--grace-period=0", "--force", "--wait=false")
        return name

    def logs(self, *, since: str) -> str:
        """Of all operators there are, from *since* (RFC 3339) on."""
        return self.kubectl.run(
            "logs", f"--selector={SELECTOR}", "--tail=-1", f"--since-time={since}", "--ignore-errors"
        )

    # --- Several of them ---------------------------------------------------------------------------------------------

    def double(self) -> None:
        """Two operators, each in a pod whose containers see each other's processes.

        A container's first process cannot be killed from within; where the processes are shared, another one is first.
        """
        self._patch({"op": "add", "path": "/spec/template/spec/shareProcessNamespace", "value": True}, replicas=2)

    def single(self) -> None:
        """What :meth:`double` did, undone."""
        self._patch({"op": "remove", "path": "/spec/template/spec/shareProcessNamespace"}, replicas=1)

    def _patch(self, patch: dict[str, Any], *, replicas: int) -> None:
        patches = [patch, {"op": "replace", "path": "/spec/replicas", "value": replicas}]
        self.kubectl.run("patch", "deployment", DEPLOYMENT, "--type=json", f"--patch={json.dumps(patches)}")
        self.replicas = replicas
        self._settle(replicas)

    def leader(self) -> str:
        """Name of the pod that holds the Lease; empty when none does."""
        return holder(self.lease())

    def lease(self) -> dict[str, Any]:
        return self.kubectl.get("lease", DEPLOYMENT) or {}

    def wait_leader(self, *, other_than: str = "", seconds: float = 60) -> dict[str, Any]:
        """The Lease, once a pod holds it that is not *other_than*."""

        def seen() -> dict[str, Any] | None:
            lease = self.lease()
            return lease if holder(lease) not in ("", other_than) else None

        return wait_until(f"a leader other than {other_than or 'none'}", seen, seconds=seconds)

    def signal(self, pod: str, number: int) -> float:
        """Send the operator of *pod* a signal; returns when, by the pod's clock, in unix seconds."""
        return float(self.kubectl.run("exec", pod, "--", "python", "-c", _SIGNAL, str(number)))


def holder(lease: dict[str, Any]) -> str:
    """Name of the pod that holds *lease*; empty when none does."""
    return str((lease.get("spec") or {}).get("holderIdentity") or "").partition("_")[0]


def acquired_at(lease: dict[str, Any]) -> float:
    """When its holder took *lease*, by the holder's clock, in unix seconds."""
    return datetime.fromisoformat(lease["spec"]["acquireTime"]).timestamp()
