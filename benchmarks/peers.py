"""``make bench-peers``: gateway libraries that bots use, side by side with the runtime, in one run.

One JSON object in ``--out`` (stdout without it), tables on stderr. The programs of ``benchmarks/peers`` are ours and
small, and use each library as its documentation says. ``--only`` runs a part and replaces it in an earlier run's file.
The libraries know Discord's real address, so everything runs in a network namespace that has nothing but loopback.
"""

from __future__ import annotations

import argparse
import fcntl
import os
import socket
import struct
import subprocess
import sys
from pathlib import Path
from typing import Final

from parts import Measure, measure_parts
from peer_outages import away, reshard
from peer_programs import PEERS, ROOT
from peer_speed import memory, speed, steady
from peer_tables import peers_tables

_SIOCGIFFLAGS: Final = 0x8913
_SIOCSIFFLAGS: Final = 0x8914
_IFF_UP: Final = 1
_INSIDE: Final = "BENCH_ISOLATED"


def isolated() -> None:
    """Begin anew inside a network namespace, unless this is one; raises ``SystemExit`` where that is not permitted."""
    if os.environ.get(_INSIDE):
        if _interfaces() != {"lo"}:
            raise SystemExit("the network namespace has more than loopback")
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
            request = struct.pack("16sH14x", b"lo", 0)
            (flags,) = struct.unpack("16xH14x", fcntl.ioctl(any_socket, _SIOCGIFFLAGS, request))
            fcntl.ioctl(any_socket, _SIOCSIFFLAGS, struct.pack("16sH14x", b"lo", flags | _IFF_UP))
        return
    unshare = ["unshare", "--net"] if os.geteuid() == 0 else ["unshare", "--map-root-user", "--net"]
    os.environ[_INSIDE] = "1"
    os.execvp(unshare[0], [*unshare, sys.executable, *sys.argv])


def _interfaces() -> set[str]:
    return {line.split(":")[0].strip() for line in Path("/proc/net/dev").read_text().splitlines()[2:]}


def _output_of(*command: str) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT).stdout.strip()


def versions() -> dict[str, str]:
    libraries = {peer.name: peer.version() for peer in PEERS}
    return {**libraries, "node": _output_of("node", "--version"), "rustc": _output_of("rustc", "--version").split()[1]}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parts: dict[str, Measure] = {
        "speed": lambda: speed(repeats=arguments.repeats),
        "steady": steady,
        "memory": memory,
        "away": away,
        "reshard": reshard,
    }
    parser.add_argument("--only", choices=tuple(parts))
    parser.add_argument("--repeats", type=int, default=2, help="of each burst, of which the best counts")
    parser.add_argument("--out", type=Path, help="file for the JSON")
    arguments = parser.parse_args()
    isolated()
    measure_parts(parts, only=arguments.only, out=arguments.out, tables=peers_tables, packages=versions())


if __name__ == "__main__":
    main()
