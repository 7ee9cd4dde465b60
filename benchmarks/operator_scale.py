"""What one operator costs: a gateway of 1,024 shards, and two hundred gateways, on a real API server.

``python benchmarks/operator_scale.py [--gateways 200] [--shards 1024] [--seconds 120]`` starts etcd and kube-apiserver
(the binary of the tests' node, ``e2e/node/build.sh``) on free loopback ports with a data directory of their own,
applies the CRD, and runs the operator as a process of its own. There are no controllers and no nodes: pods
are objects that this program creates as a StatefulSet's controller would, and one HTTP server answers for all of them.
Prints one JSON object: seconds of a pass, memory, CPU and API calls of the operator at rest; ``--out FILE`` writes it
with its circumstances, for ``report.py``. The exit status says whether all is within ``LIMITS``.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import itertools
import json
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import aiohttp
import yaml
from aiohttp import web
from gateway_operator.api.generation import from_annotation
from gateway_operator.cluster.port import GATEWAY, POD, STATEFUL_SET, ClusterError, Manifest
from machine import circumstances

from shard_runtime.contract import (
    RUNTIME_PORT,
    PodStatus,
    Record,
    Role,
    ShardLayout,
    ShardState,
    ShardStatus,
    decode,
    encode,
)

if TYPE_CHECKING:
    from gateway_operator.cluster.kubernetes import KubernetesCluster

ROOT = Path(__file__).resolve().parent.parent
BINARY = Path(os.environ.get("DISCORD_GATEWAY_NODE", "/var/tmp/discord-gateway-node")) / "bin" / "localnode"
NAMESPACE = "default"
TOKEN = "a.bot.token"
LIMITS = {
    ("large", "passSecondsMost"): 2.0,
    ("large", "passSecondsUntilReadyMost"): 2.5,
    ("many", "megabytes"): 300.0,
    ("many", "cores"): 0.5,
}


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port: int = found.getsockname()[1]
        return port


@dataclass
class ApiServer:
    """etcd and kube-apiserver, ended with :meth:`stop`."""

    folder: Path
    processes: list[subprocess.Popen[bytes]] = field(default_factory=list)

    async def start(self) -> None:
        client, peer, port = free_port(), free_port(), free_port()
        self._run(
            "etcd",
            f"--data-dir={self.folder / 'etcd'}",
            f"--listen-client-urls=http://127.0.0.1:{client}",
            f"--advertise-client-urls=http://127.0.0.1:{client}",
            f"--listen-peer-urls=http://127.0.0.1:{peer}",
            f"--initial-advertise-peer-urls=http://127.0.0.1:{peer}",
            f"--initial-cluster=default=http://127.0.0.1:{peer}",
            "--unsafe-no-fsync",
        )
        (self.folder / "tokens.csv").write_text("bench,admin,admin,system:masters\n")
        making = await asyncio.create_subprocess_exec(
            "openssl", "genrsa", "-out", str(self.folder / "sa.key"), "2048", stderr=subprocess.DEVNULL
        )
        if await making.wait() != 0:
            raise SystemExit("openssl could not make a key.")
        self._run(
            "kube-apiserver",
            f"--etcd-servers=http://127.0.0.1:{client}",
            "--bind-address=127.0.0.1",
            "--advertise-address=127.0.0.1",
            f"--secure-port={port}",
            f"--cert-dir={self.folder / 'certificates'}",
            f"--token-auth-file={self.folder / 'tokens.csv'}",
            f"--service-account-key-file={self.folder / 'sa.key'}",
            f"--service-account-signing-key-file={self.folder / 'sa.key'}",
            "--service-account-issuer=https://kubernetes.default.svc",
            "--service-cluster-ip-range=10.96.0.0/16",
            "--authorization-mode=RBAC",
            "--disable-admission-plugins=ServiceAccount",
        )
        kubeconfig = {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [
                {"name": "c", "cluster": {"server": f"https://127.0.0.1:{port}", "insecure-skip-tls-verify": True}}
            ],
            "users": [{"name": "u", "user": {"token": "bench"}}],
            "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}],
            "current-context": "c",
        }
        self.kubeconfig = self.folder / "kubeconfig"
        self.kubeconfig.write_text(json.dumps(kubeconfig))
        self.url = f"https://127.0.0.1:{port}"
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=False)) as http:
            for _ in range(600):
                try:
                    async with http.get(f"{self.url}/readyz", headers={"authorization": "Bearer bench"}) as answer:
                        if answer.status == 200:
                            return
                except aiohttp.ClientError:
                    pass
                await asyncio.sleep(0.2)
        raise SystemExit(f"kube-apiserver does not get ready; see {self.folder}")

    def _run(self, name: str, *arguments: str) -> None:
        with (self.folder / f"{name}.log").open("wb") as log:
            self.processes.append(subprocess.Popen([BINARY, name, *arguments], stdout=log, stderr=log, cwd=self.folder))

    def stop(self) -> None:
        for process in reversed(self.processes):
            process.terminate()
            process.wait(20)


@dataclass
class FakePod:
    gateway: str
    generation: int
    index: int
    uid: str
    layout: ShardLayout
    epoch: int = 0

    def status(self) -> PodStatus:
        sequence = int(time.monotonic() * 3)
        return PodStatus(
            generation=self.generation,
            pod=self.index,
            pod_uid=self.uid,
            role=Role.ACTIVE,
            record_epoch=self.epoch,
            shards=[
                ShardStatus(
                    id=shard,
                    state=ShardState.READY,
                    settled=True,
                    session_seconds=time.monotonic(),
                    sequence=sequence,
                    watermark=sequence,
                    guilds=1000,
                    heartbeat_milliseconds=31.0,
                    silent_seconds=0.2,
                )
                for shard in self.layout.pod_shards(self.index)
            ],
        )


class World:
    """The pods' HTTP (each at a loopback address of its own) and Discord's."""

    def __init__(self, cluster: KubernetesCluster) -> None:
        self._cluster = cluster
        self._pods: dict[str, FakePod] = {}
        self._known: set[str] = set()
        self._numbers = itertools.count(1)
        self._runners: list[web.AppRunner] = []

    async def start(self) -> int:
        app = web.Application()
        app.router.add_get("/api/v10/gateway/bot", self._gateway_bot)
        app.router.add_get("/api/v10/applications/@me", self._application)
        return await self._serve(app, "127.0.0.1", 0)

    async def _serve(self, app: web.Application, host: str, port: int) -> int:
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        await web.TCPSite(runner, host, port).start()
        self._runners.append(runner)
        bound: int = runner.addresses[0][1]
        return bound

    async def _gateway_bot(self, request: web.Request) -> web.Response:
        limit = {"total": 5000, "remaining": 4000, "reset_after": 40_000_000, "max_concurrency": 16}
        return web.json_response({"url": "wss://gateway.invalid", "shards": 4, "session_start_limit": limit})

    async def _application(self, request: web.Request) -> web.Response:
        return web.json_response({"id": "1"})

    async def make_pods(self) -> int:
        """Pods that StatefulSets lack, as their controller would make them; how many were made."""
        made = 0
        for manifest in await self._cluster.select(STATEFUL_SET, None, {}):
            metadata, spec = manifest["metadata"], manifest["spec"]
            for index in range(spec["replicas"]):
                name = f"{metadata['name']}-{index}"
                if name not in self._known:
                    await self._make_pod(manifest, index, name)
                    self._known.add(name)
                    made += 1
        return made

    async def _make_pod(self, owner: Manifest, index: int, name: str) -> None:
        template = owner["spec"]["template"]
        labels = {**template["metadata"]["labels"], "apps.kubernetes.io/pod-index": str(index)}
        pod = {
            "apiVersion": POD.api_version,
            "kind": POD.kind,
            "metadata": {
                "name": name,
                "namespace": NAMESPACE,
                "labels": labels,
                "annotations": template["metadata"].get("annotations", {}),
            },
            "spec": template["spec"],
        }
        made = await self._cluster.create(pod)
        number = next(self._numbers)
        address = f"127.77.{number // 250}.{1 + number % 250}"
        fixed = from_annotation(owner["metadata"]["annotations"]["discordgateway.dev/fixed"])
        fake = FakePod(
            gateway=labels["discordgateway.dev/gateway"],
            generation=fixed.number,
            index=index,
            uid=made["metadata"]["uid"],
            layout=fixed.layout,
        )
        app = web.Application()

        async def status(request: web.Request) -> web.Response:
            return web.Response(body=encode(fake.status()), content_type="application/json")

        async def record(request: web.Request) -> web.Response:
            fake.epoch = decode(await request.read(), Record).epoch
            return web.Response(status=204)

        app.router.add_get("/v1/status", status)
        app.router.add_put("/v1/record", record)
        await self._serve(app, address, RUNTIME_PORT)
        status_of_pod = {
            "phase": "Running",
            "podIP": address,
            "podIPs": [{"ip": address}],
            "containerStatuses": [
                {
                    "name": "gateway",
                    "image": "i",
                    "imageID": "i",
                    "ready": True,
                    "started": True,
                    "restartCount": 0,
                    "state": {"running": {}},
                }
            ],
        }
        await self._cluster._call(
            "patch",
            f"/api/v1/namespaces/{NAMESPACE}/pods/{name}/status",
            body={"status": status_of_pod},
            content_type="application/merge-patch+json",
        )


def gateway(name: str, *, api: int, shards: int) -> Manifest:
    return {
        "apiVersion": "discordgateway.dev/v1alpha1",
        "kind": "DiscordGateway",
        "metadata": {"name": name, "namespace": NAMESPACE},
        "spec": {
            "tokenSecretRef": {"name": "bot", "key": "token"},
            "apiURL": f"http://127.0.0.1:{api}/api/v10",
            "intents": ["GUILDS"],
            "forward": {"url": "http://127.0.0.1:9/events"},
            "shards": {"count": shards},
        },
    }


class Operator:
    """The operator's process."""

    def __init__(self, server: ApiServer) -> None:
        self._port = free_port()
        environment = {**os.environ, "KUBECONFIG": str(server.kubeconfig), "PYTHONWARNINGS": "ignore"}
        environment.pop("KUBERNETES_SERVICE_HOST", None)
        with (server.folder / "operator.log").open("ab") as log:
            self.process = subprocess.Popen(
                [
                    sys.executable,
                    "-m",
                    "gateway_operator",
                    f"--operator-url=http://127.0.0.1:{self._port}",
                    f"--port={self._port}",
                    "--host=127.0.0.1",
                    f"--namespace={NAMESPACE}",
                ],
                env=environment,
                stdout=log,
                stderr=log,
            )

    async def scrape(self) -> dict[str, float]:
        async with (
            aiohttp.ClientSession() as http,
            http.get(f"http://127.0.0.1:{self._port}/metrics") as answer,
        ):
            lines = (await answer.text()).splitlines()
        values = {}
        for line in lines:
            if not line.startswith("#"):
                series, _, value = line.rpartition(" ")
                values[series.removeprefix("discord_gateway_operator_")] = float(value)
        return values

    def cpu_seconds(self) -> float:
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(") ")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def megabytes(self) -> float:
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        (line,) = [line for line in status.splitlines() if line.startswith("VmRSS")]
        return int(line.split()[1]) / 1024

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait(20)


