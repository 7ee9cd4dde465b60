"""A stage for ``dgw local``: a simulated Discord, a receiver and the command, each a process, as users run them."""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import signal
import string
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from discord_simulator.verdict import Verdict, fetch_verdict

TOKEN = "stage.token.of-the-simulator"

MANIFEST = string.Template("""
apiVersion: v1
kind: Secret
metadata: {name: bot}
stringData: {token: "$TOKEN"}
---
apiVersion: discordgateway.dev/v1alpha1
kind: DiscordGateway
metadata: {name: bot}
spec:
  tokenSecretRef: {name: bot, key: token}
  apiURL: $API
  intents: [GUILDS, GUILD_MESSAGES, GUILD_MESSAGE_REACTIONS, DIRECT_MESSAGES]
  shards: {count: $COUNT, perWorker: 2, workersPerPod: 2}
  forward: {url: "$RECEIVER/events"}
  reshard: {overlapSeconds: 4}
""")


async def start(*module: str) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        sys.executable, "-m", *module, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )


async def stop(process: asyncio.subprocess.Process) -> None:
    if process.returncode is None:
        process.send_signal(signal.SIGTERM)
        await asyncio.wait_for(process.communicate(), 30)


async def url_of(process: asyncio.subprocess.Process) -> str:
    """The address that a process prints when it listens."""
    assert process.stdout is not None
    async with asyncio.timeout(20):
        while True:
            line = (await process.stdout.readline()).decode()
            assert line, "it ended before it listened"
            found = re.search(r"http://[\d.]+:\d+", line)
            if found:
                return found.group()


@dataclass
class Gateway:
    """``dgw local`` on one state directory."""

    file: Path
    state: Path
    process: asyncio.subprocess.Process | None = None
    lines: list[str] = field(default_factory=list)
    reader: asyncio.Task[None] | None = None

    async def start(self) -> None:
        self.process = await start("gateway_operator.cli", "local", "-f", str(self.file), "--state", str(self.state))
        self.reader = asyncio.create_task(self._read(self.process))

    async def _read(self, process: asyncio.subprocess.Process) -> None:
        assert process.stdout is not None
        while line := await process.stdout.readline():
            self.lines.append(line.decode().rstrip())

    async def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        """End it as a person would; returns its exit code."""
        assert self.process is not None
        assert self.reader is not None
        if self.process.returncode is None:
            self.process.send_signal(number)
        code = await asyncio.wait_for(self.process.wait(), 40)
        await self.reader
        self.process = None
        return code

    async def dgw(self, *arguments: str) -> tuple[int, str]:
        """Run ``dgw local ARGUMENTS --state ...``; exit code and output."""
        process = await start("gateway_operator.cli", "local", *arguments, "--state", str(self.state))
        output, _ = await process.communicate()
        assert process.returncode is not None
        return process.returncode, output.decode()

    def stored(self) -> dict[str, Any]:
        path = self.state / "objects" / "discordgateways" / "default" / "bot.json"
        found: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {}
        return found

    def status(self) -> dict[str, Any]:
        found: dict[str, Any] = self.stored().get("status") or {}
        return found

    def condition(self, name: str) -> dict[str, Any]:
        for condition in self.status().get("conditions") or []:
            if condition["type"] == name:
                return dict(condition)
        return {}

    def ready(self, *, generation: int, shards: int) -> bool:
        status = self.status()
        numbers = [entry["number"] for entry in status.get("generations") or []]
        return numbers == [generation] and status["readyShards"] == shards == status["shards"]

    def pods(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = json.loads((self.state / "state.json").read_text())["pods"]
        return found

    async def until(self, met: Callable[[], Any], *, seconds: float = 40) -> Any:
        """The value of *met* once it is true; the output is shown where it never is."""
        try:
            async with asyncio.timeout(seconds):
                while True:
                    value = met()
                    if isinstance(value, Awaitable):
                        value = await value
                    if value:
                        return value
                    await asyncio.sleep(0.05)
        except TimeoutError:
            pytest.fail("\n".join(["never came about:", *self.lines, json.dumps(self.status(), indent=1)]))


@dataclass
class Stage:
    http: aiohttp.ClientSession
    discord: str
    receiver: str
    gateway: Gateway

    async def get(self, url: str) -> dict[str, Any]:
        async with self.http.get(url) as answer:
            found: dict[str, Any] = await answer.json()
            return found

    async def load(self, rate: int) -> None:
        async with self.http.post(f"{self.discord}/control/load", json={"rate": rate}) as answer:
            answer.raise_for_status()

    async def counters(self) -> dict[str, int]:
        found: dict[str, int] = (await self.get(f"{self.discord}/control/truth?summary=1"))["counters"]
        return found

    async def verdict(self) -> Verdict:
        return await fetch_verdict(simulator=self.discord, receiver=self.receiver)

    async def all_delivered(self) -> bool:
        verdict = await self.verdict()
        return verdict.sent > 0 and verdict.lost == 0

    def write(self, *, count: int, token: str = TOKEN) -> None:
        text = MANIFEST.substitute(TOKEN=token, API=f"{self.discord}/api/v10", RECEIVER=self.receiver, COUNT=count)
        self.gateway.file.write_text(text)


@pytest.fixture
async def stage(tmp_path: Path) -> AsyncIterator[Stage]:
    """Simulator and receiver run; the gateway's manifest asks for 4 shards and is not started yet."""
    async with contextlib.AsyncExitStack() as ending:
        simulator = await start(
            *("discord_simulator", "--port", "0", "--token", TOKEN, "--max-concurrency", "16", "--guilds", "40")
        )
        ending.push_async_callback(stop, simulator)
        receiver = await start("discord_simulator.receiver", "--port", "0", "--log", str(tmp_path / "received"))
        ending.push_async_callback(stop, receiver)
        http = await ending.enter_async_context(aiohttp.ClientSession())
        gateway = Gateway(file=tmp_path / "bot.yaml", state=tmp_path / "state")
        stage = Stage(http=http, discord=await url_of(simulator), receiver=await url_of(receiver), gateway=gateway)
        stage.write(count=4)
        yield stage
        if gateway.process is not None:
            await gateway.stop()
