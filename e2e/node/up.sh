#!/bin/bash
# A single-node Kubernetes for machines with no container engine, no image registry and no kind: etcd, kube-apiserver,
# controller-manager, scheduler, kubelet, kube-proxy and CoreDNS from one Go binary (main.go), over Debian's containerd,
# runc and CNI plugins. Needs root. Does nothing when the node is up; after a crash it clears away what was left.
# State, logs and admin.kubeconfig land in $ROOT (settings.sh); down.sh ends what it started.
#
# It has no dynamic volume provisioner, no enforcement of NetworkPolicy, no metrics-server, no way out of the pods'
# network, and its DNS knows only the cluster. etcd does not fsync: a machine that loses power loses this cluster.
set -euo pipefail
cd "$(dirname "$0")"
. ../settings.sh
. ./processes.sh
export PATH=$PATH:/usr/sbin:/sbin
unset http_proxy https_proxy all_proxy no_proxy HTTP_PROXY HTTPS_PROXY ALL_PROXY NO_PROXY
BIN=$ROOT/bin/localnode PKI=$ROOT/pki LOG=$ROOT/log
COMPONENTS="containerd etcd kube-apiserver kube-controller-manager kube-scheduler kubelet kube-proxy coredns"
NODE=local
export KUBECONFIG=$ROOT/admin.kubeconfig

[ "$(id -u)" = 0 ] || fail "the node needs root (or Docker and kind)."
exec 9>"$ROOT/up.lock"
flock -w 1800 9 || fail "another up.sh holds $ROOT/up.lock."

is_up() {
  local name
  for name in $COMPONENTS; do pid_of "$name" >/dev/null || return 1; done
  "$ROOT/bin/kubectl" --request-timeout=5s get --raw /readyz >/dev/null 2>&1 \
    && "$ROOT/bin/kubectl" --request-timeout=5s wait --for=condition=Ready "node/$NODE" --timeout=20s >/dev/null 2>&1
}
if is_up; then exit 0; fi

[ -f "$ROOT/etcd.pid" ] && say "clearing away what an earlier run left"
./down.sh
for port in 6443 2379 2380 10250; do
  if ss -Hltn "sport = :$port" | grep -q .; then
    fail "port $port is taken ($(ss -Hltnp "sport = :$port" | grep -o 'users:.*' | head -1)); is there another Kubernetes on this machine?"
  fi
done

say "starting the node in $ROOT"
mkdir -p "$ROOT"/{etcd,kubelet,cni} "$PKI" "$LOG"
if [ ! -f "$PKI/done" ]; then
  openssl req -x509 -newkey rsa:2048 -nodes -keyout "$PKI/ca.key" -out "$PKI/ca.crt" -days 3650 -subj /CN=local-ca 2>/dev/null
  openssl genrsa -out "$PKI/sa.key" 2048 2>/dev/null
  openssl rsa -in "$PKI/sa.key" -pubout -out "$PKI/sa.pub" 2>/dev/null
  cert() { # name subject subjectAltName
    openssl req -newkey rsa:2048 -nodes -keyout "$PKI/$1.key" -out "$PKI/$1.csr" -subj "$2" 2>/dev/null
    openssl x509 -req -in "$PKI/$1.csr" -CA "$PKI/ca.crt" -CAkey "$PKI/ca.key" -CAcreateserial \
      -out "$PKI/$1.crt" -days 3650 -extfile <(echo "subjectAltName=$3") 2>/dev/null
  }
  cert apiserver /CN=kube-apiserver "DNS:localhost,DNS:kubernetes,DNS:kubernetes.default,DNS:kubernetes.default.svc,DNS:kubernetes.default.svc.cluster.local,IP:127.0.0.1,IP:10.96.0.1,IP:10.85.0.1"
  cert admin /O=system:masters/CN=admin DNS:admin
  cert controller-manager /CN=system:kube-controller-manager DNS:controller-manager
  cert scheduler /CN=system:kube-scheduler DNS:scheduler
  cert kubelet /O=system:nodes/CN=system:node:$NODE "DNS:$NODE,IP:127.0.0.1"
  cert kube-proxy /CN=system:kube-proxy DNS:kube-proxy
  touch "$PKI/done"
fi
for u in admin controller-manager scheduler kubelet kube-proxy; do cat >"$ROOT/$u.kubeconfig" <<K
apiVersion: v1
kind: Config
clusters: [{name: local, cluster: {server: "https://127.0.0.1:6443", certificate-authority: $PKI/ca.crt}}]
users: [{name: $u, user: {client-certificate: $PKI/$u.crt, client-key: $PKI/$u.key}}]
contexts: [{name: local, context: {cluster: local, user: $u}}]
current-context: local
K
done

# the pods' bridge exists before the first pod, so that the API server, the kubelet and CoreDNS can use its address
touch "$ROOT/bridge"
ip link show kube-br0 >/dev/null 2>&1 || ip link add kube-br0 type bridge
ip addr show kube-br0 | grep -q 10.85.0.1/16 || ip addr add 10.85.0.1/16 dev kube-br0
ip link set kube-br0 up
sysctl -qw net.ipv4.ip_forward=1
# without it the answer of a pod behind a Service goes straight over the bridge, past the translation back
modprobe br_netfilter 2>/dev/null || true
masquerade=()
sysctl -qw net.bridge.bridge-nf-call-iptables=1 2>/dev/null || masquerade=(--masquerade-all)