async def all_ready(cluster: KubernetesCluster, world: World, names: list[str], *, seconds: float) -> None:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        await world.make_pods()
        found = await cluster.select(GATEWAY, NAMESPACE, {})
        ready = {
            each["metadata"]["name"]
            for each in found
            for condition in (each.get("status") or {}).get("conditions", [])
            if condition["type"] == "Ready" and condition["status"] == "True"
        }
        if ready >= set(names):
            return
        await asyncio.sleep(0.5)
    raise SystemExit(f"not READY: {sorted(set(names) - ready)[:5]}")


def api_calls(values: dict[str, float], *, writes: bool = False) -> float:
    """Calls so far; with *writes* only those that are no reads."""
    return sum(
        value
        for series, value in values.items()
        if series.startswith("api_calls_total") and not (writes and 'verb="get"' in series.lower())
    )


def slowest_pass(before: dict[str, float], after: dict[str, float]) -> float:
    """The histogram's bound that no pass between the two scrapes exceeded, in seconds."""
    passes = after["reconcile_seconds_count"] - before.get("reconcile_seconds_count", 0.0)
    bounds = {
        float(series.partition('le="')[2].partition('"')[0]): value - before.get(series, 0.0)
        for series, value in after.items()
        if series.startswith("reconcile_seconds_bucket")
    }
    return min(bound for bound, count in bounds.items() if count >= passes)


