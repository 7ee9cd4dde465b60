"""Unmodified gateway libraries against the simulator, in a network that has nothing but loopback.

Which of them: those in Python, or those that ``CONFORMANCE_BOTS`` names, separated by spaces (``make conformance``).
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

_TESTS = str(Path(__file__).resolve().parent.parent)
if _TESTS not in sys.path:
    sys.path.insert(0, _TESTS)

from conformance.isolation import Isolation, NotPermittedError  # noqa: E402
from conformance.libraries import LIBRARIES, Library  # noqa: E402

CHOSEN = os.environ.get("CONFORMANCE_BOTS", "discord.py hikari").split()


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "library" in metafunc.fixturenames:
        metafunc.parametrize("library", [LIBRARIES[name] for name in CHOSEN], ids=CHOSEN, scope="session")


@pytest.fixture(scope="session")
def isolation() -> Iterator[Isolation]:
    try:
        network = Isolation()
    except NotPermittedError as problem:
        pytest.skip(str(problem))
    yield network
    network.close()


@pytest.fixture(scope="session")
def installed(library: Library) -> Library:
    """The library, if ``make`` has installed it."""
    if not library.is_installed():
        pytest.skip(f"{library.name} is not installed: `{library.install}` does that")
    return library