cat >"$ROOT/cni/10-bridge.conflist" <<C
{"cniVersion": "1.0.0", "name": "discord-gateway", "plugins": [
  {"type": "bridge", "bridge": "kube-br0", "isGateway": true, "hairpinMode": true,
   "ipam": {"type": "host-local", "dataDir": "$ROOT/cni-state", "ranges": [[{"subnet": "10.85.0.0/16"}]],
            "routes": [{"dst": "0.0.0.0/0"}]}}]}
C
# restrict_oom_score_adj: some hosts do not allow lowering oom_score_adj, and runc then fails with
# "can't get final child's PID from pipe: EOF"
cat >"$ROOT/containerd.toml" <<C
version = 2
root = "$ROOT/containerd"
state = "$ROOT/containerd-state"
[grpc]
  address = "$ROOT/containerd.sock"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "localhost/pause:1"
  restrict_oom_score_adj = true
  netns_mounts_under_state_dir = true
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "/usr/lib/cni"
    conf_dir = "$ROOT/cni"
C
# failCgroupV1 false: a kubelet from 1.35 on refuses a cgroup v1 machine without it
cat >"$ROOT/kubelet.yaml" <<C
apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
failCgroupV1: false
cgroupDriver: cgroupfs
containerRuntimeEndpoint: unix://$ROOT/containerd.sock
authentication: {anonymous: {enabled: false}, webhook: {enabled: true}, x509: {clientCAFile: $PKI/ca.crt}}
authorization: {mode: Webhook}
clusterDomain: cluster.local
clusterDNS: [10.85.0.1]
failSwapOn: false
# kube-proxy needs none of the kubelet's chains, and nothing would remove them
makeIPTablesUtilChains: false
evictionHard: {nodefs.available: "1%", imagefs.available: "1%", memory.available: 100Mi}
imageGCHighThresholdPercent: 100
resolvConf: $ROOT/resolv.conf
C
echo 'nameserver 127.0.0.1' >"$ROOT/resolv.conf"
cat >"$ROOT/Corefile" <<C
.:53 {
  bind 10.85.0.1
  errors
  kubernetes cluster.local in-addr.arpa {
    kubeconfig $ROOT/admin.kubeconfig local
    pods verified
    ttl 1
  }
}
C

start containerd containerd -c "$ROOT/containerd.toml"
start etcd "$BIN" etcd --data-dir "$ROOT/etcd" --unsafe-no-fsync
start kube-apiserver "$BIN" kube-apiserver --etcd-servers=http://127.0.0.1:2379 \
  --client-ca-file="$PKI/ca.crt" --tls-cert-file="$PKI/apiserver.crt" --tls-private-key-file="$PKI/apiserver.key" \
  --service-account-key-file="$PKI/sa.pub" --service-account-signing-key-file="$PKI/sa.key" \
  --service-account-issuer=https://kubernetes.default.svc --service-cluster-ip-range=10.96.0.0/16 \
  --authorization-mode=Node,RBAC --enable-admission-plugins=NodeRestriction --allow-privileged=true \
  --kubelet-client-certificate="$PKI/admin.crt" --kubelet-client-key="$PKI/admin.key" \
  --kubelet-preferred-address-types=InternalIP --advertise-address=10.85.0.1
for _ in $(seq 240); do
  "$ROOT/bin/kubectl" --request-timeout=2s get --raw /readyz >/dev/null 2>&1 && break
  pid_of kube-apiserver >/dev/null || { tail -5 "$LOG/kube-apiserver.log" >&2; fail "kube-apiserver ended ($LOG/kube-apiserver.log)."; }
  sleep 0.25
done
start kube-controller-manager "$BIN" kube-controller-manager --kubeconfig="$ROOT/controller-manager.kubeconfig" \
  --service-account-private-key-file="$PKI/sa.key" --root-ca-file="$PKI/ca.crt" --use-service-account-credentials --leader-elect=false
start kube-scheduler "$BIN" kube-scheduler --kubeconfig="$ROOT/scheduler.kubeconfig" --leader-elect=false
start kubelet "$BIN" kubelet --kubeconfig="$ROOT/kubelet.kubeconfig" --config="$ROOT/kubelet.yaml" --root-dir="$ROOT/kubelet" \
  --hostname-override="$NODE" --node-ip=10.85.0.1
touch "$ROOT/rules"
start kube-proxy "$BIN" kube-proxy --kubeconfig="$ROOT/kube-proxy.kubeconfig" --cluster-cidr=10.85.0.0/16 \
  --hostname-override="$NODE" --conntrack-max-per-core=0 --proxy-mode=iptables "${masquerade[@]}"
start coredns "$BIN" coredns -conf "$ROOT/Corefile"
if ! { "$ROOT/bin/kubectl" wait --for=create "node/$NODE" --timeout=60s && "$ROOT/bin/kubectl" wait --for=condition=Ready "node/$NODE" --timeout=90s \
  && "$ROOT/bin/kubectl" wait --for=create serviceaccount/default --timeout=60s; } >/dev/null; then
  for name in kubelet containerd; do say "$name says:"; tail -5 "$LOG/$name.log" >&2; done
  fail "the node is not Ready; logs are in $LOG."
fi
say "the node is up: export KUBECONFIG=$ROOT/admin.kubeconfig PATH=$ROOT/bin:\$PATH"
