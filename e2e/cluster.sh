#!/bin/bash
# The cluster of the end-to-end tests: kind where there is Docker, else the node of node/.
#   cluster.sh up            brings it up, building what it needs; nothing to do if it is up
#   cluster.sh down          ends it
#   cluster.sh load-image I  loads the image I from docker (kind) or from the store of images.sh (node)
#   cluster.sh copy-image I J   gives the image I, which the cluster has, the name J too
#   cluster.sh kubeconfig    prints the path of its kubeconfig
#   cluster.sh tools         prints the folder of its kubectl and helm
#   cluster.sh env           prints export lines for a shell: eval "$(e2e/cluster.sh env)"
set -euo pipefail
cd "$(dirname "$0")"
. ./settings.sh
cluster=$(cluster_kind)

tools() { # kind's users mostly have both; who has not gets them from the node's binary
  if command -v kubectl >/dev/null && command -v helm >/dev/null && [ "$cluster" = kind ]; then
    mkdir -p "$ROOT/kind-bin"
    for name in kubectl helm; do ln -sf "$(command -v $name)" "$ROOT/kind-bin/$name"; done
    echo "$ROOT/kind-bin"
  else
    echo "$ROOT/bin"
  fi
}
kubeconfig=$ROOT/$([ "$cluster" = kind ] && echo kind.kubeconfig || echo admin.kubeconfig)

case ${1:-} in
  up)
    if [ "$cluster" = kind ]; then
      kind get clusters 2>/dev/null | grep -qx "$KIND_NAME" || kind create cluster --name "$KIND_NAME" --wait 120s
      kind get kubeconfig --name "$KIND_NAME" >"$kubeconfig"
      [ "$(tools)" = "$ROOT/kind-bin" ] || node/build.sh
    else
      node/require.sh containerd ctr runc bridge iptables conntrack socat buildah mmdebstrap busybox openssl ip ss sysctl flock curl
      node/build.sh
      node/up.sh
      node/base-images.sh
    fi
    ;;
  down) if [ "$cluster" = kind ]; then kind delete cluster --name "$KIND_NAME"; else node/down.sh; fi ;;
  load-image)
    [ -n "${2:-}" ] || fail "which image? cluster.sh load-image IMAGE"
    if [ "$cluster" = kind ]; then kind load docker-image --name "$KIND_NAME" "$2"; else import "$2"; fi
    ;;
  copy-image)
    [ -n "${3:-}" ] || fail "which images? cluster.sh copy-image IMAGE NEW-NAME"
    if [ "$cluster" = kind ]; then
      docker exec "$KIND_NAME-control-plane" ctr -n k8s.io images tag --force "$2" "$3" >/dev/null
    else
      without_proxy ctr -a "$ROOT/containerd.sock" -n k8s.io images tag --force "$2" "$3" >/dev/null
    fi
    ;;
  kubeconfig) echo "$kubeconfig" ;;
  tools) tools ;;
  env) echo "export KUBECONFIG=$kubeconfig PATH=$(tools):\$PATH" ;;
  *) sed -n '2,9s/^# \{0,1\}//p' "$0"; exit 2 ;;
esac
