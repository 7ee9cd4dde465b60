"""The node's API server, hung or gone, and back as the node's script had started it."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

from harness.kubectl import environment

from chaos.machine import Process, go_on, kill, process, stop


class ApiServer:
    """What ``node/up.sh`` started: its pid file holds ``<pid> <start time>``."""

    def __init__(self, root: Path) -> None:
        self._file = root / "kube-apiserver.pid"
        self._log = root / "log" / "kube-apiserver.log"

    @property
    def here(self) -> bool:
        """Whether it runs on this machine."""
        return self._file.exists()

    def _process(self) -> Process:
        pid, started = self._file.read_text().split()
        found = process(int(pid))
        if found is None or found.started != started:
            raise LookupError("the API server does not run")
        return found

    def hang(self) -> Callable[[], None]:
        """Connections stay and are not answered. Returns what ends it."""
        hung = [self._process()]
        stop(hung)
        return lambda: go_on(hung)

    def end(self) -> Callable[[], None]:
        """Connections are refused. Returns what starts it again."""
        ended = self._process()
        kill([ended])
        return lambda: self._start(ended.command)

    def _start(self, command: tuple[str, ...]) -> None:
        with self._log.open("ab") as log:
            started = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                env=environment(),
                cwd=os.sep,
            )
        new = process(started.pid)
        if new is None:
            raise LookupError("the API server ended at once")
        self._file.write_text(f"{new.pid} {new.started}\n")
