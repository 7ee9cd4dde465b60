#!/bin/bash
# `make demo-kubernetes`: the cluster up, the chart installed, then the story on real pods. The cluster stays up;
# e2e/cluster.sh down ends it.
set -euo pipefail
cd "$(dirname "$0")"
./install.sh
exec ../.venv/bin/python demo_kubernetes.py
