"""One cluster and one installed chart for all tests, one namespace for each. ``make e2e`` runs them."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

E2E = Path(__file__).parent
sys.path.insert(0, str(E2E))  # pytest's importlib mode adds no folders of its own

from harness.kubectl import Kubectl  # noqa: E402 - needs the path
from harness.proxy import ServiceProxy  # noqa: E402
from harness.scene import Scene  # noqa: E402
from harness.stage import Stage  # noqa: E402
from harness.system import System  # noqa: E402
from harness.tokens import at_a_glance, leaks, secrets_of  # noqa: E402
from harness.traces import ARTIFACTS, dump  # noqa: E402

TEST_SECONDS = 300
INSTALL_SECONDS = 45 * 60
"""The node's binary takes minutes to build on a machine with nothing cached."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        # the first test's time includes the cluster's start
        item.add_marker(pytest.mark.timeout(TEST_SECONDS, func_only=True))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Iterator[None]:
    report = yield
    scene = getattr(item, "funcargs", {}).get("scene")
    if call.when == "call" and report.failed and isinstance(scene, Scene):
        folder = dump(scene.kubectl, test=item.name, operator_namespace=scene.system.namespace)
        (folder / "failure.txt").write_text(report.longreprtext)
        report.sections.append(("traces", f"kept in {folder}"))
    return report


@pytest.fixture(scope="session")
def kubectl() -> Kubectl:
    """The cluster with the chart installed."""
    shutil.rmtree(ARTIFACTS, ignore_errors=True)  # those of an earlier run
    if subprocess.run([E2E / "install.sh"], check=False, timeout=INSTALL_SECONDS).returncode != 0:
        pytest.exit("e2e/install.sh failed; run it to see why", returncode=1)
    tools, kubeconfig = (
        subprocess.run([E2E / "cluster.sh", word], check=True, capture_output=True, text=True).stdout.strip()
        for word in ("tools", "kubeconfig")
    )
    return Kubectl(tools=Path(tools), kubeconfig=Path(kubeconfig))


@pytest.fixture(scope="session")
def proxy(kubectl: Kubectl) -> Iterator[ServiceProxy]:
    proxy = ServiceProxy(kubectl)
    yield proxy
    proxy.close()


@pytest.fixture(scope="session")
def system(kubectl: Kubectl) -> System:
    """The installed operator."""
    return System(kubectl)


@pytest.fixture(scope="session")
def stage(request: pytest.FixtureRequest, kubectl: Kubectl, proxy: ServiceProxy, system: System) -> Iterator[Stage]:
    """Where the tests' scenes come from."""
    tests = [item.nodeid for item in request.session.items if "scene" in getattr(item, "fixturenames", ())]
    stage = Stage(kubectl=kubectl, proxy=proxy, system=system, tests=tests)
    system.wait_up()
    stage.clear(wait=True)
    yield stage
    stage.clear(wait=False)


@pytest.fixture
def scene(request: pytest.FixtureRequest, stage: Stage, system: System) -> Iterator[Scene]:
    """A namespace with simulator and receiver; the operator is up before and after."""
    system.wait_up()
    scene = stage.open(request.node.nodeid)
    began = datetime.now(UTC).isoformat()
    yield scene
    system.restore()
    secrets, texts = secrets_of(scene), at_a_glance(scene, since=began)
    scene.tear_down()
    assert leaks(texts, secrets) == []
