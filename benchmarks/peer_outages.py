"""What becomes of events when the bot is away, and when shards are added: peers and the runtime against the simulator.

Each stands before a simulated Discord and a receiver of its own. An event that was made and not received is lost,
whether a session existed to see it or not.
"""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from string import Template
from typing import Any, Final, Self

import msgspec
from parts import say
from peer_programs import INTENTS, PEERS, ROOT, Peer, Program
from peer_speed import COMMON, OURS
from pod import until

from discord_simulator.receipts import Received
from discord_simulator.truth import Truth
from discord_simulator.verdict import judge

TOKEN: Final = "MTEwMDAwMDAwMDAwMDAwMDAwMA.simulated.token"
SHARDS: Final = 8
MORE_SHARDS: Final = 16
GUILDS: Final = 400
"""So many a shard that Discord keeps 3,500 events of it for a resume."""
AWAY_SECONDS: Final = 30.0
AWAY_RATE: Final = 50
BEFORE_SECONDS: Final = 5.0
AFTER_SECONDS: Final = 10.0
RESHARD_RATE: Final = 300
RESHARD_SECONDS: Final = 45.0
CALM_SECONDS: Final = 3.0
_MIX: Final = {
    "MESSAGE_CREATE": 1,
    "TYPING_START": 0,
    "MESSAGE_REACTION": 0,
    "WEBHOOKS_UPDATE": 0,
    "GUILD_INTEGRATIONS_UPDATE": 0,
    "DIRECT_MESSAGE": 0,
}
_MANIFEST: Final = """
apiVersion: v1
kind: Secret
metadata: {name: bench}
stringData: {token: $TOKEN}
---
apiVersion: discordgateway.dev/v1alpha1
kind: DiscordGateway
metadata: {name: bench}
spec:
  tokenSecretRef: {name: bench, key: token}
  apiURL: $API
  intents: [GUILDS, GUILD_MESSAGES]
  shards: {count: 8, perWorker: 8, workersPerPod: 1}
  forward: {url: $RECEIVER}
"""


def call(url: str, *, method: str = "GET", body: object = None) -> bytes:
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data=data, method=method, headers={"content-type": "application/json"})
    with urllib.request.urlopen(request, timeout=30) as answer:
        found: bytes = answer.read()
        return found


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
        return port


def ended(process: subprocess.Popen[bytes]) -> None:
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(20)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


class Side:
    """One gateway client with a Discord and a receiver of its own; use as a context."""

    def __init__(self, *, name: str, folder: Path) -> None:
        self.name = name
        self.folder = folder
        self.folder.mkdir()
        self.simulator_port, self.receiver_port = free_port(), free_port()
        self.simulator = f"http://127.0.0.1:{self.simulator_port}"
        self.receiver = f"http://127.0.0.1:{self.receiver_port}"

    def start_client(self) -> None:
        raise NotImplementedError

    def stop_client(self) -> None:
        raise NotImplementedError

    def reshard(self) -> None:
        raise NotImplementedError

    def __enter__(self) -> Self:
        with ExitStack() as begun:
            self._simulator = self._module(
                *("discord_simulator", "--port", str(self.simulator_port), "--token", TOKEN, "--guilds", str(GUILDS)),
                *("--max-concurrency", "16"),
            )
            begun.callback(lambda: ended(self._simulator))
            self.start_receiver()
            begun.callback(self.stop_receiver)
            self.until_listening()
            self.start_client()
            begun.callback(self.stop_client)
            self._end = begun.pop_all()
        return self

    def __exit__(self, *error: object) -> None:
        self._end.close()

    def _module(self, *command: str) -> subprocess.Popen[bytes]:
        with (self.folder / f"{command[0]}.log").open("ab") as log:
            return subprocess.Popen([sys.executable, "-m", *command], stdout=log, stderr=log, cwd=ROOT)

    def start_receiver(self) -> None:
        log = str(self.folder / "received.jsonl")
        self._receiver = self._module("discord_simulator.receiver", "--port", str(self.receiver_port), "--log", log)

    def until_listening(self) -> None:
        until(self._listening, what=f"simulator and receiver of {self.name}", every=0.1)

    def stop_receiver(self) -> None:
        ended(self._receiver)

    def _listening(self) -> bool:
        try:
            call(f"{self.simulator}/healthz")
            call(f"{self.receiver}/healthz")
        except urllib.error.URLError:
            return False
        return True

    def connected(self, shards: int) -> bool:
        sessions = json.loads(call(f"{self.simulator}/control/truth?summary=1"))["sessions"]
        return bool(sessions.get(str(shards), {}).get("connected") == shards)

    def load(self, *, rate: float, events: int) -> None:
        call(f"{self.simulator}/control/truth", method="DELETE")
        call(f"{self.simulator}/control/load", method="POST", body={"rate": rate, "events": events, "mix": _MIX})

    def made_all(self) -> bool:
        return json.loads(call(f"{self.simulator}/control/load"))["load"] is None

    def arrived(self) -> int:
        return int(json.loads(call(f"{self.receiver}/control/received"))["totals"]["events"])

    def outcome(self, events: int) -> dict[str, float]:
        """Lost and doubled of *events* made, and how late the latest first delivery was, in milliseconds."""
        truth = msgspec.json.decode(call(f"{self.simulator}/control/truth"), type=Truth)
        received = msgspec.json.decode(call(f"{self.receiver}/control/received?all=1"), type=Received)
        verdict = judge(truth, received)
        latest, median = _delays(truth, received)
        return {
            "made": events,
            "lost": events - verdict.delivered,
            "duplicated": verdict.duplicated,
            "disordered": verdict.stream_violations,
            "latest_milliseconds": latest,
            "median_milliseconds": median,
        }


