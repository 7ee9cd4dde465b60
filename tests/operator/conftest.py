"""A world for the reconcile loop: a cluster in memory, pods and Discord that answer HTTP, and a clock that is set."""

from __future__ import annotations

import base64
import itertools
import json
import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import pytest
from gateway_operator.api.generation import GATEWAY_LABEL
from gateway_operator.cluster.port import CONFIG_MAP, GATEWAY, KINDS, POD, SECRET, STATEFUL_SET, Manifest
from gateway_operator.cluster.processes import statefulsets
from gateway_operator.cluster.processes.cluster import StoreCluster
from gateway_operator.cluster.processes.objects import ObjectStore
from gateway_operator.cluster.processes.statefulsets import INDEX_LABEL
from gateway_operator.cluster.processes.surfaces import PORT_ANNOTATION
from gateway_operator.control_plane import ControlPlane
from gateway_operator.ports import HttpError, HttpResponse
from gateway_operator.reconcile.reconciler import Reconciler
from gateway_operator.resources.pulling import PULL_LABEL
from gateway_operator.resources.settings import RuntimeSettings

from gateway_hooks import Hooks
from shard_runtime.contract import (
    HandoverStatus,
    PodStatus,
    ReceiverStatus,
    Record,
    Role,
    RuntimeConfig,
    ShardState,
    ShardStatus,
    decode,
    encode,
)

TOKEN = "the.bot.token"


@dataclass
class ManualClock:
    seconds: float = 1000.0

    def monotonic(self) -> float:
        return self.seconds

    def unix(self) -> float:
        return 1_700_000_000.0 + self.seconds


@dataclass
class FakePod:
    """A runtime pod as the operator sees it: READY once it was asked a few times, handing over once it is active."""

    uid: str
    index: int
    config: RuntimeConfig
    record: Record
    born: float
    guilds: Callable[[], int] = lambda: 40
    """Of the bot."""
    ready: bool = True
    receiver_reachable: bool = True

    def status(self, now: float) -> PodStatus:
        number = self.config.generation
        active = self.record.active == number
        handover = None
        if self.config.predecessor is not None:
            handover = HandoverStatus(complete=False, rehearsed=True)
        if active and self.config.predecessor is not None:
            handover = HandoverStatus(complete=True, completed_at=int(now * 1000), released_guilds=3)
        shards = [
            ShardStatus(
                id=shard,
                state=ShardState.READY if self.ready else ShardState.CONNECTING,
                settled=self.ready,
                session_seconds=now - self.born,
                guilds=self.guilds() // self.config.layout.count,
            )
            for shard in self.config.layout.pod_shards(self.index)
        ]
        return PodStatus(
            generation=number,
            pod=self.index,
            pod_uid=self.uid,
            role=Role.ACTIVE if active else Role.STANDBY,
            record_epoch=self.record.epoch,
            shards=shards,
            receiver=ReceiverStatus(reachable=self.receiver_reachable),
            handover=handover,
        )


