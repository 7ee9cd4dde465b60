"""What the Kubernetes side of the port puts on the wire, and what it makes of the answers: the real client against a
server that records. Behaviour of a real API server is for the end-to-end tests."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import pytest
from aiohttp import web
from gateway_operator.cluster import kubernetes
from gateway_operator.cluster.port import (
    CONFIG_MAP,
    GATEWAY,
    POD,
    STATEFUL_SET,
    AlreadyExistsError,
    ClusterError,
    ConflictError,
    NotFoundError,
    RefusedError,
    UncertainError,
)
from kubernetes import client as kubernetes_client
from kubernetes.dynamic import DynamicClient

CONFIG = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a", "namespace": "ns"}, "data": {"k": "v"}}


@dataclass
class Server:
    """Answers everything the same and remembers what was asked."""

    status: int = 200
    answer: Any = field(default_factory=lambda: {"metadata": {"name": "a"}})
    delay: float = 0.0
    asked: list[tuple[str, str, dict[str, str], str, Any]] = field(default_factory=list)

    async def handle(self, request: web.Request) -> web.Response:
        body = await request.read()
        self.asked.append(
            (
                request.method,
                request.path,
                dict(request.query),
                request.headers.get("content-type", ""),
                json.loads(body) if body else None,
            )
        )
        await asyncio.sleep(self.delay)
        text = self.answer if isinstance(self.answer, str) else json.dumps(self.answer)
        return web.Response(status=self.status, text=text, content_type="application/json")


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    server = Server()
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", server.handle)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    server.port = runner.addresses[0][1]  # type: ignore[attr-defined]
    yield server
    await runner.cleanup()


@pytest.fixture
def cluster(server: Server) -> Any:
    import urllib3

    configuration = kubernetes_client.Configuration(host=f"http://127.0.0.1:{server.port}")  # type: ignore[attr-defined]
    configuration.retries = urllib3.Retry(0)
    api = kubernetes_client.ApiClient(configuration)
    made = kubernetes.KubernetesCluster(dynamic=DynamicClient(api, discoverer=kubernetes._NoDiscovery))
    yield made
    made.close()


async def test_what_goes_over_the_wire(server: Server, cluster: kubernetes.KubernetesCluster) -> None:
    manager = {"fieldManager": "discord-gateway-operator"}
    await cluster.apply({**CONFIG, "kind": "StatefulSet", "apiVersion": "apps/v1"})
    assert server.asked[-1][:4] == (
        "PATCH",
        "/apis/apps/v1/namespaces/ns/statefulsets/a",
        {**manager, "force": "true"},
        "application/apply-patch+yaml",
    )
    await cluster.create(CONFIG)
    assert server.asked[-1] == ("POST", "/api/v1/namespaces/ns/configmaps", manager, "application/json", CONFIG)
    await cluster.replace(CONFIG)
    assert server.asked[-1] == ("PUT", "/api/v1/namespaces/ns/configmaps/a", manager, "application/json", CONFIG)
    await cluster.delete(STATEFUL_SET, "ns", "a")
    method, path, _, _, options = server.asked[-1]
    assert (method, path) == ("DELETE", "/apis/apps/v1/namespaces/ns/statefulsets/a")
    assert (options["kind"], options["propagationPolicy"]) == ("DeleteOptions", "Background")
    assert "preconditions" not in options
    await cluster.delete(POD, "ns", "a", uid="u-1")
    assert server.asked[-1][4]["preconditions"] == {"uid": "u-1"}
    assert cluster.calls == {("patch", "ok"): 1, ("post", "ok"): 1, ("put", "ok"): 1, ("delete", "ok"): 2}
    await cluster.update_status("ns", "a", {"shards": 3})
    method, path, _, kind, body = server.asked[-1]
    assert (method, path) == ("PATCH", "/apis/discordgateway.dev/v1alpha1/namespaces/ns/discordgateways/a/status")
    assert kind == "application/apply-patch+yaml"
    assert body["status"] == {"shards": 3}
    await cluster.touch_pod("ns", "a", "x/y", "1")
    assert server.asked[-1][1] == "/api/v1/namespaces/ns/pods/a"
    assert server.asked[-1][3:] == ("application/merge-patch+json", {"metadata": {"annotations": {"x/y": "1"}}})
    server.answer = {"items": [{"metadata": {"name": "p"}}]}
    assert await cluster.select(POD, None, {"a": "1", "b": "2"}) == [
        {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"}}
    ]
    assert server.asked[-1][:3] == ("GET", "/api/v1/pods", {"labelSelector": "a=1,b=2"})


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (403, RefusedError),
        (404, NotFoundError),
        (409, ConflictError),
        (422, RefusedError),
        (429, UncertainError),
        (500, UncertainError),
        (503, UncertainError),
    ],
)
async def test_a_refused_write_says_what_the_api_server_said(
    server: Server, cluster: kubernetes.KubernetesCluster, status: int, error: type[ClusterError]
) -> None:
    server.status, server.answer = status, {"message": 'configmaps "a" is not to be'}
    with pytest.raises(error, match='put /api/v1/namespaces/ns/configmaps/a: configmaps "a" is not to be'):
        await cluster.replace(CONFIG)
    assert len(server.asked) == 1, "a write is never repeated by itself"


async def test_what_is_not_there_is_none_or_done(server: Server, cluster: kubernetes.KubernetesCluster) -> None:
    server.status, server.answer = 404, {"message": "gone"}
    assert await cluster.get(CONFIG_MAP, "ns", "a") is None
    await cluster.delete(CONFIG_MAP, "ns", "a")
    await cluster.update_status("ns", "a", {})
    await cluster.touch_pod("ns", "a", "x/y", "1")
    with pytest.raises(NotFoundError):
        await cluster.select(GATEWAY, None, {})  # the CRD is not installed
    server.status = 409
    with pytest.raises(AlreadyExistsError):
        await cluster.create(CONFIG)


async def test_an_event_that_cannot_be_written_is_no_error(
    server: Server, cluster: kubernetes.KubernetesCluster
) -> None:
    server.status, server.answer = 403, {"message": "no"}
    await cluster.emit_event(regarding=CONFIG, reason="Why", message="Because.")
    assert server.asked[-1][4]["involvedObject"]["name"] == "a"


async def test_no_answer_is_uncertain_and_the_loop_goes_on_meanwhile(
    server: Server, cluster: kubernetes.KubernetesCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kubernetes, "CALL_TIMEOUT_SECONDS", 0.3)
    server.delay = 2
    turns = 0

    async def count() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0.01)

    counting = asyncio.create_task(count())
    with pytest.raises(UncertainError, match="gave no usable answer to put"):
        await cluster.replace(CONFIG)
    counting.cancel()
    assert turns > 10
    server.delay, server.answer = 0, "<html>"
    with pytest.raises(UncertainError):
        await cluster.get(CONFIG_MAP, "ns", "a")


def test_pods_answer_at_their_address() -> None:
    cluster = kubernetes.KubernetesCluster(dynamic=None)
    assert cluster.pod_url({"status": {}}) is None
    assert cluster.pod_url({"status": {"podIP": "10.0.0.7"}}) == "http://10.0.0.7:8080"
    assert cluster.pod_url({"status": {"podIP": "fd00::7"}}) == "http://[fd00::7]:8080"
    cluster.close()
