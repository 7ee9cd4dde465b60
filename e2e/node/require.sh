#!/bin/bash
# Installs the Debian packages whose commands are missing. Usage: require.sh COMMAND...
set -euo pipefail
. "$(dirname "$0")/../settings.sh"

package_of() {
  case $1 in
    containerd | ctr) echo containerd ;;
    bridge) echo containernetworking-plugins ;;
    busybox) echo busybox-static ;;
    ip | ss) echo iproute2 ;;
    sysctl) echo procps ;;
    flock | nsenter | mount) echo util-linux ;;
    mkfs.ext4) echo e2fsprogs ;;
    *) echo "$1" ;;
  esac
}
present() {
  case $1 in
    bridge) [ -x /usr/lib/cni/bridge ] ;;
    *) PATH=$PATH:/usr/sbin:/sbin command -v "$1" >/dev/null ;;
  esac
}

missing=()
for command in "$@"; do present "$command" || missing+=("$(package_of "$command")"); done
[ ${#missing[@]} -gt 0 ] || exit 0
[ "$(id -u)" = 0 ] || fail "${missing[*]} must be installed, and that needs root."
command -v apt-get >/dev/null || fail "install ${missing[*]} first; this script can do it on Debian and Ubuntu only."
say "installing ${missing[*]}"
export DEBIAN_FRONTEND=noninteractive
for try in 1 2 3; do
  if apt-get update -qq >"$ROOT/apt.log" 2>&1 \
    && apt-get install -y -qq --no-install-recommends "${missing[@]}" >>"$ROOT/apt.log" 2>&1; then exit 0; fi
  [ $try = 3 ] || { say "apt-get failed, trying again"; sleep $((try * 5)); }
done
tail -20 "$ROOT/apt.log" >&2
fail "apt-get could not install ${missing[*]} (see $ROOT/apt.log)."
