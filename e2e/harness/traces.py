"""What a failed test leaves behind in e2e/artifacts: objects, events, logs."""

from __future__ import annotations

import contextlib
import subprocess
from pathlib import Path
from typing import Final

from harness.kubectl import Kubectl, KubectlError

ARTIFACTS: Final = Path(__file__).parents[1] / "artifacts"


def dump(kubectl: Kubectl, *, test: str, operator_namespace: str) -> Path:
    """Write everything that may explain a failure; returns the folder."""
    folder = ARTIFACTS / "".join(letter if letter.isalnum() else "-" for letter in test)
    folder.mkdir(parents=True, exist_ok=True)
    system = kubectl.within(operator_namespace)
    _keep(kubectl, folder / "gateways.yaml", "get", "dgw", "-o", "yaml")
    _keep(kubectl, folder / "objects.txt", "get", "all,configmaps,secrets", "-o", "wide")
    _keep(kubectl, folder / "configmaps.yaml", "get", "configmaps", "-o", "yaml")
    _keep(kubectl, folder / "describe.txt", "describe", "statefulsets,pods")
    _keep(kubectl, folder / "events.txt", "get", "events", "--sort-by=.lastTimestamp")
    _keep(system, folder / "operator.txt", "describe", "pods")
    for where in (kubectl, system):
        with contextlib.suppress(KubectlError, subprocess.TimeoutExpired):
            for pod in sorted(where.names("pods")):
                _keep(where, folder / f"{pod}.log", "logs", pod, "--timestamps", "--all-containers")
                _keep(where, folder / f"{pod}.previous.log", "logs", pod, "--timestamps", "--previous")
    return folder


def _keep(kubectl: Kubectl, file: Path, *arguments: str) -> None:
    # the cluster may be what failed, so nothing here may fail
    with contextlib.suppress(KubectlError, subprocess.TimeoutExpired):
        file.write_text(kubectl.run(*arguments, seconds=30))
