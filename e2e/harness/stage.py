"""Scenes in the order of the tests: while one test runs, the next one's namespace and pods are started.

A scene takes seconds until its pods are up, which is most of a short test's time.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

from harness.kubectl import Kubectl
from harness.proxy import ServiceProxy
from harness.scene import Scene
from harness.system import System

LABEL: Final = "discordgateway.dev/e2e"
_LONGEST_NAME: Final = 60


class Stage:
    """Makes the scenes of a run."""

    def __init__(self, *, kubectl: Kubectl, proxy: ServiceProxy, system: System, tests: Sequence[str]) -> None:
        """*tests* are the node ids of those that have a scene, in order."""
        self._kubectl, self._proxy, self._system = kubectl, proxy, system
        self._tests = list(tests)
        self._next: Scene | None = None

    def clear(self, *, wait: bool) -> None:
        """Delete what a run that was cut off has left, or what was begun in vain."""
        for namespace in sorted(self._kubectl.names("namespaces", selector=LABEL)):
            self._kubectl.within(namespace).run("delete", "dgw", "--all", "--timeout=90s")
        self._kubectl.run("delete", "namespaces", f"--selector={LABEL}", f"--wait={str(wait).lower()}", "--timeout=90s")

    def open(self, test: str) -> Scene:
        """The scene of *test*, with simulator and receiver up."""
        index = self._tests.index(test)
        scene, self._next = self._next, None
        if scene is None or scene.namespace != self._name(index):
            scene = self._begin(index)
        scene.wait_up()
        self._next = self._begin(index + 1) if index + 1 < len(self._tests) else None
        return scene

    def _begin(self, index: int) -> Scene:
        scene = Scene(kubectl=self._kubectl, proxy=self._proxy, system=self._system, namespace=self._name(index))
        scene.begin(**{LABEL: "scene"})
        return scene

    def _name(self, index: int) -> str:
        name = self._tests[index].rpartition("::")[2].lower().removeprefix("test_")
        return f"e2e-{index:02}-{re.sub(r'[^a-z0-9]+', '-', name)}"[:_LONGEST_NAME].strip("-")
