"""kubectl as the tests use it: a person's commands, and what they print."""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, TypeVar

Value = TypeVar("Value")

_PROXIES: Final = ("http_proxy", "https_proxy", "all_proxy", "no_proxy")


def environment(**more: str) -> dict[str, str]:
    """The process's environment without anybody's proxy: nothing here leaves the machine."""
    kept = {name: value for name, value in os.environ.items() if name.lower() not in _PROXIES}
    return {**kept, **more}


def wait_until(what: str, probe: Callable[[], Value | None], *, seconds: float, every: float = 0.5) -> Value:
    """Ask *probe* until it gives something true. Raises ``AssertionError`` with *what* was waited for in vain."""
    deadline = time.monotonic() + seconds
    while True:
        value = probe()
        if value:
            return value
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {seconds:g} s: {what} (last seen: {value!r})")
        time.sleep(every)


class KubectlError(AssertionError):
    """kubectl ended with another code than 0; the text is what it printed."""


class Kubectl:
    """Commands in one namespace, or with ``--namespace`` among the arguments in another."""

    def __init__(self, *, tools: Path, kubeconfig: Path, namespace: str = "default") -> None:
        self.tools = tools
        self.kubeconfig = kubeconfig
        self.namespace = namespace

    def within(self, namespace: str) -> Kubectl:
        return Kubectl(tools=self.tools, kubeconfig=self.kubeconfig, namespace=namespace)

    @property
    def command(self) -> list[str]:
        return [str(self.tools / "kubectl"), f"--kubeconfig={self.kubeconfig}", f"--namespace={self.namespace}"]

    def run(self, *arguments: str, stdin: str | None = None, seconds: float = 120) -> str:
        """What the command prints. Raises :class:`KubectlError`."""
        done = subprocess.run(
            [*self.command, *arguments],
            input=stdin,
            capture_output=True,
            text=True,
            timeout=seconds,
            env=environment(),
            check=False,
        )
        if done.returncode != 0:
            raise KubectlError(f"kubectl {' '.join(arguments)}: {done.stderr.strip() or done.stdout.strip()}")
        return done.stdout

    def apply(self, *manifests: dict[str, Any]) -> str:
        """``kubectl apply`` of a file with all of *manifests*; JSON is YAML."""
        return self.run("apply", "-f", "-", stdin="\n---\n".join(json.dumps(manifest) for manifest in manifests))

    def get(self, kind: str, name: str) -> dict[str, Any] | None:
        """One object, None if there is none."""
        printed = self.run("get", kind, name, "--ignore-not-found", "-o", "json")
        return dict(json.loads(printed)) if printed.strip() else None

    def items(self, kind: str, *, selector: str = "") -> list[dict[str, Any]]:
        """All objects of a kind in the namespace."""
        return list(json.loads(self.run("get", kind, "-l", selector, "-o", "json"))["items"])

    def everywhere(self, kind: str) -> list[dict[str, Any]]:
        """All objects of a kind in the cluster."""
        return list(json.loads(self.run("get", kind, "--all-namespaces", "-o", "json"))["items"])

    def names(self, kind: str, *, selector: str = "") -> set[str]:
        return {item["metadata"]["name"] for item in self.items(kind, selector=selector)}
