"""Real pods as real processes against the simulator, with a gate that grants every permit."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
from aiohttp import web

from discord_simulator.receiver import run_receiver
from discord_simulator.server import run_server
from discord_simulator.settings import Settings
from discord_simulator.verdict import Verdict, fetch_verdict
from shard_runtime import contract

TOKEN = "MTEwMDAwMDAwMDAwMDAwMDAwMA.simulated.token"
OPERATOR = "operator-secret-of-the-test"
PATIENCE = 40.0
"""Seconds that a loaded machine may take for anything; where it takes less, nobody waits for them."""
INTENTS = (1 << 0) | (1 << 9) | (1 << 10) | (1 << 5) | (1 << 4) | (1 << 11) | (1 << 12)


async def eventually(check: Callable[[], Awaitable[Any]], *, what: str, seconds: float = PATIENCE) -> Any:
    """The first truthy answer of *check*, asked again and again; fails with *what* after *seconds*."""
    deadline = asyncio.get_running_loop().time() + seconds
    while True:
        found = await check()
        if found:
            return found
        assert asyncio.get_running_loop().time() < deadline, f"not within {seconds:g} s: {what}"
        await asyncio.sleep(0.05)


@dataclass
class Pod:
    stage: Stage
    generation: int
    index: int
    uid: str = "uid-1"
    process: asyncio.subprocess.Process | None = None
    url: str = ""
    lines: list[dict[str, Any]] = field(default_factory=list)
    _reading: asyncio.Task[None] | None = None

    @property
    def folder(self) -> Path:
        return self.stage.folder / f"g{self.generation}"

    @property
    def state(self) -> Path:
        return self.stage.folder / f"state-{self.generation}-{self.index}"

    async def start(self) -> None:
        environment = {
            "PATH": os.environ["PATH"],
            "POD_INDEX": str(self.index),
            "POD_UID": self.uid,
            "DISCORD_GATEWAY_CONFIG_DIR": str(self.folder),
            "DISCORD_GATEWAY_STATE_DIR": str(self.state),
            "DISCORD_GATEWAY_HOST": "127.0.0.1",
            "DISCORD_GATEWAY_PORT": "0",
            "DISCORD_GATEWAY_GRACE_SECONDS": "5",
            **self.stage.environment,
        }
        self.process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "shard_runtime", env=environment, stderr=asyncio.subprocess.PIPE
        )
        listening: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self._reading = asyncio.create_task(self._read(listening))
        port = await asyncio.wait_for(listening, PATIENCE)
        self.url = f"http://127.0.0.1:{port}"
        self.stage.name_pod(self)

    async def _read(self, listening: asyncio.Future[int]) -> None:
        assert self.process is not None and self.process.stderr is not None
        async for raw in self.process.stderr:
            text = raw.decode()
            assert TOKEN not in text and OPERATOR not in text
            try:
                line = json.loads(text)
            except ValueError:
                line = {"message": text, "level": "raw"}
            self.lines.append(line)
            message = line["message"]
            if "answers on port" in message and not listening.done():
                listening.set_result(int(message.rpartition(" ")[2].rstrip(".")))
        if not listening.done():
            listening.set_exception(AssertionError(f"the pod ended: {self.lines}"))

    async def call(self, method: str, path: str, body: contract.Wire | None = None) -> tuple[int, bytes]:
        headers = {"authorization": f"Bearer {OPERATOR}"}
        data = None if body is None else contract.encode(body)
        async with self.stage.http.request(method, self.url + path, headers=headers, data=data) as answer:
            return answer.status, await answer.read()

    async def status(self) -> contract.PodStatus:
        return contract.decode((await self.call("GET", "/v1/status"))[1], contract.PodStatus)

    async def ready(self) -> bool:
        return (await self.call("GET", "/readyz"))[0] == 200

    async def until_ready(self) -> None:
        await eventually(self.ready, what=f"readiness of pod {self.generation}/{self.index}")

    async def until_all_ready(self) -> contract.PodStatus:
        async def all_ready() -> contract.PodStatus | None:
            status = await self.status()
            return status if all(shard.state is contract.ShardState.READY for shard in status.shards) else None

        found: contract.PodStatus = await eventually(all_ready, what="all shards READY")
        return found

    def worker_pids(self) -> list[int]:
        assert self.process is not None
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text()
        return [int(pid) for pid in children.split()]

    async def end(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Send a signal and wait; the exit code."""
        assert self.process is not None
        if self.process.returncode is None:
            # Not Process.send_signal: it polls the child first, and where the child has just ended the poll takes the
            # exit status from asyncio's waiting thread, which then reports 255 (CPython, subprocess.Popen.send_signal).
            with suppress(ProcessLookupError):
                os.kill(self.process.pid, number)
        code = await asyncio.wait_for(self.process.wait(), PATIENCE)
        if self._reading is not None:
            await self._reading
        return code


