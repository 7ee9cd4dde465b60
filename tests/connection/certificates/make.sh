#!/usr/bin/env bash
# Makes the certificates of test_tls.py: valid from 2020 for a hundred years, vouching for nothing but loopback.
set -euo pipefail
cd "$(dirname "$0")"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cat > "$work/ca.cnf" <<CNF
[ca]
default_ca = made
[made]
database = $work/index
serial = $work/serial
new_certs_dir = $work
default_md = sha256
policy = any
unique_subject = no
[any]
commonName = supplied
[authority]
basicConstraints = critical, CA:TRUE
keyUsage = critical, keyCertSign, cRLSign
subjectKeyIdentifier = hash
[server]
basicConstraints = critical, CA:FALSE
keyUsage = critical, digitalSignature
extendedKeyUsage = serverAuth
subjectKeyIdentifier = hash
authorityKeyIdentifier = keyid
subjectAltName = \$ENV::NAMES
CNF
: > "$work/index"
echo 1000 > "$work/serial"
export NAMES=DNS:unused.test
make() { # name, section, where the key lies, then who signs
  openssl req -new -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj "/CN=$1" -keyout "$3" -out "$work/$1.csr" 2>/dev/null
  openssl ca -batch -notext -config "$work/ca.cnf" -extensions "$2" -startdate 20200101000000Z -enddate 21200101000000Z \
    -in "$work/$1.csr" -out "$1.pem" "${@:4}" 2>/dev/null
}
for name in authority stranger; do make $name authority "$work/$name.key" -selfsign -keyfile "$work/$name.key"; done
by=(-cert authority.pem -keyfile "$work/authority.key")
NAMES="IP:127.0.0.1,DNS:localhost" make receiver server receiver.key "${by[@]}"
NAMES="DNS:elsewhere.test" make elsewhere server elsewhere.key "${by[@]}"
