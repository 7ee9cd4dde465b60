"""The programs that stand side by side: how each is started, and what it can do.

A program of ``benchmarks/peers`` is told everything in one JSON argument: ``api``, ``gateway``, ``token``, ``intents``,
``compression``, ``shards`` of ``count``, ``maxConcurrency``, ``mode`` (``receive``; ``single``: a request for each
event; ``batch``: up to 256 events a request), ``receiver`` (a URL), ``events`` (after so many it says
``{"received": n}``) and ``sessions`` (a file that keeps its sessions from one run to the next; empty for none). It ends
with its standard input. One that reshards does so on ``{"reshard": 16}``, and says ``{"resharded": 16}``.
"""

from __future__ import annotations

import json
import subprocess
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Self

from processes import cpu_seconds, pss_megabytes, rss_megabytes

ROOT: Final = Path(__file__).resolve().parent.parent
_PEERS: Final = ROOT / "benchmarks" / "peers"
_BOTS: Final = ROOT / "conformance"

INTENTS: Final = 1 | 1 << 9
_END_SECONDS: Final = 10.0


@dataclass(frozen=True, kw_only=True)
class Peer:
    name: str
    command: tuple[str, ...]
    """``{compression}`` stands for the compression, where each is a program of its own."""
    compressions: tuple[str, ...]
    bursts: Mapping[str, int]
    """Events of each shard in a burst, by mode: enough for some CPU-seconds."""
    keeps_sessions: bool = False
    """Whether the library documents how a program may keep its sessions from one run to the next."""
    reshards: bool = False

    def version(self) -> str:
        """Of the library, as locked."""
        if self.name.startswith("@"):
            package = json.loads((_BOTS / "node" / "node_modules" / self.name / "package.json").read_text())
            return str(package["version"])
        if self.name == "twilight-gateway":
            lock = (_BOTS / "rust" / "Cargo.lock").read_text()
            return lock.partition('name = "twilight-gateway"\nversion = "')[2].partition('"')[0]
        lock = (_BOTS / "python" / "requirements.lock").read_text()
        return lock.partition("discord-py==")[2].partition(" ")[0]


PEERS: Final = (
    Peer(
        name="@discordeno/gateway",
        command=("node", str(_PEERS / "discordeno.mjs")),
        compressions=("none", "zlib-stream", "zstd-stream"),
        bursts={"receive": 5000, "single": 600, "batch": 4000},
        reshards=True,
    ),
    Peer(
        name="@discordjs/ws",
        command=("node", str(_PEERS / "discordjs.mjs")),
        compressions=("none", "zlib-stream"),
        bursts={"receive": 5000, "single": 600, "batch": 4000},
        keeps_sessions=True,
    ),
    Peer(
        name="discord.py",
        command=(str(_BOTS / "python" / ".venv" / "bin" / "python"), str(_PEERS / "discordpy.py")),
        compressions=("zlib-stream", "zstd-stream"),
        bursts={"receive": 1500, "single": 400, "batch": 1000},
    ),
    Peer(
        name="twilight-gateway",
        command=(str(_PEERS / "bin" / "{compression}"),),
        compressions=("none", "zlib-stream", "zstd-stream"),
        bursts={"receive": 20_000, "single": 4000, "batch": 20_000},
        keeps_sessions=True,
    ),
)


class Program:
    """A running peer; use as a context."""

    def __init__(
        self,
        peer: Peer,
        *,
        api: str,
        gateway: str,
        receiver: str,
        compression: str,
        shards: int,
        mode: str,
        token: str = "bench.token",
        max_concurrency: int | None = None,
        events: int = 0,
        intents: int = INTENTS,
        sessions: str = "",
    ) -> None:
        arguments = {
            "api": api,
            "gateway": gateway,
            "token": token,
            "intents": intents,
            "compression": compression,
            "shards": list(range(shards)),
            "count": shards,
            "maxConcurrency": max_concurrency or shards,
            "mode": mode,
            "receiver": receiver,
            "events": events,
            "sessions": sessions,
        }
        self._command = [*(part.format(compression=compression) for part in peer.command), json.dumps(arguments)]
        self._peer = peer

    def __enter__(self) -> Self:
        self._errors = tempfile.TemporaryFile("w+")
        self.process = subprocess.Popen(
            self._command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._errors, text=True
        )
        return self

    def __exit__(self, *error: object) -> None:
        self.end()

    def end(self) -> None:
        """As a bot is ended; killed if that takes too long."""
        assert self.process.stdin is not None and self.process.stdout is not None
        if not self.process.stdin.closed:
            self.process.stdin.close()
        try:
            self.process.wait(_END_SECONDS)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.process.stdout.close()
        self._errors.close()

    def tell(self, **command: Any) -> None:
        assert self.process.stdin is not None
        print(json.dumps(command), file=self.process.stdin, flush=True)

    def hear(self) -> dict[str, Any]:
        """The next line that it says; raises ``SystemExit`` with its last words when it has ended instead."""
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            raise SystemExit(f"{self._peer.name} ended:\n{self.complaints()}")
        found: dict[str, Any] = json.loads(line)
        return found

    def complaints(self) -> str:
        self._errors.seek(0)
        return self._errors.read()[-4000:]

    @property
    def cpu_seconds(self) -> float:
        return cpu_seconds(self.process.pid)

    @property
    def rss_megabytes(self) -> float:
        return rss_megabytes(self.process.pid)

    @property
    def pss_megabytes(self) -> float:
        return pss_megabytes(self.process.pid)
