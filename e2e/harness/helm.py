"""Helm as the tests use it."""

from __future__ import annotations

import subprocess

from harness.kubectl import Kubectl, environment


class Helm:
    """Commands against the cluster of *kubectl*."""

    def __init__(self, kubectl: Kubectl) -> None:
        self._command = [str(kubectl.tools / "helm"), f"--kubeconfig={kubectl.kubeconfig}"]

    def run(self, *arguments: str, seconds: float = 240) -> str:
        """What the command prints. Raises ``AssertionError`` with what it said when it fails."""
        done = subprocess.run(
            [*self._command, *arguments],
            capture_output=True,
            text=True,
            timeout=seconds,
            env=environment(),
            check=False,
        )
        if done.returncode != 0:
            raise AssertionError(f"helm {' '.join(arguments)}: {done.stderr.strip() or done.stdout.strip()}")
        return done.stdout
