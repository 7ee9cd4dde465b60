"""`make demo`: the main job, on this machine, in about a minute.

A simulated Discord, a receiver (the bot) and a gateway of 8 shards run as processes under load. The receiver is
stopped and started again; then the gateway is resharded to 16. A line a second says what is going on; the last line is
the outcome as one JSON object, judged by what the simulator knows it sent and what the receiver acknowledged.
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import string
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

import aiohttp

from discord_simulator.verdict import fetch_verdict

ROOT: Final = Path(__file__).resolve().parents[2]
STATE: Final = Path(os.environ.get("DEMO_STATE", ROOT / "demo-state"))
TOKEN: Final = "demo.token.of-the-simulator"
RATE: Final = 500
GUILDS: Final = 400
RECEIVER_AWAY_SECONDS: Final = 6.0
STEP_LIMIT_SECONDS: Final = 60.0


class DemoError(Exception):
    """A step did not come about; the text says which, and where to look."""


async def start(*command: str, log: str) -> asyncio.subprocess.Process:
    """Start a process whose output goes to a file in the state directory."""
    with (STATE / log).open("ab") as output:
        return await asyncio.create_subprocess_exec(
            sys.executable, "-m", *command, stdout=output, stderr=output, cwd=ROOT, start_new_session=True
        )


async def stop(process: asyncio.subprocess.Process) -> None:
    """End a process that we started, the hard way if it does not end by itself within 20 s."""
    if process.returncode is not None:
        return
    process.send_signal(signal.SIGTERM)
    try:
        await asyncio.wait_for(process.wait(), 20)
    except TimeoutError:
        process.kill()
        await process.wait()


async def free_port() -> int:
    server = await asyncio.start_server(lambda *_: None, "127.0.0.1", 0)
    port: int = server.sockets[0].getsockname()[1]
    server.close()
    await server.wait_closed()
    return port


class Demo:
    """The parts that run, and what is said about them once a second."""

    def __init__(self, *, http: aiohttp.ClientSession, simulator: int, receiver: int) -> None:
        self.http = http
        self.simulator = f"http://127.0.0.1:{simulator}"
        self.receiver_port = receiver
        self.receiver_url = f"http://127.0.0.1:{receiver}"
        self.receiver: asyncio.subprocess.Process | None = None
        self.gateway: asyncio.subprocess.Process | None = None
        self.doing = "starting"
        self.started = time.monotonic()
        self.delivered = 0
        self.uncounted = 0
        """READY and start-up snapshots of the first generation, which are delivered but not counted as sent."""

    async def get(self, url: str) -> dict[str, Any]:
        async with self.http.get(url) as response:
            answer: dict[str, Any] = await response.json()
            return answer

    async def post(self, url: str, body: dict[str, Any]) -> None:
        async with self.http.post(url, json=body) as response:
            response.raise_for_status()

    def status(self) -> dict[str, Any]:
        """What ``dgw local`` last wrote about the gateway."""
        for stored in (STATE / "gateway").glob("objects/*/default/demo.json"):
            manifest: dict[str, Any] = json.loads(stored.read_text())
            if manifest.get("kind") == "DiscordGateway":
                status: dict[str, Any] = manifest.get("status") or {}
                return status
        return {}

    async def summary(self) -> dict[str, Any]:
        return await self.get(f"{self.simulator}/control/truth?summary=1")

    async def line(self) -> str:
        """One line for the person who watches."""
        try:
            sent = (await self.summary())["sent"]
        except aiohttp.ClientError:
            sent = 0
        receiver = "up"
        try:
            totals = (await self.get(f"{self.receiver_url}/control/received"))["totals"]
            self.delivered = totals["events"]
        except aiohttp.ClientError:
            receiver = "away"
        status = self.status()
        generations = status.get("generations") or []
        shards = ", ".join(
            f"generation {g['number']} ({g['role']}) {g['readyShards']}/{g['shards']} READY" for g in generations
        )
        queued = await self.queued()
        delivered = max(0, self.delivered - self.uncounted)
        return (
            f"{time.monotonic() - self.started:5.1f} s  {shards or 'no shards yet':<42}  sent {sent:>6}  "
            f"delivered {delivered:>6}  queued {queued:>5}  receiver {receiver:<4}  {self.doing}"
        )

    async def queued(self) -> int:
        """Events that wait in the pods, asked of the pods themselves."""
        state = STATE / "gateway"
        total = 0
        for peers in state.glob("peers/default/demo.json"):
            token = (state / "tokens/default/demo/operator").read_text().strip()
            for url in json.loads(peers.read_text()).values():
                try:
                    async with self.http.get(
                        f"{url}/v1/status", headers={"Authorization": f"Bearer {token}"}
                    ) as answer:
                        total += (await answer.json()).get("queued", 0)
                except (aiohttp.ClientError, TimeoutError):
                    continue  # starting or ending
        return total

    async def until(self, what: str, met: Callable[[], Awaitable[bool]], *, limit: float = STEP_LIMIT_SECONDS) -> None:
        """Watch until *met*; says what is going on meanwhile. Raises :class:`DemoError` after *limit* seconds."""
        self.doing = what
        deadline = time.monotonic() + limit
        while not await met():
            if self.gateway is not None and self.gateway.returncode is not None:
                raise DemoError(f"dgw local ended with {self.gateway.returncode}; see {STATE}/gateway.log")
            if time.monotonic() > deadline:
                raise DemoError(f"gave up after {limit:g} s of: {what}; the logs are in {STATE}")
            await asyncio.sleep(0.1)

    async def ready(self, *, generation: int, shards: int) -> bool:
        status = self.status()
        numbers = [g["number"] for g in status.get("generations") or []]
        return numbers == [generation] and status.get("readyShards") == shards == status.get("shards")

    async def drained(self) -> bool:
        """No more waits than what a fraction of a second brings."""
        return await self.queued() < RATE / 10

    async def caught_up(self) -> bool:
        """Nothing waits, and (once nothing more is sent) the receiver has not moved since the last look."""
        before = self.delivered
        totals = (await self.get(f"{self.receiver_url}/control/received"))["totals"]
        self.delivered = totals["events"]
        return (await self.queued()) == 0 and self.delivered == before


@asynccontextmanager
async def running() -> AsyncIterator[Demo]:
    """Start simulator and receiver and the gateway; ends all of it whatever happens."""
    shutil.rmtree(STATE, ignore_errors=True)
    STATE.mkdir(parents=True)
    simulator_port, receiver_port = await free_port(), await free_port()
    processes: list[asyncio.subprocess.Process] = []
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=10)) as http:
        demo = Demo(http=http, simulator=simulator_port, receiver=receiver_port)
        try:
            processes.append(
                await start(
                    *("discord_simulator", "--port", str(simulator_port), "--token", TOKEN),
                    *("--max-concurrency", "16", "--guilds", str(GUILDS)),
                    log="simulator.log",
                )
            )
            await start_receiver(demo)
            manifest = STATE / "gateway.yaml"
            template = string.Template((Path(__file__).parent / "gateway.yaml").read_text())
            manifest.write_text(
                template.safe_substitute(
                    TOKEN=TOKEN, API=f"{demo.simulator}/api/v10", RECEIVER=f"{demo.receiver_url}/events"
                )
            )
            await demo.until("starting the simulated Discord and the receiver", lambda: listening(demo))
            demo.gateway = await start(
                *("gateway_operator.cli", "local", "-f", str(manifest), "--state", str(STATE / "gateway")),
                log="gateway.log",
            )
            yield demo
        finally:
            for process in (demo.gateway, demo.receiver, *processes):
                if process is not None:
                    await stop(process)


async def listening(demo: Demo) -> bool:
    try:
        await demo.summary()
        await demo.get(f"{demo.receiver_url}/control/received")
    except aiohttp.ClientError:
        return False
    return True


async def start_receiver(demo: Demo) -> None:
    demo.receiver = await start(
        *("discord_simulator.receiver", "--port", str(demo.receiver_port), "--log", str(STATE / "received.jsonl")),
        log="receiver.log",
    )


async def story(demo: Demo) -> dict[str, Any]:
    """What happens, in order; gives the outcome."""
    await demo.until("8 shards identify", lambda: demo.ready(generation=1, shards=8))
    await demo.until("8 shards tell of their guilds", demo.caught_up)
    demo.uncounted = demo.delivered
    await demo.post(f"{demo.simulator}/control/load", {"rate": RATE})
    await linger(demo, f"{RATE} events a second", 4)

    assert demo.receiver is not None
    demo.doing = "the receiver stops; events queue"
    await stop(demo.receiver)
    await linger(demo, "the receiver is away; events queue", RECEIVER_AWAY_SECONDS)
    await start_receiver(demo)
    await demo.until("the receiver is back; the queue drains", lambda: listening(demo))
    await demo.until("the receiver is back; the queue drains", demo.drained)

    patch = json.dumps({"spec": {"shards": {"count": 16}}})
    patching = await start(
        *("gateway_operator.cli", "local", "patch", "--state", str(STATE / "gateway"), "-p", patch), log="patch.log"
    )
    if await patching.wait() != 0:
        raise DemoError(f"the patch was refused; see {STATE}/patch.log")
    await demo.until("resharding 8 to 16 under load", lambda: demo.ready(generation=2, shards=16), limit=90)
    await linger(demo, "16 shards deliver", 3)

    await demo.post(f"{demo.simulator}/control/load", {"rate": 0})
    await linger(demo, "the load stops", 1)
    await demo.until("the last events arrive", demo.caught_up)
    return await outcome(demo)


async def linger(demo: Demo, what: str, seconds: float) -> None:
    demo.doing = what
    await asyncio.sleep(seconds)


async def outcome(demo: Demo) -> dict[str, Any]:
    """The counts, as docs/concepts.md defines them."""
    verdict = await fetch_verdict(simulator=demo.simulator, receiver=demo.receiver_url)
    counters = (await demo.summary())["counters"]
    status = demo.status()
    (reshard,) = status["history"]
    return {
        "generations": status["activeGeneration"],
        "shards": status["shards"],
        "sent": verdict.sent,
        "delivered": verdict.delivered,
        "lost": verdict.lost,
        "duplicated": verdict.duplicated,
        "identifies": counters["identifiesAccepted"],
        "resumes": counters["resumesAccepted"],
        "cutover_seconds": reshard["cutoverSeconds"],
    }


async def narrate(demo: Demo) -> None:
    while True:
        print(await demo.line(), flush=True)
        await asyncio.sleep(1)


async def main() -> int:
    print("A simulated Discord, a bot and a gateway of 8 shards, all on this machine.", flush=True)
    async with running() as demo:
        narrator = asyncio.create_task(narrate(demo), name="narrator")
        try:
            result = await story(demo)
        except DemoError as error:
            print(f"The demo failed: {error}", file=sys.stderr, flush=True)
            return 1
        finally:
            narrator.cancel()
            await asyncio.gather(narrator, return_exceptions=True)
    print(json.dumps(result), flush=True)
    return 0 if result["lost"] == 0 else 1


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
