#!/bin/bash
# `make e2e`: pytest against real pods. Arguments go to pytest. What failed leaves its traces in e2e/artifacts.
set -euo pipefail
cd "$(dirname "$0")/.."
exec .venv/bin/pytest e2e -p no:cacheprovider "$@"
