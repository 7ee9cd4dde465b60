#!/bin/bash
# `make e2e`: pytest against real pods. Arguments go to pytest. What failed leaves its traces in e2e/artifacts.
set -euo pipefail
cd "$(dirname "$0")/.."
e2e/install.sh   # the tests would do it too, but nobody would see why it takes its time
# the chart's own tests, which `make test` skips where there is no helm
[ $# -gt 0 ] || CHART_TESTS=required PATH="$(e2e/cluster.sh tools):$PATH" .venv/bin/pytest tests/chart -q -p no:cacheprovider
exec .venv/bin/pytest e2e -p no:cacheprovider "$@"
