"""Renders the chart as release ``gateways`` in ``system``, with the helm on PATH or the one of the tests' node."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import pytest
import yaml

CHART: Final = Path(__file__).parents[2] / "charts" / "discord-gateway-operator"
NODE: Final = Path(os.environ.get("DISCORD_GATEWAY_NODE", "/var/tmp/discord-gateway-node"))

Renderer = Callable[..., list[dict[str, Any]]]


@pytest.fixture(scope="session")
def helm() -> str:
    found = shutil.which("helm") or shutil.which("helm", path=NODE / "bin")
    if found is None:
        if os.environ.get("CHART_TESTS") == "required":
            pytest.fail("there is no helm")
        pytest.skip("there is no helm; `make e2e` builds one and runs these tests with it")
    return found


def _template(helm: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [helm, "template", "gateways", str(CHART), "--namespace=system", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


@pytest.fixture(scope="session")
def render(helm: str) -> Renderer:
    """All objects of the chart with the given arguments of helm."""

    def rendered(*arguments: str) -> list[dict[str, Any]]:
        done = _template(helm, *arguments)
        assert done.returncode == 0, done.stderr
        return [document for document in yaml.safe_load_all(done.stdout) if document]

    return rendered


@pytest.fixture(scope="session")
def refusal(helm: str) -> Callable[..., str]:
    """What helm says against the given arguments."""

    def refused(*arguments: str) -> str:
        done = _template(helm, *arguments)
        assert done.returncode != 0, "the chart takes it"
        return done.stderr

    return refused
