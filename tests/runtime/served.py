"""A pod's HTTP surface over a real socket, in front of one worker that does nothing."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from runtime.configuration import configuration

from shard_runtime import contract
from shard_runtime.admin.server import AdminServer, Limits
from shard_runtime.channel import DirectLink
from shard_runtime.mounts import Secrets
from shard_runtime.orders import AskStatus, Done, FromWorker, Orders, ToWorker, WorkerStatus
from shard_runtime.supervisor.pod import Pod
from shard_runtime.supervisor.surface import Surface

OPERATOR, BOT = "operator-secret", "bot-secret"
LOG = logging.getLogger("test")


class MemoryDisk:
    def __init__(self) -> None:
        self.files: dict[Path, bytes] = {}

    def read(self, path: Path) -> bytes | None:
        return self.files.get(path)

    def write(self, path: Path, data: bytes) -> None:
        self.files[path] = data

    def write_soon(self, path: Path, data: bytes) -> None:
        self.files[path] = data

    def remove(self, path: Path) -> None:
        self.files.pop(path, None)

    def oldest_first(self, folder: Path) -> list[Path]:
        return [path for path in self.files if path.parent == folder]


class StillClock:
    def monotonic(self) -> float:
        return 0.0

    def unix_milliseconds(self) -> int:
        return 1_700_000_000_000

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


class WorkerOfOneShard:
    def __init__(self) -> None:
        self.state = contract.ShardState.CONNECTING
        self.roles: list[contract.Role] = []

    async def handle(self, message: ToWorker) -> FromWorker:
        if isinstance(message, Orders):
            self.roles.append(message.role)
        if isinstance(message, AskStatus):
            return WorkerStatus(
                shards=[contract.ShardStatus(id=0, state=self.state)],
                queued=3,
                oldest_seconds=0.5,
                receiver=contract.ReceiverStatus(),
                handover=None,
                counters={"accepted": 7},
            )
        return Done()


@dataclass
class Served:
    port: int
    pod: Pod
    worker: WorkerOfOneShard
    surface: Surface

    async def raw(self, data: bytes, *, half_close: bool = False) -> bytes:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        writer.write(data)
        if half_close:
            writer.write_eof()
        try:
            return await reader.read()
        finally:
            writer.close()

    async def call(self, method: str, path: str, body: bytes = b"", token: str | None = OPERATOR) -> tuple[int, bytes]:
        leave = f"authorization: Bearer {token}\r\n" if token else ""
        head = (
            f"{method} {path} HTTP/1.1\r\nhost: pod\r\nconnection: close\r\n{leave}content-length: {len(body)}\r\n\r\n"
        )
        answer = await self.raw(head.encode() + body)
        return status_of(answer), answer.partition(b"\r\n\r\n")[2]


def status_of(answer: bytes) -> int:
    return int(answer.split(b" ", 2)[1])


def record(epoch: int, *, active: int | None = 1, target: int | None = None) -> contract.Record:
    honoured = contract.Honoured(count=1, identify_hash="i", layout_hash="l")
    return contract.Record(epoch=epoch, active=active, target=target, honoured=honoured)


@asynccontextmanager
async def serving() -> AsyncIterator[Served]:
    """The pod of generation 1, which has seen no record yet."""
    config = configuration(api_url="http://127.0.0.1:1", operator_url="http://127.0.0.1:1")
    pod = Pod(
        config=config,
        forward=contract.ForwardConfig(url="http://127.0.0.1:1/events"),
        secrets=Secrets(token="token", operator=OPERATOR, bot=BOT),
        pod=0,
        pod_uid="uid-1",
        state=Path("/state"),
        clock=StillClock(),
        disk=MemoryDisk(),
        log=LOG,
    )
    worker = WorkerOfOneShard()
    pod.attach(0, DirectLink(worker.handle), pod.begin(0))
    limits = Limits(body_bytes=4096, head_bytes=2048, idle_seconds=5, request_seconds=0.3)
    surface = Surface(pod)
    server = AdminServer(surface, log=LOG, limits=limits)
    port = await server.start("127.0.0.1", 0)
    try:
        yield Served(port, pod, worker, surface)
    finally:
        await server.close()