@dataclass
class World:
    """Everything outside the operator."""

    clock: ManualClock = field(default_factory=ManualClock)
    discord: HttpResponse | HttpError | None = None
    """Answer to ``GET /gateway/bot``; None: a good one."""
    remaining: int = 1000
    pods: dict[str, FakePod] = field(default_factory=dict)
    requests: list[tuple[str, str]] = field(default_factory=list)
    targets_get_ready: bool = True
    guilds: int = 40
    missing_images: set[str] = field(default_factory=set)
    """Images that cannot be pulled."""
    nodes: bool = False
    """Whether pods run on nodes: pod i of each generation on ``node-i``."""
    network_policies: bool = True

    def __post_init__(self) -> None:
        numbers = itertools.count(1)
        self.store = ObjectStore(new_uid=lambda: f"uid-{next(numbers)}", unix=self.clock.unix)
        self.cluster = StoreCluster(self.store)

    # --- Gateways ----------------------------------------------------------------------------------------------------

    def apply(self, *, secret: bool = True, **spec: Any) -> None:
        if secret:
            self.store.apply(
                {
                    "apiVersion": "v1",
                    "kind": "Secret",
                    "metadata": {"name": "bot", "namespace": "default"},
                    "stringData": {"token": TOKEN},
                }
            )
        self.store.apply(
            {
                "apiVersion": "discordgateway.dev/v1alpha1",
                "kind": "DiscordGateway",
                "metadata": {"name": "bot", "namespace": "default"},
                "spec": {
                    "tokenSecretRef": {"name": "bot", "key": "token"},
                    "apiURL": "http://discord.test/api/v10",
                    "intents": ["GUILDS"],
                    "forward": {"url": "http://receiver.test/events"},
                    "shards": {"count": 4, "perWorker": 1, "workersPerPod": 2},
                    "reshard": {"overlapSeconds": 4},
                    **spec,
                },
            }
        )

    def gateway(self) -> Manifest:
        found = self.store.get(GATEWAY, "default", "bot")
        assert found is not None
        return found

    def condition(self, name: str) -> tuple[str, str, str]:
        """Status, reason and message."""
        conditions = self.gateway()["status"]["conditions"]
        (found,) = [condition for condition in conditions if condition["type"] == name]
        return found["status"], found["reason"], found.get("message", "")

    def record(self) -> Record | None:
        found = self.store.get(CONFIG_MAP, "default", "bot-active")
        return None if found is None else decode(found["data"]["record.json"], Record)

    def generations(self) -> list[int]:
        found = self.store.select(STATEFUL_SET, "default", {})
        return sorted(int(each["metadata"]["labels"]["discordgateway.dev/generation"]) for each in found)

    def versions(self) -> dict[tuple[str, str], str]:
        """resourceVersion of everything."""
        kinds = ("ConfigMap", "Secret", "Service", "StatefulSet", "Pod", "DiscordGateway")
        return {
            (kind, each["metadata"]["name"]): each["metadata"]["resourceVersion"]
            for kind in kinds
            for each in self.store.select(KINDS[kind], None, {})
        }

    def pod_uids(self) -> dict[str, str]:
        """Of the pods that hold shards, by name."""
        pods = self.store.select(POD, "default", {GATEWAY_LABEL: "bot"})
        return {pod["metadata"]["name"]: pod["metadata"]["uid"] for pod in pods}

    # --- What the nodes do -------------------------------------------------------------------------------------------

    def run_nodes(self) -> None:
        """StatefulSets get their pods, deleted pods end, and mounted records arrive where a pod was touched."""
        for each in self.store.select(STATEFUL_SET, None, {}):
            for pod in statefulsets.missing(each, self.store.select(POD, None, {})):
                if self.nodes:
                    pod["spec"]["nodeName"] = f"node-{pod['metadata']['labels'][INDEX_LABEL]}"
                made = self.store.create(pod)
                image = made["spec"]["containers"][0]["image"]
                if image in self.missing_images:
                    self.store.change(
                        POD,
                        "default",
                        made["metadata"]["name"],
                        lambda found, image=image: _show_no_image(found, image),
                    )
                    continue
                port = str(10_000 + int(made["metadata"]["uid"].partition("-")[2]))
                self.store.change(
                    POD,
                    "default",
                    made["metadata"]["name"],
                    lambda found, port=port: found["metadata"]["annotations"].update({PORT_ANNOTATION: port}),
                )
                self.pods[port] = self._start(made)
        for pod in self.store.select(POD, None, {}):
            name, image = pod["metadata"]["name"], pod["spec"]["containers"][0]["image"]
            if PULL_LABEL in pod["metadata"]["labels"]:
                missing = image in self.missing_images
                self.store.change(
                    POD,
                    "default",
                    name,
                    lambda found, image=image, missing=missing: self._pull(found, image, missing=missing),
                )
            if pod["metadata"].get("deletionTimestamp"):
                self.pods.pop(pod["metadata"]["annotations"].get(PORT_ANNOTATION, ""), None)
                self.store.remove(POD, "default", pod["metadata"]["name"])

    def _pull(self, pod: Manifest, image: str, *, missing: bool) -> None:
        """What the node shows of a pod that pulls: of a missing image in turns that it tried and that it waits."""
        if not missing:
            ended = {"terminated": {"exitCode": 0}}
            pod["status"] = {"phase": "Succeeded", "containerStatuses": [{"name": "pull", "state": ended}]}
            return
        _show_no_image(pod, image)
        if int(self.clock.seconds) % 5 == 0 or "shown" not in pod:
            waiting = {"waiting": {"reason": "ErrImagePull", "message": "no such image"}}
            pod["status"]["containerStatuses"][0]["state"] = waiting
        pod["shown"] = True

    def _start(self, pod: Manifest) -> FakePod:
        config = next(volume for volume in pod["spec"]["volumes"] if volume["name"] == "config")
        mounted = self.store.get(CONFIG_MAP, "default", config["configMap"]["name"])
        assert mounted is not None
        record = self.record()
        assert record is not None, "a pod starts only once there is a record"
        parsed = decode(mounted["data"]["config.json"], RuntimeConfig)
        return FakePod(
            uid=pod["metadata"]["uid"],
            index=int(pod["metadata"]["labels"]["apps.kubernetes.io/pod-index"]),
            config=parsed,
            record=record,
            born=self.clock.monotonic(),
            guilds=lambda: self.guilds,
            ready=self.targets_get_ready or parsed.predecessor is None,
        )

    # --- HTTP --------------------------------------------------------------------------------------------------------

    async def request(
        self, method: str, url: str, *, headers: Mapping[str, str], body: bytes = b"", timeout: float
    ) -> HttpResponse:
        parts = urlsplit(url)
        self.requests.append((method, url))
        if parts.hostname == "discord.test":
            return self._discord(parts.path, headers)
        pod = self.pods.get(str(parts.port))
        if pod is None:
            raise HttpError(f"{parts.netloc} cannot be reached: Connection refused")
        auth = self.store.get(SECRET, "default", "bot-auth")
        assert auth is not None
        if headers["authorization"] != "Bearer " + base64.b64decode(auth["data"]["operator"]).decode():
            return HttpResponse(status=401, body=b"")
        if method == "PUT":
            pod.record = decode(body, Record)
            return HttpResponse(status=204, body=b"")
        return HttpResponse(status=200, body=encode(pod.status(self.clock.monotonic())))

    def _discord(self, path: str, headers: Mapping[str, str]) -> HttpResponse:
        if isinstance(self.discord, HttpError):
            raise self.discord
        if self.discord is not None:
            return self.discord
        if headers["authorization"] != f"Bot {TOKEN}":
            return HttpResponse(status=401, body=b'{"message": "401: Unauthorized"}')
        if path.endswith("/applications/@me"):
            return HttpResponse(status=200, body=b'{"id": "1234"}')
        reset_after = int((81_000 - self.clock.seconds) * 1000)
        limit = {"total": 1000, "remaining": self.remaining, "reset_after": reset_after, "max_concurrency": 1}
        answer = {"url": "wss://gateway.test", "shards": 2, "session_start_limit": limit}
        return HttpResponse(status=200, body=json.dumps(answer).encode())

    # --- The operator ------------------------------------------------------------------------------------------------

    def operator(self, cluster: Any = None, hooks: Hooks | None = None) -> ControlPlane:
        """An operator that has just started: nothing but the world is remembered."""
        return ControlPlane.assemble(
            cluster=cluster or self.cluster,
            http=self,
            clock=self.clock,
            chance=random.Random(1),
            settings=lambda: RuntimeSettings(
                image="runtime:1", operator_url="http://operator.test:8080", network_policies=self.network_policies
            ),
            incarnation="test",
            hooks=hooks,
        )

    async def passes(
        self, reconciler: Reconciler, *, until: Callable[[], bool] = lambda: False, seconds: float = 60
    ) -> bool:
        """Pass and let the world go on until *until* holds (True) or *seconds* of the clock are over (False)."""
        end = self.clock.seconds + seconds
        while self.clock.seconds < end:
            outcome = await reconciler.pass_over("default", "bot")
            self.run_nodes()
            if until():
                return True
            self.clock.seconds += max(0.01, min(outcome.wait_seconds, 1.0))
        return False


def _show_no_image(pod: Manifest, image: str) -> None:
    waiting = {"waiting": {"reason": "ImagePullBackOff", "message": "Back-off 10s pulling image"}}
    container = {"name": "gateway", "image": image, "restartCount": 0, "started": False, "state": waiting}
    pod["status"] = {"phase": "Pending", "containerStatuses": [container]}


@pytest.fixture
def world() -> World:
    return World()
