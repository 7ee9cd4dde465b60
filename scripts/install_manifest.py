"""deploy/install.yaml: the chart with its defaults, rendered for ``kubectl apply`` where there is no Helm.

``python scripts/install_manifest.py`` writes it, with the helm on PATH or the one that ``e2e/node/build.sh`` made.
``--crd`` only puts the present CRD into it, and ``--check`` fails where it is not what the chart gives; neither needs a
helm, since the first line holds a digest of what the rest was rendered from.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[1]
CHART: Final = ROOT / "charts" / "discord-gateway-operator"
CRD: Final = CHART / "files" / "discordgateways.yaml"
MANIFEST: Final = ROOT / "deploy" / "install.yaml"
NODE: Final = Path(os.environ.get("DISCORD_GATEWAY_NODE", "/var/tmp/discord-gateway-node"))

RELEASE: Final = "discord-gateway"
NAMESPACE: Final = "discord-gateway-system"

HEAD: Final = """\
# Made by `make install-manifest` from charts/discord-gateway-operator (sha256 {digest}); do not edit.
# kubectl apply --server-side -f install.yaml
---
apiVersion: v1
kind: Namespace
metadata:
  name: {namespace}
  labels:
    pod-security.kubernetes.io/enforce: restricted
---
"""
REST: Final = "---\n# The operator.\n"


def digest() -> str:
    """Of all that the operator's part is rendered from."""
    total = hashlib.sha256(Path(__file__).read_bytes())
    for path in sorted(path for path in CHART.rglob("*") if path.is_file() and path != CRD):
        total.update(f"{path.relative_to(CHART).as_posix()}\0".encode() + path.read_bytes() + b"\0")
    return total.hexdigest()


def helm() -> str | None:
    return shutil.which("helm") or shutil.which("helm", path=NODE / "bin")


def manifest(rest: str) -> str:
    """The whole of it, with *rest* for the operator's part."""
    return HEAD.format(digest=digest(), namespace=NAMESPACE) + CRD.read_text().rstrip() + "\n" + REST + rest


def rendered(program: str) -> str:
    """The operator's part as *program*, a helm, renders it, without the lines that say that Helm looks after it.

    Raises ``CalledProcessError``.
    """
    command = [program, "template", RELEASE, str(CHART), "--namespace", NAMESPACE, "--skip-tests"]
    command += ["--set", "crds.install=false"]
    done = subprocess.run(command, check=True, capture_output=True, text=True, timeout=120)
    helms = ("# Source: ", "app.kubernetes.io/managed-by: ", "helm.sh/chart: ")
    lines = [line.rstrip() for line in done.stdout.splitlines() if not line.strip().startswith(helms)]
    return "\n".join(line for line in lines if line).removeprefix("---\n") + "\n"


def problem() -> str | None:
    """Why the manifest is not what the chart gives."""
    if not MANIFEST.exists():
        return "is missing"
    text = MANIFEST.read_text()
    if f"(sha256 {digest()})" not in text.partition("\n")[0]:
        return "is older than the chart"
    return None if text == manifest(text.partition(REST)[2]) else "holds another CRD"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 where it would change")
    parser.add_argument("--crd", action="store_true", help="put in the present CRD, leave the rest")
    options = parser.parse_args()
    if options.check:
        found = problem()
        if found is not None:
            print(f"{MANIFEST.relative_to(ROOT)} {found}: run make install-manifest", file=sys.stderr)
        return 0 if found is None else 1
    if options.crd:
        first, _, old = MANIFEST.read_text().partition("\n")
        # the old first line stays, so that a chart that has changed too is still noticed
        MANIFEST.write_text(first + "\n" + manifest(old.partition(REST)[2]).partition("\n")[2])
        return 0
    program = helm()
    if program is None:
        print("There is no helm. Install one, or build one with e2e/node/build.sh.", file=sys.stderr)
        return 2
    MANIFEST.parent.mkdir(exist_ok=True)
    MANIFEST.write_text(manifest(rendered(program)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
