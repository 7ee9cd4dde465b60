"""Stands for the runtime where a test is about processes: says what it was given and lives until told otherwise.

Each start appends a line to ``starts`` in its state directory. ``end`` in the config volume holds an exit code to end
with at once; ``stubborn`` there makes it ignore SIGTERM. A child of its own shows whether whole groups are ended.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path


def main() -> None:
    config = Path(os.environ["DISCORD_GATEWAY_CONFIG_DIR"])
    state = Path(os.environ["DISCORD_GATEWAY_STATE_DIR"])
    child = subprocess.Popen(["sleep", "600"])
    names = ("POD_INDEX", "POD_UID", "DISCORD_GATEWAY_PORT", "DISCORD_GATEWAY_HOST", "EXTRA")
    line = {name: os.environ.get(name) for name in names} | {"pid": os.getpid(), "child": child.pid}
    if (config / "config" / "stubborn").exists():
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    else:
        signal.signal(signal.SIGTERM, lambda *_: (child.kill(), (state / "stopped").write_text("yes"), sys.exit(0)))
    with (state / "starts").open("a") as file:
        file.write(json.dumps(line) + "\n")
    end = config / "config" / "end"
    if end.exists():
        sys.exit(int(end.read_text()))
    while True:
        signal.pause()


main()