async def measure_large(cluster: KubernetesCluster, world: World, operator: Operator, *, api: int, shards: int) -> Any:
    """Passes over one large gateway, each brought about by a change of a pod."""
    await cluster._call(
        "post",
        f"/apis/discordgateway.dev/v1alpha1/namespaces/{NAMESPACE}/discordgateways",
        body=gateway("large", api=api, shards=shards),
    )
    began, first = time.monotonic(), await operator.scrape()
    await all_ready(cluster, world, ["large"], seconds=300)
    up, last = time.monotonic() - began, await operator.scrape()
    rising = last["reconcile_seconds_count"] - first.get("reconcile_seconds_count", 0.0)
    walls, cpus = [], []
    for round_ in range(30):
        before, cpu = await operator.scrape(), operator.cpu_seconds()
        await cluster.touch_pod(NAMESPACE, "large-g1-0", "benchmark", str(round_))
        await asyncio.sleep(2.0)
        after = await operator.scrape()
        passes = after["reconcile_seconds_count"] - before["reconcile_seconds_count"]
        if passes:
            walls.append((after["reconcile_seconds_sum"] - before["reconcile_seconds_sum"]) / passes)
            cpus.append((operator.cpu_seconds() - cpu) / passes)
    await cluster._call(
        "delete", f"/apis/discordgateway.dev/v1alpha1/namespaces/{NAMESPACE}/discordgateways/large", body={}
    )
    return {
        "shards": shards,
        "secondsUntilReady": round(up, 1),
        "passesUntilReady": int(rising),
        "passSecondsUntilReadyMost": slowest_pass(first, last),
        "passes": len(walls),
        "passSecondsMedian": round(statistics.median(walls), 3),
        "passSecondsMost": round(max(walls), 3),
        "passCpuSecondsMedian": round(statistics.median(cpus), 3),
    }


