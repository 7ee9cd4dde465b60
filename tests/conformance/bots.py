"""A process with bots of one library, and what they reported.

The lines that it speaks are described in ``conformance/README.md``. Reports are sorted into sessions here: a READY
begins one, everything after it on the same shard belongs to it.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections import defaultdict
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Final

from conformance.isolation import Isolation, interfaces_of
from conformance.libraries import Library

_END_SECONDS: Final = 10.0
_MAX_CONCURRENCY: Final = 64
"""For the library that leaves asking for it to the bot."""


@dataclass
class SeenSession:
    """One session as a bot saw it."""

    id: str
    names: list[str] = field(default_factory=list)
    sequences: list[int | None] = field(default_factory=list)
    """None where the library shows none."""
    ids: list[str | None] = field(default_factory=list)
    nonces: list[str | None] = field(default_factory=list)
    last: int = 0
    """The highest sequence: as shown, or by counting, since a session's sequences start at 1 and have no gaps."""

    def in_order(self, early: list[dict[str, Any]]) -> SeenSession:
        """The same with what came before its READY, all by sequence."""
        rows = list(zip(self.sequences, self.names, self.ids, self.nonces, strict=True))
        rows += [(line["sequence"], line["name"], line["id"], line["nonce"]) for line in early]
        rows.sort(key=lambda row: row[0] or 0)
        sequences, names, ids, nonces = (list(column) for column in zip(*rows, strict=True))
        return SeenSession(self.id, names, sequences, ids, nonces)

    def ids_of(self, name: str) -> list[str | None]:
        return [id for id, of in zip(self.ids, self.names, strict=True) if of == name]


@dataclass(frozen=True, kw_only=True)
class BotOptions:
    shards: Sequence[int]
    count: int
    chunk: bool = False
    """Ask for all members at the start, as the library does by itself."""


class Bots:
    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self.sessions: dict[tuple[int, int], list[SeenSession]] = defaultdict(list)
        """By bot and shard."""
        self.objects: dict[tuple[int, str], list[dict[str, Any]]] = defaultdict(list)
        """By bot and kind."""
        self.stopped: dict[int, dict[str, Any]] = {}
        self.logs: list[dict[str, Any]] = []
        self.early: dict[tuple[int, int], list[dict[str, Any]]] = defaultdict(list)
        """Dispatches before any READY of their bot and shard."""
        self.errors = ""

    def _hear(self, line: dict[str, Any]) -> None:
        if "log" in line:
            self.logs.append(line)
        elif "stopped" in line:
            self.stopped[line["bot"]] = line
        elif "object" in line:
            self.objects[line["bot"], line["object"]].append(line)
        else:
            self._hear_dispatch(line)

    def _hear_dispatch(self, line: dict[str, Any]) -> None:
        sessions = self.sessions[line["bot"], line["shard"]]
        if line["name"] == "READY":
            sessions.append(SeenSession(line["session"]))
        if not sessions:
            self.early[line["bot"], line["shard"]].append(line)
            return
        seen = sessions[-1]
        seen.names.append(line["name"])
        seen.sequences.append(line["sequence"])
        seen.ids.append(line["id"])
        seen.nonces.append(line["nonce"])
        seen.last = max(seen.last, line["sequence"] or len(seen.names))

    async def listen(self) -> None:
        assert self._process.stdout is not None
        async for line in self._process.stdout:
            self._hear(json.loads(line))

    async def listen_to_errors(self) -> None:
        assert self._process.stderr is not None
        async for line in self._process.stderr:
            self.errors += line.decode()

    def ask_members(self, *, bot: int, guild: int, nonce: str, query: str = "", limit: int = 0) -> None:
        """Have a bot ask for members of a guild: those whose names begin with *query*, or with no *limit* for all."""
        assert self._process.stdin is not None
        command = {"bot": bot, "guild": str(guild), "nonce": nonce, "query": query, "limit": limit}
        self._process.stdin.write(json.dumps(command).encode() + b"\n")

    def check_alive(self) -> None:
        assert self._process.returncode is None, f"it ended with {self._process.returncode}: {self.errors}"

    async def end(self) -> None:
        """End it as a bot is ended; kill it if that takes too long."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        try:
            async with asyncio.timeout(_END_SECONDS):
                await self._process.wait()
        except TimeoutError:
            self._process.kill()
            await self._process.wait()
            raise


@asynccontextmanager
async def running_bots(
    library: Library,
    *,
    isolation: Isolation,
    port: int,
    token: str,
    bots: Sequence[BotOptions],
    compression: str,
    zombie_seconds: float,
) -> AsyncIterator[Bots]:
    """Start bots of *library* inside the isolated network; ends them at the end."""
    arguments = {
        "api": f"http://127.0.0.1:{port}/api/v10",
        "gateway": f"ws://127.0.0.1:{port}/",
        "token": token,
        "compression": compression,
        "zombieSeconds": zombie_seconds,
        "maxConcurrency": _MAX_CONCURRENCY,
        "bots": [{"shards": list(bot.shards), "count": bot.count, "chunk": bot.chunk} for bot in bots],
    }
    command = [part.format(compression=compression) for part in library.command]
    pipe = asyncio.subprocess.PIPE
    with isolation.entered():
        process = await asyncio.create_subprocess_exec(
            *command, json.dumps(arguments), stdin=pipe, stdout=pipe, stderr=pipe, limit=1 << 20
        )
    running = Bots(process)
    async with asyncio.TaskGroup() as listeners:
        for listener in (running.listen, running.listen_to_errors):
            listeners.create_task(listener(), name=f"{library.name} {listener.__name__}")
        try:
            assert interfaces_of(process.pid) == {"lo"}
            yield running
            await running.end()
        finally:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()