@dataclass
class Stage:
    folder: Path
    http: aiohttp.ClientSession
    simulator: str
    receiver: str
    gate: str
    pods: list[Pod] = field(default_factory=list)
    permits: list[contract.PermitRequest] = field(default_factory=list)
    results: list[contract.PermitResult] = field(default_factory=list)
    environment: dict[str, str] = field(default_factory=dict)
    """More of it for the pods."""
    overlap_seconds: float = 10.0

    def generation(
        self, number: int, *, count: int, pods: int, workers: int = 1, predecessor: contract.Predecessor | None = None
    ) -> list[Pod]:
        """Write the mounts of a generation of *pods* pods of *workers* workers each."""
        per_worker = count // pods // workers
        layout = contract.ShardLayout(
            count=count, first=0, last=count - 1, per_worker=per_worker, workers_per_pod=workers
        )
        return self.generation_of(number, layout, predecessor=predecessor)

    def generation_of(
        self, number: int, layout: contract.ShardLayout, *, predecessor: contract.Predecessor | None = None
    ) -> list[Pod]:
        """Write the mounts of a generation."""
        config = contract.RuntimeConfig(
            namespace="default",
            gateway="bot",
            generation=number,
            layout=layout,
            predecessor=predecessor,
            api_url=f"{self.simulator}/api/v10",
            intents=INTENTS,
            operator_url=self.gate,
            pod_url=f"file:{self.folder}/pods.json",
            overlap_seconds=self.overlap_seconds,
        )
        self.write(number, "config/config.json", contract.encode(config))
        self.write(
            number, "forward/forward.json", contract.encode(contract.ForwardConfig(url=f"{self.receiver}/events"))
        )
        self.write(number, "token/token", TOKEN.encode())
        self.write(number, "auth/operator", OPERATOR.encode())
        made = [Pod(self, number, index) for index in range(layout.pods)]
        self.pods += made
        return made

    def write(self, generation: int, name: str, data: bytes) -> None:
        """Replace a mounted file, as a whole."""
        path = self.folder / f"g{generation}" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        fresh = path.with_name(".fresh")
        fresh.write_bytes(data)
        fresh.replace(path)

    def name_pod(self, pod: Pod) -> None:
        path = self.folder / "pods.json"
        known = json.loads(path.read_text()) if path.exists() else {}
        known[f"{pod.generation}/{pod.index}"] = pod.url
        path.write_text(json.dumps(known))

    async def control(self, base: str, path: str, body: Any) -> Any:
        async with self.http.post(f"{base}/control/{path}", json=body) as answer:
            assert answer.status == 200, await answer.text()
            return await answer.json()

    async def load(self, rate: float) -> None:
        await self.control(self.simulator, "load", {"rate": rate})

    async def counters(self) -> dict[str, Any]:
        async with self.http.get(f"{self.simulator}/control/truth?summary=1") as answer:
            return dict((await answer.json())["counters"])

    async def summary(self) -> dict[str, Any]:
        async with self.http.get(f"{self.simulator}/control/truth?summary=1") as answer:
            return dict(await answer.json())

    async def settled_verdict(self) -> Verdict:
        """The verdict once everything sent has been delivered, or as it stands when patience ends."""

        async def complete() -> Verdict | None:
            verdict = await fetch_verdict(simulator=self.simulator, receiver=self.receiver)
            return verdict if verdict.lost == 0 and verdict.sent > 0 else None

        try:
            verdict: Verdict = await eventually(complete, what="all delivered")
        except AssertionError:
            return await fetch_verdict(simulator=self.simulator, receiver=self.receiver)
        return verdict


def record(epoch: int, *, active: int | None, target: int | None = None, retired: int = 0) -> contract.Record:
    honoured = contract.Honoured(count=1, identify_hash="i", layout_hash="l")
    return contract.Record(epoch=epoch, active=active, target=target, honoured=honoured, retired=retired)


@asynccontextmanager
async def running_gate(stage: Stage) -> AsyncIterator[str]:
    async def permit(request: web.Request) -> web.Response:
        assert request.headers["authorization"] == f"Bearer {OPERATOR}"
        stage.permits.append(contract.decode(await request.read(), contract.PermitRequest))
        body = contract.encode(contract.Permit(id=f"p{len(stage.permits)}"))
        return web.Response(body=body, content_type="application/json")

    async def result(request: web.Request) -> web.Response:
        stage.results.append(contract.decode(await request.read(), contract.PermitResult))
        return web.Response(status=204)

    application = web.Application()
    application.router.add_post("/v1/permits", permit)
    application.router.add_post("/v1/permits/{id}/result", result)
    runner = web.AppRunner(application, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


@asynccontextmanager
async def running_stage(folder: Path, *, guilds: int = 40, **settings: Any) -> AsyncIterator[Stage]:
    """Simulator, receiver and gate in this process; the pods are processes of their own.

    The replay buffer is larger than Discord's: how fast a loaded machine starts processes is not what is tested here.
    """
    settings = {"replay_events": 50_000, **settings}
    simulated = Settings(token=TOKEN, guilds=guilds, max_concurrency=16, bucket_seconds=0.0, **settings)
    async with (
        run_server(settings=simulated, host="127.0.0.1", port=0, seed=1) as (_, simulator),
        run_receiver(log=folder / "receiver.log") as (_, receiver),
        aiohttp.ClientSession() as http,
    ):
        stage = Stage(folder, http, f"http://127.0.0.1:{simulator}", f"http://127.0.0.1:{receiver}", "")
        async with running_gate(stage) as stage.gate:
            try:
                yield stage
            finally:
                for pod in stage.pods:
                    if pod.process is not None and pod.process.returncode is None:
                        pod.process.kill()
                        await pod.process.wait()