async def measure_many(
    cluster: KubernetesCluster, world: World, operator: Operator, *, api: int, gateways: int, seconds: float
) -> Any:
    names = [f"bot-{number}" for number in range(gateways)]
    for name in names:
        await cluster._call(
            "post",
            f"/apis/discordgateway.dev/v1alpha1/namespaces/{NAMESPACE}/discordgateways",
            body=gateway(name, api=api, shards=4),
        )
    began = time.monotonic()
    await all_ready(cluster, world, names, seconds=900)
    up = time.monotonic() - began
    await asyncio.sleep(60)
    before, cpu, start = await operator.scrape(), operator.cpu_seconds(), time.monotonic()
    await asyncio.sleep(seconds)
    after, elapsed = await operator.scrape(), time.monotonic() - start
    passes = after["reconcile_seconds_count"] - before["reconcile_seconds_count"]
    return {
        "gateways": gateways,
        "secondsUntilReady": round(up, 1),
        "megabytes": round(operator.megabytes(), 1),
        "cores": round((operator.cpu_seconds() - cpu) / elapsed, 3),
        "passesPerSecond": round(passes / elapsed, 2),
        "apiCallsPerSecond": round((api_calls(after) - api_calls(before)) / elapsed, 1),
        "apiWritesPerSecond": round((api_calls(after, writes=True) - api_calls(before, writes=True)) / elapsed, 2),
        "passSecondsMean": round((after["reconcile_seconds_sum"] - before["reconcile_seconds_sum"]) / passes, 3),
    }


async def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--gateways", type=int, default=200)
    parser.add_argument("--shards", type=int, default=1024)
    parser.add_argument("--seconds", type=float, default=120.0)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    now = circumstances()
    if not BINARY.exists():
        raise SystemExit(f"{BINARY} is missing; e2e/node/build.sh makes it.")
    with tempfile.TemporaryDirectory(prefix="operator-scale-", ignore_cleanup_errors=True) as folder:
        server = ApiServer(Path(folder))
        operator = None
        try:
            await server.start()
            os.environ["KUBECONFIG"] = str(server.kubeconfig)
            from gateway_operator.cluster.kubernetes import KubernetesCluster  # reads where its configuration is once

            cluster = KubernetesCluster.connect()
            crd = yaml.safe_load((ROOT / "crds" / "discordgateways.yaml").read_text())
            await cluster._call("post", "/apis/apiextensions.k8s.io/v1/customresourcedefinitions", body=crd)
            secret = {
                "apiVersion": "v1",
                "kind": "Secret",
                "metadata": {"name": "bot", "namespace": NAMESPACE},
                "data": {"token": base64.b64encode(TOKEN.encode()).decode()},
            }
            for _ in range(50):
                try:
                    await cluster.create(secret)
                    break
                except ClusterError:
                    await asyncio.sleep(0.2)
            world = World(cluster)
            api = await world.start()
            operator = Operator(server)
            result = {}
            for _ in range(100):
                try:
                    await operator.scrape()
                    break
                except aiohttp.ClientError:
                    await asyncio.sleep(0.2)
            result["large"] = await measure_large(cluster, world, operator, api=api, shards=options.shards)
            result["many"] = await measure_many(
                cluster, world, operator, api=api, gateways=options.gateways, seconds=options.seconds
            )
            print(json.dumps(result))
            if options.out is not None:
                options.out.write_text(json.dumps({"circumstances": now, "results": result}, indent=1) + "\n")
            missed = [f"{name}.{what}" for (name, what), most in LIMITS.items() if result[name][what] > most]
            if missed:
                raise SystemExit(f"beyond the limits: {', '.join(missed)}")
        except SystemExit:
            sys.stderr.write("".join((Path(folder) / "operator.log").read_text().splitlines(keepends=True)[-20:]))
            raise
        finally:
            if operator is not None:
                operator.stop()
            server.stop()


if __name__ == "__main__":
    asyncio.run(main())
