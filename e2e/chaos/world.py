"""The system as strikes find it: its pods and addresses, also while the API server cannot be asked."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from harness.kubectl import Kubectl, KubectlError
from harness.scene import GATEWAY_LABEL, Scene
from harness.system import DEPLOYMENT, SELECTOR

from chaos.machine import Process, processes_of
from chaos.network import Address
from chaos.schedule import Part, Strike

_SECONDS: Final = 5.0
_DNS_PORT: Final = 53
_SELECTORS: Final = {Part.POD: GATEWAY_LABEL, Part.RECEIVER: "app=receiver", Part.DISCORD: "app=simulator"}
_SERVICES: Final = {Part.RECEIVER: "receiver", Part.DISCORD: "simulator"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Pod:
    name: str
    namespace: str
    uid: str
    ip: str

    def processes(self) -> list[Process]:
        return processes_of(self.uid)


class World:
    """What is known of the pods; :meth:`look` asks anew."""

    def __init__(self, scene: Scene) -> None:
        self._scene = scene
        self.pods: dict[Part, list[Pod]] = {}
        self._services = {part: self._service(scene.kubectl, name) for part, name in _SERVICES.items()}
        self._services[Part.OPERATOR] = self._service(scene.system.kubectl, DEPLOYMENT)
        self._services[Part.API] = self._service(scene.kubectl.within("default"), "kubernetes")
        self._dns = str(scene.kubectl.items("nodes")[0]["status"]["addresses"][0]["address"])
        self._leader = ""
        self.look()

    @staticmethod
    def _service(kubectl: Kubectl, name: str) -> str:
        return str((kubectl.get("service", name) or {})["spec"]["clusterIP"])

    def look(self) -> bool:
        """False if the API server does not answer; what was known before still holds, as far as anybody knows."""
        try:
            for part, selector in _SELECTORS.items():
                self.pods[part] = self._pods(self._scene.kubectl, selector)
            self.pods[Part.OPERATOR] = self._pods(self._scene.system.kubectl, SELECTOR)
            self._leader = self._scene.system.leader()
        except (KubectlError, subprocess.TimeoutExpired):
            return False
        return True

    @staticmethod
    def _pods(kubectl: Kubectl, selector: str) -> list[Pod]:
        arguments = ("get", "pods", "-l", selector, "-o", "json", f"--request-timeout={_SECONDS:g}s")
        items = json.loads(kubectl.run(*arguments, seconds=2 * _SECONDS))["items"]
        return [
            Pod(
                name=item["metadata"]["name"],
                namespace=item["metadata"]["namespace"],
                uid=item["metadata"]["uid"],
                ip=item["status"]["podIP"],
            )
            for item in sorted(items, key=lambda item: str(item["metadata"]["name"]))
            if item["status"].get("podIP") and "deletionTimestamp" not in item["metadata"]
        ]

    def address(self, part: Part) -> str:
        """Of the part's Service, which the machine reaches too."""
        return f"http://{self._services[part]}:8080"

    def struck(self, strike: Strike) -> list[Pod]:
        """The pods that *strike* hits; of the operators the one that leads."""
        pods = self.pods.get(strike.part, [])
        if strike.everywhere or not pods:
            return pods
        leading = [pod for pod in pods if pod.name == self._leader]
        return leading or [pods[min(len(pods) - 1, int(strike.pick * len(pods)))]]

    def addresses(self, part: Part, *, but: Pod) -> Sequence[Address]:
        """Of *part* as other pods see it, without those of *but*."""
        if part is Part.DNS:
            return [Address(ip=self._dns, port=_DNS_PORT)]
        ips = [pod.ip for pod in self.pods.get(part, []) if pod.uid != but.uid]
        return [Address(ip=ip) for ip in (*ips, self._services.get(part)) if ip is not None]
