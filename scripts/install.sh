#!/usr/bin/env bash
# A virtual environment with exactly the packages of requirements.lock, on a machine that may have no Python at all.
# Usage: [PYTHON=/usr/bin/python3] scripts/install.sh [.venv]; PYTHON is the one to take if it can be.
set -euo pipefail
cd "$(dirname "$0")/.."
venv=${1:-.venv}

python_for_us() {  # prints a Python of 3.11 or later that can make virtual environments
  for candidate in ${PYTHON:-} python3.11 python3.12 python3.13 python3 python; do
    if command -v "$candidate" >/dev/null 2>&1 && "$candidate" - 2>/dev/null <<'P'
import sys, ensurepip, venv
sys.exit(sys.version_info < (3, 11))
P
    then command -v "$candidate"; return 0; fi
  done
  return 1
}

if ! python=$(python_for_us); then
  if ! command -v apt-get >/dev/null 2>&1; then
    echo "No Python of 3.11 or later with venv was found, and there is no apt-get to install one. Install Python 3.11 and run this again." >&2
    exit 1
  fi
  sudo=""; [ "$(id -u)" = 0 ] || sudo=sudo
  $sudo apt-get update -q
  $sudo env DEBIAN_FRONTEND=noninteractive apt-get install -y -q python3 python3-venv ca-certificates
  python=$(python_for_us)
fi

[ -x "$venv/bin/python" ] || "$python" -m venv "$venv"
"$venv/bin/python" -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
"$venv/bin/python" -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
