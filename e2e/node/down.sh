#!/bin/bash
# Ends what up.sh started, pods included, and removes what it left in the machine (mounts, bridge, service rules).
# Binaries and images stay. Does the same for what a crash has left behind.
set -uo pipefail
cd "$(dirname "$0")"
. ../settings.sh
. ./processes.sh
export PATH=$PATH:/usr/sbin:/sbin

# nobody may start a container again, then the containers, then what held them
for name in coredns kube-proxy kubelet kube-scheduler kube-controller-manager; do stop "$name" & done
wait
stop kube-apiserver 1   # it would wait a minute for its watchers
stop etcd

for shim in $(shims); do
  # a shim's children are the containers' first processes; the kernel ends the rest with each pid namespace
  for child in $(cat "/proc/$shim/task/"*/children 2>/dev/null); do kill -9 "$child" 2>/dev/null; done
  kill -9 "$shim" 2>/dev/null
done
stop containerd
for _ in $(seq 50); do [ -z "$(shims)" ] && break; sleep 0.1; done

grep -F " $ROOT/" /proc/self/mountinfo | cut -d' ' -f5 | sort -r | while read -r mount; do umount -l "$mount" 2>/dev/null; done
[ -x "$ROOT/bin/localnode" ] && [ -f "$ROOT/rules" ] && "$ROOT/bin/localnode" kube-proxy --cleanup >/dev/null 2>&1
# kube-proxy leaves the chain that it shares with the kubelet
if [ -f "$ROOT/rules" ]; then
  for tables in iptables ip6tables; do
    command -v "$tables" >/dev/null || continue
    for hook in INPUT OUTPUT; do
      while "$tables" -w -D "$hook" -j KUBE-FIREWALL 2>/dev/null; do :; done
    done
    "$tables" -w -F KUBE-FIREWALL 2>/dev/null && "$tables" -w -X KUBE-FIREWALL 2>/dev/null
  done
fi
rm -f "$ROOT/rules"
[ -f "$ROOT/bridge" ] && ip link del kube-br0 2>/dev/null
rm -f "$ROOT/bridge"
# cgroups of pods that no process is in any more
find /sys/fs/cgroup -depth -type d -path '*/kubepods*' -exec rmdir {} + 2>/dev/null
rm -rf "$ROOT/etcd" "$ROOT/kubelet" "$ROOT/containerd-state" "$ROOT/cni-state" "$ROOT/containerd.sock" "$ROOT/containerd.sock.ttrpc"
exit 0