def _delays(truth: Truth, received: Received) -> tuple[float, float]:
    event_of = {
        (session.id, sequence): event
        for session in truth.sessions
        for sequence, event in zip(session.sequences, session.events, strict=True)
    }
    first: dict[int, int] = {}
    for session, sequence, at in zip(received.session, received.sequence, received.at, strict=True):
        event = event_of.get((received.sessions[session], sequence))
        if event is not None and event not in first:
            first[event] = at - truth.since - truth.events.at[event - truth.events.first]
    delays = sorted(first.values())
    return (delays[-1], delays[len(delays) // 2]) if delays else (0.0, 0.0)


class PeerSide(Side):
    def __init__(self, peer: Peer, *, folder: Path, keeping: bool = False) -> None:
        super().__init__(name=peer.name + (", sessions kept" if keeping else ""), folder=folder)
        self._peer = peer
        self._sessions = str(self.folder / "sessions.json") if keeping else ""

    def start_client(self) -> None:
        self._program = Program(
            self._peer,
            api=f"{self.simulator}/api/v10",
            gateway=f"ws://127.0.0.1:{self.simulator_port}/",
            receiver=f"{self.receiver}/events",
            compression=COMMON,
            shards=SHARDS,
            mode="single",
            token=TOKEN,
            max_concurrency=16,
            intents=INTENTS,
            sessions=self._sessions,
        ).__enter__()

    def stop_client(self) -> None:
        self._program.end()

    def reshard(self) -> None:
        self._program.tell(reshard=MORE_SHARDS)
        self._program.hear()


class OurSide(Side):
    """``dgw local``: operator and pods as processes."""

    def __init__(self, *, folder: Path) -> None:
        super().__init__(name=OURS, folder=folder)
        values = {"TOKEN": TOKEN, "API": f"{self.simulator}/api/v10", "RECEIVER": f"{self.receiver}/events"}
        self._manifest = folder / "gateway.yaml"
        self._manifest.write_text(Template(_MANIFEST).substitute(values))
        self._state = folder / "state"

    def _dgw(self, *command: str) -> subprocess.Popen[bytes]:
        return self._module("gateway_operator.cli", "local", *command, "--state", str(self._state))

    def start_client(self) -> None:
        self._process = self._dgw("-f", str(self._manifest))

    def stop_client(self) -> None:
        ended(self._process)

    def reshard(self) -> None:
        patch = self._dgw("patch", "-p", json.dumps({"spec": {"shards": {"count": MORE_SHARDS}}}))
        if patch.wait(30):
            raise SystemExit(f"the patch was refused; see {self.folder}")
        until(self._resharded, what="the reshard", seconds=90, every=0.1)

    def _resharded(self) -> bool:
        for stored in self._state.glob("objects/*/default/bench.json"):
            manifest = json.loads(stored.read_text())
            if manifest.get("kind") == "DiscordGateway":
                status = manifest.get("status") or {}
                numbers = [generation["number"] for generation in status.get("generations") or []]
                return numbers == [2] and status.get("readyShards") == MORE_SHARDS
        return False


def _calm(sides: Sequence[Side], *, seconds: float) -> None:
    """Until all was made and nothing has arrived anywhere for some seconds."""
    until(lambda: all(side.made_all() for side in sides), what="the load ends", seconds=120, every=0.2)
    deadline = time.monotonic() + seconds
    last, since = [side.arrived() for side in sides], time.monotonic()
    while time.monotonic() < deadline and time.monotonic() - since < CALM_SECONDS:
        time.sleep(0.2)
        now = [side.arrived() for side in sides]
        if now != last:
            last, since = now, time.monotonic()


def away() -> dict[str, Any]:
    """The receiver away, then the client itself; all of them at once, since no speed is measured."""
    with tempfile.TemporaryDirectory(prefix="bench-away-") as folder:
        return _away(Path(folder))


def _away(folder: Path) -> dict[str, Any]:
    sides: list[Side] = [PeerSide(peer, folder=folder / str(number)) for number, peer in enumerate(PEERS)]
    sides += [
        PeerSide(peer, folder=folder / f"kept-{number}", keeping=True)
        for number, peer in enumerate(PEERS)
        if peer.keeps_sessions
    ]
    sides.append(OurSide(folder=folder / "ours"))
    events = int(AWAY_RATE * (BEFORE_SECONDS + AWAY_SECONDS + AFTER_SECONDS))
    found: dict[str, Any] = {side.name: {} for side in sides}

    def measure(what: str, stop: str, start: str) -> None:
        for side in sides:
            side.load(rate=AWAY_RATE, events=events)
        time.sleep(BEFORE_SECONDS)
        for side in sides:
            getattr(side, stop)()
        time.sleep(AWAY_SECONDS)
        for side in sides:
            getattr(side, start)()
        for side in sides:
            side.until_listening()
        _calm(sides, seconds=60)
        for side in sides:
            found[side.name][what] = side.outcome(events)
            say(f"  {side.name}, {what}: {found[side.name][what]}")

    with ExitStack() as running:
        for side in sides:
            running.enter_context(side)
        for side in sides:
            until(lambda: side.connected(SHARDS), what=f"{side.name} is connected", every=0.2)  # noqa: B023
        time.sleep(CALM_SECONDS)
        measure("receiver away", "stop_receiver", "start_receiver")
        measure("client away", "stop_client", "start_client")
    return found


def reshard() -> dict[str, Any]:
    """From 8 to 16 shards under load, one after another."""
    with tempfile.TemporaryDirectory(prefix="bench-reshard-") as folder:
        return _reshard(Path(folder))


def _reshard(folder: Path) -> dict[str, Any]:
    peers = [PeerSide(peer, folder=folder / str(number)) for number, peer in enumerate(PEERS) if peer.reshards]
    events = int(RESHARD_RATE * RESHARD_SECONDS)
    found: dict[str, Any] = {}
    for side in (*peers, OurSide(folder=folder / "ours")):
        with side:
            until(lambda: side.connected(SHARDS), what=f"{side.name} is connected", every=0.2)  # noqa: B023
            time.sleep(CALM_SECONDS)
            side.load(rate=RESHARD_RATE, events=events)
            time.sleep(BEFORE_SECONDS)
            began = time.monotonic()
            side.reshard()
            took = time.monotonic() - began
            ended_in_time = not side.made_all()
            _calm([side], seconds=30)
            found[side.name] = side.outcome(events) | {"seconds": took, "under_load": ended_in_time}
            say(f"  {side.name}: {found[side.name]}")
    return found
