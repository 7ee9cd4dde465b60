"""A real Kubernetes behind the cluster port: the only module that imports the official client.

The client blocks, so every call runs in a small pool of threads and the event loop never waits on a socket. Paths are
built here rather than discovered: the operator knows its kinds, and discovery would cost rights, a call at every start
and a cache file on a read-only disk.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import secrets
from collections import Counter
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import urllib3
from kubernetes import client as kubernetes_client
from kubernetes import config as kubernetes_config
from kubernetes.client.exceptions import ApiException
from kubernetes.dynamic import DynamicClient

from gateway_operator.cluster.port import (
    FIELD_MANAGER,
    GATEWAY,
    KINDS,
    POD,
    AlreadyExistsError,
    ClusterError,
    ConflictError,
    Kind,
    Manifest,
    NotFoundError,
    RefusedError,
    UncertainError,
)
from shard_runtime.contract import RUNTIME_PORT

log = logging.getLogger(__name__)

CALL_TIMEOUT_SECONDS: Final = 10
MAX_PARALLEL_CALLS: Final = 8
_IN_CLUSTER_TOKEN: Final = Path("/var/run/secrets/kubernetes.io/serviceaccount/token")

_NOT_TYPED: Final = "failed to create typed patch object"
"""How a server-side apply answers, with 500, a field that does not exist."""

_OUTCOMES: Final[Mapping[type[ClusterError], str]] = {
    ConflictError: "conflict",
    NotFoundError: "missing",
    RefusedError: "refused",
    UncertainError: "uncertain",
}


class _NoDiscovery:
    """Stands where the dynamic client expects a discoverer, and asks the API server nothing."""

    def __init__(self, client: object, cache_file: object) -> None:
        del client, cache_file


class KubernetesCluster:
    """The cluster that the pod runs in, or the one that the kubeconfig names."""

    def __init__(self, *, dynamic: Any) -> None:
        self._dynamic = dynamic
        self.calls: Counter[tuple[str, str]] = Counter()
        self._threads = ThreadPoolExecutor(max_workers=MAX_PARALLEL_CALLS, thread_name_prefix="kubernetes-api")

    @classmethod
    def connect(cls) -> KubernetesCluster:
        """Read credentials: the pod's own when there are any, the kubeconfig otherwise.

        Raises ``kubernetes.config.ConfigException`` when there is neither.
        """
        configuration = kubernetes_client.Configuration()
        load: Any = kubernetes_config  # its functions carry no types
        if _IN_CLUSTER_TOKEN.exists() and os.environ.get("KUBERNETES_SERVICE_HOST"):
            load.load_incluster_config(client_configuration=configuration)
        else:
            load.load_kube_config(client_configuration=configuration)
        # A silently repeated PUT answers 409 for its own first try, so uncertainty must reach the caller.
        configuration.retries = urllib3.Retry(0)
        configuration.connection_pool_maxsize = MAX_PARALLEL_CALLS
        api = kubernetes_client.ApiClient(configuration)
        dynamic: Any = DynamicClient  # carries no types either
        return cls(dynamic=dynamic(api, discoverer=_NoDiscovery))

    def close(self) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)

    # --- The port ---------------------------------------------------------------------------------------------------

    async def get(self, kind: Kind, namespace: str, name: str) -> Manifest | None:
        try:
            return await self._call("get", _path(kind, namespace, name))
        except NotFoundError:
            return None

    async def select(self, kind: Kind, namespace: str | None, labels: Mapping[str, str]) -> list[Manifest]:
        selector = ",".join(f"{name}={value}" for name, value in labels.items())
        answer = await self._call("get", _path(kind, namespace, None), label_selector=selector or None)
        items: list[Manifest] = answer.get("items") or []
        for item in items:  # a list's items come without these two
            item.setdefault("apiVersion", kind.api_version)
            item.setdefault("kind", kind.kind)
        return items

    async def apply(self, manifest: Manifest) -> Manifest:
        return await self._call(
            "patch",
            _path_of(manifest),
            body=manifest,
            content_type="application/apply-patch+yaml",
            field_manager=FIELD_MANAGER,
            force_conflicts=True,
        )

    async def create(self, manifest: Manifest) -> Manifest:
        metadata = manifest["metadata"]
        path = _path(KINDS[manifest["kind"]], metadata["namespace"], None)
        try:
            return await self._call("post", path, body=manifest, field_manager=FIELD_MANAGER)
        except ConflictError as error:
            raise AlreadyExistsError(str(error)) from None

    async def replace(self, manifest: Manifest) -> Manifest:
        return await self._call("put", _path_of(manifest), body=manifest, field_manager=FIELD_MANAGER)

    async def delete(self, kind: Kind, namespace: str, name: str, *, uid: str | None = None) -> None:
        options: Manifest = {"apiVersion": "v1", "kind": "DeleteOptions", "propagationPolicy": "Background"}
        if uid is not None:
            options["preconditions"] = {"uid": uid}
        try:
            await self._call("delete", _path(kind, namespace, name), body=options)
        except NotFoundError:
            return

    async def update_status(self, namespace: str, name: str, status: Manifest) -> None:
        body = {
            "apiVersion": GATEWAY.api_version,
            "kind": GATEWAY.kind,
            "metadata": {"name": name, "namespace": namespace},
            "status": status,
        }
        try:
            await self._call(
                "patch",
                _path(GATEWAY, namespace, name) + "/status",
                body=body,
                content_type="application/apply-patch+yaml",
                field_manager=FIELD_MANAGER,
                force_conflicts=True,
            )
        except NotFoundError:
            return

    async def status_schema(self) -> Manifest | None:
        answer = await self._call("get", f"/openapi/v3/apis/{GATEWAY.api_version}")
        for schema in ((answer.get("components") or {}).get("schemas") or {}).values():
            kinds = schema.get("x-kubernetes-group-version-kind") or []
            if any(each.get("kind") == GATEWAY.kind for each in kinds):
                found: Manifest | None = (schema.get("properties") or {}).get("status")
                return found
        return None

    async def touch_pod(self, namespace: str, name: str, annotation: str, value: str) -> None:
        body = {"metadata": {"annotations": {annotation: value}}}
        try:
            await self._call(
                "patch",
                _path(POD, namespace, name),
                body=body,
                content_type="application/merge-patch+json",
                field_manager=FIELD_MANAGER,
            )
        except NotFoundError:
            return

    async def emit_event(self, *, regarding: Manifest, reason: str, message: str, warning: bool = False) -> None:
        metadata = regarding["metadata"]
        now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        event: Manifest = {
            "apiVersion": "v1",
            "kind": "Event",
            "metadata": {
                "name": f"{metadata['name'][:200]}.{secrets.token_hex(8)}",
                "namespace": metadata["namespace"],
            },
            "involvedObject": {
                "apiVersion": regarding["apiVersion"],
                "kind": regarding["kind"],
                "name": metadata["name"],
                "namespace": metadata["namespace"],
                "uid": metadata.get("uid", ""),
            },
            "type": "Warning" if warning else "Normal",
            "reason": reason,
            "message": message[:1000],
            "firstTimestamp": now,
            "lastTimestamp": now,
            "count": 1,
            "source": {"component": FIELD_MANAGER},
        }
        try:
            await self._call("post", f"/api/v1/namespaces/{metadata['namespace']}/events", body=event)
        except ClusterError as error:
            log.warning("event %s for %s was not written: %s", reason, metadata["name"], error)

    def pod_url(self, pod: Manifest) -> str | None:
        address = (pod.get("status") or {}).get("podIP")
        if not address:
            return None
        return f"http://[{address}]:{RUNTIME_PORT}" if ":" in address else f"http://{address}:{RUNTIME_PORT}"

    def sibling_pattern(self, namespace: str, gateway: str) -> str | None:
        return None

    # --- Calls ------------------------------------------------------------------------------------------------------

    async def _call(self, method: str, path: str, **parameters: Any) -> Manifest:
        loop, outcome = asyncio.get_running_loop(), "ok"
        try:
            return await loop.run_in_executor(self._threads, lambda: self._blocking(method, path, parameters))
        except ClusterError as error:
            outcome = _OUTCOMES.get(type(error), "refused")
            raise
        finally:
            self.calls[method, outcome] += 1

    def _blocking(self, method: str, path: str, parameters: Mapping[str, Any]) -> Manifest:
        request: Callable[..., Any] = self._dynamic.request
        try:
            answer = request(method, path, serialize=False, _request_timeout=CALL_TIMEOUT_SECONDS, **parameters)
            parsed: Manifest = json.loads(answer.data)
        except ApiException as error:
            raise _translate(error, method, path) from None
        except (urllib3.exceptions.HTTPError, OSError, ValueError) as error:
            raise UncertainError(f"The API server gave no usable answer to {method} {path}: {error}") from None
        return parsed


def _path(kind: Kind, namespace: str | None, name: str | None) -> str:
    prefix = "/apis/" if "/" in kind.api_version else "/api/"
    parts = [prefix + kind.api_version]
    if namespace is not None:
        parts.append(f"namespaces/{namespace}")
    parts.append(kind.plural)
    if name is not None:
        parts.append(name)
    return "/".join(parts)


def _path_of(manifest: Manifest) -> str:
    metadata = manifest["metadata"]
    return _path(KINDS[manifest["kind"]], metadata["namespace"], metadata["name"])


def _translate(error: ApiException, method: str, path: str) -> ClusterError:
    """The port's error for an answer of the API server."""
    sentence = f"{method} {path}: {_message(error)}"
    match error.status:
        case 404:
            return NotFoundError(sentence)
        case 409:
            return ConflictError(sentence)
        case 400 | 401 | 403 | 405 | 413 | 415 | 422:
            return RefusedError(sentence)
        case 500 if _NOT_TYPED in sentence:
            return RefusedError(sentence)
        case _:
            return UncertainError(sentence)


def _message(error: ApiException) -> str:
    """The API server's own sentence; ``str(error)`` would add headers and the whole body."""
    try:
        parsed = json.loads(error.body or b"")
        message = parsed.get("message") if isinstance(parsed, dict) else None
    except ValueError:
        message = None
    return str(message or error.reason or error.status)
