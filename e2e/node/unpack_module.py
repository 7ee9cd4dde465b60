"""Unpack a Go module's zip after checking it against its sum ("h1:…"), as the go command would.

Usage: unpack_module.py ZIP FOLDER SUM. Here because a machine without Go has to get its first Go from somewhere.
"""

import base64
import hashlib
import sys
import zipfile
from pathlib import Path


def module_sum(archive: zipfile.ZipFile) -> str:
    """The "h1:" sum: SHA-256 over the sorted lines "<SHA-256 of file>  <name>" (golang.org/x/mod/sumdb/dirhash)."""
    lines = [f"{hashlib.sha256(archive.read(name)).hexdigest()}  {name}\n" for name in sorted(archive.namelist())]
    return "h1:" + base64.b64encode(hashlib.sha256("".join(lines).encode()).digest()).decode()


def main(path: str, folder: str, expected: str) -> None:
    """Raise ``SystemExit`` when the sum does not match."""
    with zipfile.ZipFile(path) as archive:
        if (actual := module_sum(archive)) != expected:
            raise SystemExit(f"{path} has the sum {actual}, but the checksum database says {expected or 'nothing'}.")
        archive.extractall(folder)
        for name in archive.namelist():
            if "/bin/" in name or "/pkg/tool/" in name:  # a module's zip keeps no modes
                (Path(folder) / name).chmod(0o755)


if __name__ == "__main__":
    main(*sys.argv[1:])
