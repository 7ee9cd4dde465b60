# Shared by the scripts of this folder; sourced, not run.
E2E=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
REPOSITORY=$(dirname "$E2E")
# Everything that is built or kept lies here, outside the repository: binaries, images, state, logs.
ROOT=${DISCORD_GATEWAY_NODE:-/var/tmp/discord-gateway-node}
mkdir -p "$ROOT"
ROOT=$(cd "$ROOT" && pwd)

BASE_IMAGE=${BASE_IMAGE:-localhost/python:3.11}
VERSION=$(sed -n 's/^version = "\(.*\)"/\1/p' "$REPOSITORY/pyproject.toml" | head -1)
REGISTRY=ghcr.io/discord-gateway
image_of() { echo "$REGISTRY/discord-gateway-$1:$VERSION"; }   # operator | runtime | simulator

# Where the tests and the demo install the chart.
RELEASE=gateways
RELEASE_NAMESPACE=discord-gateway-system

say() { echo "$(date +%H:%M:%S) $*" >&2; }
fail() { echo "error: $*" >&2; exit 1; }

# Nothing here may reach the cluster or a pod through somebody's proxy; downloads keep it.
without_proxy() {
  env -u http_proxy -u https_proxy -u all_proxy -u no_proxy -u HTTP_PROXY -u HTTPS_PROXY -u ALL_PROXY -u NO_PROXY "$@"
}

# kind where Docker answers and kind is installed, else the node of node/. E2E_CLUSTER overrides.
cluster_kind() {
  if [ -n "${E2E_CLUSTER:-}" ]; then echo "$E2E_CLUSTER"
  elif command -v kind >/dev/null && command -v docker >/dev/null && timeout 20 docker info >/dev/null 2>&1; then echo kind
  else echo node; fi
}
KIND_NAME=${KIND_NAME:-discord-gateway}

# Images are built with buildah in a store of their own; its builds need neither a daemon nor a network.
store() { without_proxy buildah --root "$ROOT/storage" --runroot "$ROOT/storage-run" "$@"; }
import() { # image; copies it from that store into the node
  local archive=$ROOT/import.$$.tar
  store push -q "$1" "docker-archive:$archive:$1"
  without_proxy ctr -a "$ROOT/containerd.sock" -n k8s.io images import "$archive" >/dev/null
  rm -f "$archive"
}
imported() { without_proxy ctr -a "$ROOT/containerd.sock" -n k8s.io images list -q "name==$1" | grep -qxF "$1"; }
