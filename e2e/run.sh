#!/bin/bash
# `make e2e`: pytest against real pods. Arguments go to pytest. What failed leaves its traces in e2e/artifacts.
set -euo pipefail
cd "$(dirname "$0")/.."
e2e/install.sh   # the tests would do it too, but nobody would see why it takes its time
exec .venv/bin/pytest e2e -p no:cacheprovider "$@"
