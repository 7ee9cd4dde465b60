"""HTTP to Services and pods from outside the cluster by ``kubectl proxy``: works on kind and the node alike."""

from __future__ import annotations

import json
import re
import subprocess
import urllib.error
import urllib.request
from typing import Any, Final

from harness.kubectl import Kubectl, environment

_OPENER: Final = urllib.request.build_opener(urllib.request.ProxyHandler({}))


class ServiceProxy:
    """One ``kubectl proxy`` for the whole run."""

    def __init__(self, kubectl: Kubectl) -> None:
        self._process = subprocess.Popen(
            [*kubectl.command, "proxy", "--port=0"], stdout=subprocess.PIPE, text=True, env=environment()
        )
        assert self._process.stdout is not None
        printed = self._process.stdout.readline()
        match = re.search(r"127\.0\.0\.1:(\d+)", printed)
        if match is None:
            self.close()
            raise AssertionError(f"kubectl proxy printed {printed!r}")
        self._base = f"http://127.0.0.1:{match[1]}/api/v1/namespaces"

    def close(self) -> None:
        self._process.terminate()
        self._process.wait(timeout=10)

    def service(self, namespace: str, name: str) -> str:
        """Base URL of a Service's port ``http``."""
        return f"{self._base}/{namespace}/services/{name}:http/proxy"

    def pod(self, namespace: str, name: str) -> str:
        """Base URL of a pod's port 8080."""
        return f"{self._base}/{namespace}/pods/{name}:8080/proxy"


def call(method: str, url: str, body: object = None, *, seconds: float = 30) -> Any:
    """The JSON that is answered. Raises ``urllib.error.URLError``, of which ``HTTPError`` is one."""
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data=data, method=method, headers={"content-type": "application/json"})
    with _OPENER.open(request, timeout=seconds) as response:
        text = response.read()
    return json.loads(text) if text else None
