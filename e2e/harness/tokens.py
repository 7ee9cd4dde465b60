"""Looks for tokens where none may be: in everything that a person or a program without rights to Secrets could read."""

from __future__ import annotations

import base64
import contextlib
import json
import subprocess
import urllib.parse
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from harness.scene import GATEWAY_LABEL
from harness.system import SELECTOR

if TYPE_CHECKING:
    from harness.kubectl import Kubectl
    from harness.scene import Scene

SHORTEST: Final = 8
"""Shorter values are words."""


def forms(secret: str) -> set[str]:
    """*secret* as it may be written: itself, in a URL, in JSON, and in base64 wherever it begins in what is encoded."""
    raw = secret.encode()
    encoded = set()
    for shift in range(3):
        # what stands before it changes its first characters, what follows its last ones
        text = base64.b64encode(b"\0" * shift + raw).decode().rstrip("=")
        encoded.add(text[4 if shift else 0 : None if (shift + len(raw)) % 3 == 0 else -1])
    quoted = {urllib.parse.quote(secret, safe=""), json.dumps(secret)[1:-1]}
    return {secret, *quoted, *(form for form in encoded if len(form) >= SHORTEST)}


def leaks(texts: Mapping[str, str] | Iterable[tuple[str, str]], secrets: Mapping[str, str]) -> list[str]:
    """``where: which secret``, for each of *secrets* (by name) that is in one of *texts* (by where they are from)."""
    wanted = {name: forms(value) for name, value in secrets.items() if len(value) >= SHORTEST}
    found = []
    for where, text in texts.items() if isinstance(texts, Mapping) else texts:
        found += [f"{where}: {name}" for name, spellings in wanted.items() if any(each in text for each in spellings)]
    return found


def files(folder: Path, *, but: Iterable[str] = ()) -> Iterator[tuple[str, str]]:
    """All files below *folder* with what is in them, without those whose path has one of *but* in it."""
    for path in sorted(folder.rglob("*")):
        where = path.relative_to(folder).as_posix()
        if path.is_file() and not any(part in where for part in but):
            yield where, path.read_bytes().decode("utf-8", errors="replace")


def secrets_of(scene: Scene) -> dict[str, str]:
    """Every value of every Secret of the scene's namespace."""
    return {
        f"{secret['metadata']['name']}/{key}": base64.b64decode(value).decode(errors="replace")
        for secret in scene.kubectl.items("secrets")
        for key, value in (secret.get("data") or {}).items()
    }


def outputs(scene: Scene) -> Iterator[tuple[str, str]]:
    """What the operator and a gateway's pods leave: objects but Secrets, Events, logs (also of containers that have
    ended), metrics. Not the simulator's, which is Discord here and has the token among its arguments.
    """
    system = scene.kubectl.within(scene.system.namespace)
    owned = "configmaps,statefulsets,pods,services,poddisruptionbudgets,networkpolicies,controllerrevisions"
    for kind in owned.split(","):
        yield kind, scene.kubectl.run("get", kind, "-l", GATEWAY_LABEL, "-o", "yaml")
    for kind in ("dgw", "events"):
        yield kind, scene.kubectl.run("get", kind, "-o", "yaml")
    yield "describe", scene.kubectl.run("describe", "dgw")
    for where, selector in ((scene.kubectl, GATEWAY_LABEL), (system, SELECTOR)):
        for pod in sorted(where.names("pods", selector=selector)):
            yield f"{pod}.log", where.run("logs", pod, "--all-containers")
            with contextlib.suppress(AssertionError, subprocess.TimeoutExpired):  # it may have no earlier container
                yield f"{pod}.previous.log", where.run("logs", pod, "--all-containers", "--previous")
            yield f"{pod}/metrics", _metrics(where, pod)


def _metrics(kubectl: Kubectl, pod: str) -> str:
    path = f"/api/v1/namespaces/{kubectl.namespace}/pods/{pod}:8080/proxy/metrics"
    return kubectl.run("get", "--raw", path, seconds=20)


_KINDS: Final = "dgw,events,pods,statefulsets,deployments,configmaps,services,poddisruptionbudgets,controllerrevisions"


def at_a_glance(scene: Scene, *, since: str) -> dict[str, str]:
    """Objects, Events, logs and metrics of the scene, and what the operators logged *since* (RFC 3339): quick enough to
    be looked through after every test.
    """
    objects = json.loads(scene.kubectl.run("get", _KINDS, "-o", "json"))["items"]
    logs = ("logs", f"--selector={GATEWAY_LABEL}", "--tail=-1", "--all-containers", "--max-log-requests=50")
    texts = {
        **{f"{item['kind']}/{item['metadata']['name']}": json.dumps(item) for item in objects},
        "the pods' logs": scene.kubectl.run(*logs, "--ignore-errors"),
        "the operators' logs": scene.system.logs(since=since),
    }
    for pod in (item for item in objects if _is_a_gateways(item)):
        name = pod["metadata"]["name"]
        # a test may end while a pod does, or while it has no port open
        with contextlib.suppress(AssertionError, subprocess.TimeoutExpired):
            texts[f"{name}/metrics"] = _metrics(scene.kubectl, name)
        if _restarted(pod):
            with contextlib.suppress(AssertionError, subprocess.TimeoutExpired):
                texts[f"{name}'s earlier log"] = scene.kubectl.run("logs", name, "--all-containers", "--previous")
    return texts


def _is_a_gateways(item: dict[str, Any]) -> bool:
    """Whether it is a runtime pod."""
    label, _, value = GATEWAY_LABEL.partition("=")
    return item["kind"] == "Pod" and (item["metadata"].get("labels") or {}).get(label) == value


def _restarted(pod: dict[str, Any]) -> bool:
    """Whether there is a log of an earlier container."""
    return any(each.get("restartCount") for each in pod["status"].get("containerStatuses") or [])
