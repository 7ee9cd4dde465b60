"""A database that cannot be asked is not one that knows of nothing."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any, Final

import pytest

ROOT: Final = Path(__file__).parents[2]
SCRIPT: Final = ROOT / "scripts" / "audit" / "audit.py"

FAKE: Final = """
import json, os, pathlib, sys
lock = pathlib.Path(sys.argv[sys.argv.index("--requirement") + 1]).name
service = sys.argv[sys.argv.index("--vulnerability-service") + 1]
answer = json.loads(os.environ["ANSWERS"])[service].get(lock)
if answer is None:
    sys.exit("connection refused")
print(json.dumps({"dependencies": answer}))
sys.exit(1 if any(package.get("vulns") for package in answer) else 0)
"""
KNOWN: Final = [{"name": "h11", "version": "0.14.0", "vulns": [{"id": "CVE-2025-43859"}]}]
CLEAN: Final = [{"name": "h11", "version": "0.16.0", "vulns": []}]
UNKNOWN: Final = [{"name": "h11", "skip_reason": "not found"}]
AWAY: Final[dict[str, Any]] = {}


def audit(tmp_path: Path, *, osv: dict[str, Any], pypi: dict[str, Any]) -> tuple[int, str]:
    """Exit code and output, with databases that answer so for ``canary.txt`` and ``lock.txt``."""
    package = tmp_path / "pip_audit"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "__main__.py").write_text(FAKE)
    environment = {**os.environ, "PYTHONPATH": str(tmp_path), "ANSWERS": json.dumps({"osv": osv, "pypi": pypi})}
    command = [sys.executable, str(SCRIPT), str(tmp_path / "lock.txt")]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)
    return done.returncode, done.stdout + done.stderr


@pytest.mark.parametrize(
    ("canary", "why"),
    [
        (AWAY, "connection refused"),
        ({"canary.txt": CLEAN}, "knows nothing of"),
        ({"canary.txt": UNKNOWN}, "does not know"),
    ],
    ids=["away", "empty", "another-index"],
)
def test_without_a_database_the_audit_is_skipped_and_says_so(tmp_path: Path, canary: dict[str, Any], why: str) -> None:
    code, output = audit(tmp_path, osv=canary, pypi=canary)
    assert code == 0
    assert "SKIPPED" in output
    assert output.count(why) == 2


def test_a_known_vulnerability_fails_it(tmp_path: Path) -> None:
    code, output = audit(tmp_path, osv=AWAY, pypi={"canary.txt": KNOWN, "lock.txt": KNOWN})
    assert code == 1
    assert "h11 0.14.0 has CVE-2025-43859" in output


def test_no_known_vulnerability_passes_it(tmp_path: Path) -> None:
    code, output = audit(tmp_path, osv={"canary.txt": KNOWN, "lock.txt": CLEAN}, pypi=AWAY)
    assert (code, "0 packages with known vulnerabilities (osv)" in output) == (0, True)


@pytest.mark.parametrize("lock", [None, UNKNOWN])
def test_half_an_answer_fails_it(tmp_path: Path, lock: Any) -> None:
    code, output = audit(tmp_path, osv={"canary.txt": KNOWN, "lock.txt": lock}, pypi=AWAY)
    assert code == 1
    assert "gave no whole answer" in output


def test_all_locks_of_the_repository_are_audited() -> None:
    recipe = subprocess.run(["make", "--dry-run", "audit"], cwd=ROOT, capture_output=True, text=True, check=True)
    (line,) = [line for line in recipe.stdout.splitlines() if "audit.py" in line]
    audited = set(line.partition("audit.py ")[2].split())
    written = set(re.findall(r"-o (\S*requirements\.lock)", (ROOT / "Makefile").read_text()))
    assert len(written) == 3
    assert audited == written
