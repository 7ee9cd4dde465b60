"""Looks all locked packages up in the databases of known vulnerabilities: ``python audit.py LOCK...``.

Exit 1 where one has a vulnerability that is known. A database that cannot be reached must not look like one that knows
of nothing: each is first asked about a release whose vulnerability is public, and counts only if it knows that. Where
none does, the audit is skipped, and says so.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

CANARY = "h11==0.14.0"
"""CVE-2025-43859, a request smuggling that 0.16.0 mended."""

SERVICES = ("osv", "pypi")
CANARY_SECONDS = 90
SECONDS = 600


def run(service: str, lock: Path, seconds: float, *more: str) -> tuple[dict[str, list[str]] | None, str]:
    """Known vulnerabilities by package, or None and why there is no answer."""
    command = [
        sys.executable,
        "-m",
        "pip_audit",
        "--vulnerability-service",
        service,
        "--format",
        "json",
        "--timeout",
        "15",
    ]
    command += ["--progress-spinner", "off", "--disable-pip", *more, "--requirement", str(lock)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=seconds, check=False)
    except subprocess.TimeoutExpired:
        return None, f"no answer within {seconds:g} s"
    try:
        packages = json.loads(done.stdout)["dependencies"]
    except (ValueError, KeyError):
        return None, (done.stderr.strip().splitlines() or ["no answer"])[-1][:300]
    skipped = [package["name"] for package in packages if "skip_reason" in package]
    if skipped:
        return None, f"it does not know {', '.join(skipped[:5])}"
    return {
        f"{package['name']} {package['version']}": [found["id"] for found in package["vulns"]]
        for package in packages
        if package["vulns"]
    }, ""


def working(services: Sequence[str] = SERVICES) -> str | None:
    """The first service that knows what is known; why another is not taken is printed."""
    with tempfile.TemporaryDirectory() as folder:
        canary = Path(folder) / "canary.txt"
        canary.write_text(CANARY + "\n")
        for service in services:
            found, why = run(service, canary, CANARY_SECONDS, "--no-deps")
            if found:
                return service
            print(f"audit: {service} cannot be used: {why or f'it knows nothing of {CANARY}'}", file=sys.stderr)
    return None


def main(locks: Sequence[str]) -> int:
    service = working()
    if service is None:
        print("audit: SKIPPED, no database of known vulnerabilities can be reached from here", file=sys.stderr)
        return 0
    code = 0
    for lock in locks:
        found, why = run(service, Path(lock), SECONDS)
        if found is None:
            print(f"audit: {lock}: {service} gave no whole answer: {why}", file=sys.stderr)
            code = 1
            continue
        for package, names in found.items():
            print(f"audit: {lock}: {package} has {', '.join(names)}", file=sys.stderr)
            code = 1
        print(f"audit: {lock}: {len(found)} packages with known vulnerabilities ({service})")
    return code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
