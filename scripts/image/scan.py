"""Looks through an image's files for what lets a process become more than it is, or change what it runs.

``python scan.py NAME < rootfs.tar`` prints what it finds and exits 1 if that is anything: files that are setuid or
setgid, devices, capabilities on files, and paths that everybody or the image's own user may write, but for ``/tmp`` and
the folder of the state. Pods run with a read-only root besides; this is for those who run the image in another way.
"""

from __future__ import annotations

import stat
import sys
import tarfile
from collections.abc import Iterable, Iterator

UID = GID = 65532
STATE = "var/lib/discord-gateway"
SHARED = {"tmp"}
"""Writable for everybody, with the sticky bit."""


def findings(members: Iterable[tarfile.TarInfo]) -> Iterator[str]:
    """A sentence for each path that should not be as it is."""
    for member in members:
        path = member.name.removeprefix("./").strip("/")
        if path.partition("/")[0] == "dev":
            continue  # whatever runs the image lays its own over it
        if member.ischr() or member.isblk():
            yield f"/{path} is a device"
        if member.mode & (stat.S_ISUID | stat.S_ISGID):
            yield f"/{path} is setuid or setgid ({member.mode:o})"
        if any(name.endswith("security.capability") for name in member.pax_headers):
            yield f"/{path} carries capabilities"
        if member.issym() or member.islnk() or path == STATE:
            continue
        sticky = member.isdir() and member.mode & stat.S_ISVTX
        if member.mode & stat.S_IWOTH and not (path in SHARED and sticky):
            yield f"/{path} is writable for everybody ({member.mode:o})"
        own = member.uid == UID and member.mode & stat.S_IWUSR
        group = member.gid == GID and member.mode & stat.S_IWGRP
        if own or group:
            yield f"/{path} is writable for the image's user"


def main(name: str) -> int:
    count = 0
    with tarfile.open(fileobj=sys.stdin.buffer, mode="r|") as archive:
        for sentence in findings(archive):
            count += 1
            print(f"{name}: {sentence}", file=sys.stderr)
    return 1 if count else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
