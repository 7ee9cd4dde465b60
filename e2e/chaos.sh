#!/bin/bash
# `make chaos`: real faults on real pods. Arguments go to pytest; --if-possible does nothing where there is no node.
# Needs the node of node/: what is done to processes, networks, disks and clock is done from the machine that they are on.
set -euo pipefail
cd "$(dirname "$0")/.."
. e2e/settings.sh
why=""
[ "$(id -u)" = 0 ] || why="only root can do it"
[ -n "$why" ] || command -v apt-get >/dev/null || why="the node of e2e/node is for Debian and Ubuntu only"
if [ "${1:-}" = --if-possible ]; then
  shift
  if [ -n "$why" ]; then say "skipped: real faults on real pods ($why)"; exit 0; fi
fi
[ -z "$why" ] || fail "no real faults here: $why."
export E2E_CLUSTER=node
e2e/node/require.sh nsenter mount mkfs.ext4 iptables
e2e/install.sh
exec .venv/bin/pytest -m verify e2e/chaos -p no:cacheprovider "$@"
