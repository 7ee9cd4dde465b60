#!/bin/bash
# Fetches a Go toolchain as the module golang.org/toolchain, for machines without a usable go; prints the path of its go.
set -euo pipefail
cd "$(dirname "$0")"
. ../settings.sh
GO_VERSION=go$(sed -n 's/^go \([0-9.]*\)$/\1/p' go.mod)
# The sums are those of the checksum database (sum.golang.org) for this version.
case $GO_VERSION-$(uname -m) in
  go1.26.0-x86_64) PLATFORM=linux-amd64 SUM=h1:1p2G5COR51f8Q3EQ4HLJQDDL2ytLEqfL/yTawB0Jr8w= ;;
  go1.26.0-aarch64) PLATFORM=linux-arm64 SUM=h1:lAFrRm35hIzvRSMYiELtaPaitr22pp6iaBbdPBuJg2U= ;;
  *) fail "no toolchain is known for $GO_VERSION on $(uname -m); install Go 1.21 or newer." ;;
esac
MODULE=golang.org/toolchain@v0.0.1-$GO_VERSION.$PLATFORM
GO=$ROOT/toolchain/$MODULE/bin/go
if [ ! -x "$GO" ]; then
  say "fetching $GO_VERSION"
  ./require.sh curl python3
  proxy=$(echo "${GOPROXY:-https://proxy.golang.org}" | tr ',|' '\n\n' | grep -m1 ^http || echo https://proxy.golang.org)
  mkdir -p "$ROOT/toolchain"
  zip=$ROOT/toolchain/$GO_VERSION.zip
  curl -sSfL --retry 5 -o "$zip" "$proxy/golang.org/toolchain/@v/${MODULE#*@}.zip"
  python3 unpack_module.py "$zip" "$ROOT/toolchain" "$SUM" >&2
  rm -f "$zip"
fi
echo "$GO"
