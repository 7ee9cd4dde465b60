"""A run: rounds of strikes under load, and after each one recovery, then judgement."""

from __future__ import annotations

import asyncio
import contextlib
import subprocess
import time
import urllib.error
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import msgspec
from harness.kubectl import KubectlError
from harness.scene import GATEWAY, Scene
from harness.traces import ARTIFACTS, dump

from chaos.agenda import AGAIN_SECONDS, Agenda
from chaos.judgement import Numbers, judged
from chaos.schedule import Act, Part, Round, Strike
from chaos.strikes import MissedError, Striker
from chaos.volumes import Volumes
from chaos.world import World
from discord_simulator.verdict import fetch_received, fetch_truth

RECOVERY_SECONDS: Final = 300.0
"""Within which everything must be as it should after a round's last strike: a container that was killed several times
is started only minutes later."""
DELIVERY_SECONDS: Final = 60.0
_LOOK_SECONDS: Final = 10.0


class Result(msgspec.Struct, kw_only=True):
    """What ``e2e/artifacts/chaos.json`` says of a run."""

    seed: int
    began: str
    minutes: float
    rate: float
    numbers: dict[str, int]
    strikes: dict[str, int]
    missed: dict[str, int]


class Run:
    """Drives one scene through *rounds*. *rate* is in events per second."""

    def __init__(self, *, scene: Scene, root: Path, volumes: Volumes, rate: float, say: Callable[[str], None]) -> None:
        self._scene, self._rate, self._say_line = scene, rate, say
        self._world = World(scene)
        # not by the API server, which may be away
        scene.simulator, scene.receiver = self._world.address(Part.DISCORD), self._world.address(Part.RECEIVER)
        self._striker = Striker(scene=scene, world=self._world, root=root, volumes=volumes)
        self._began = time.monotonic()
        self._began_at = datetime.now(UTC).isoformat(timespec="seconds")
        self._generations: dict[int, int] = {}
        self._struck: Counter[str] = Counter()
        self._missed: Counter[str] = Counter()
        self._api_away = False
        self._held_up = False

    def _say(self, text: str) -> None:
        self._say_line(f"{time.monotonic() - self._began:7.1f} s  {text}")

    def go(self, rounds: tuple[Round, ...]) -> Numbers:
        """Raises ``AssertionError`` with the promises that were broken in any round, or with what did not recover."""
        numbers = None
        broken: dict[str, None] = {}
        for number, each in enumerate(rounds, start=1):
            self._say(f"round {number} of {len(rounds)}: {len(each.strikes)} strikes")
            self._scene.load(self._rate)
            self._strike(each)
            self._recover(each)
            numbers, found = self._judge()
            if found and not broken:
                dump(self._scene.kubectl, test=f"chaos-round-{number}", operator_namespace=self._scene.system.namespace)
            broken.update(dict.fromkeys(found))
        assert not broken, "\n".join(broken)
        assert numbers is not None
        return numbers

    def result(self, *, seed: int, numbers: Numbers) -> Result:
        return Result(
            seed=seed,
            began=self._began_at,
            minutes=round((time.monotonic() - self._began) / 60, 1),
            rate=self._rate,
            numbers=msgspec.to_builtins(numbers),
            strikes=dict(sorted(self._struck.items())),
            missed=dict(sorted(self._missed.items())),
        )

    # --- Strikes ------------------------------------------------------------------------------------------------------

    def _strike(self, each: Round) -> None:
        agenda = Agenda()
        with contextlib.ExitStack() as undoing:
            for strike in each.strikes:
                if strike.act is Act.RESHARD:
                    agenda.at(strike.at, lambda: self._reshard(each.shards))
                else:
                    agenda.strike(strike, begin=self._begin, end=self._end, missed=self._miss, undoing=undoing)
            agenda.at(_LOOK_SECONDS, lambda: self._look(again=bool(agenda)))
            agenda.run()

    def _begin(self, strike: Strike, ends: contextlib.ExitStack) -> bool:
        """False if it could not be done now; *ends* then undoes it."""
        if not self._api_away:
            self._world.look()
        amount = f" {strike.amount:g}" if strike.amount else ""
        lasts = f" for {strike.seconds:g} s" if strike.seconds else ""
        try:
            hit, undo = self._striker.begin(strike)
        except MissedError as error:
            self._say(f"  not now: {strike.what}: {error}")
            return False
        self._struck[strike.what] += 1
        self._held_up |= strike.holds_up_identifies
        self._api_away |= strike.part is Part.API
        if undo is not None:
            ends.callback(undo)
        self._say(f"  {strike.what}{amount}{lasts} ({hit or strike.part})")
        return True

    def _miss(self, strike: Strike) -> None:
        self._missed[strike.what] += 1
        self._say(f"  missed: {strike.what}")

    def _end(self, strike: Strike, ends: contextlib.ExitStack) -> None:
        ends.close()
        if strike.part is Part.API:
            self._api_away = False
        self._say(f"  over: {strike.what}")

    def _reshard(self, shards: int) -> float | None:
        try:
            self._scene.kubectl.run(
                "scale", f"dgw/{GATEWAY}", f"--replicas={shards}", "--request-timeout=5s", seconds=10
            )
        except (KubectlError, subprocess.TimeoutExpired):
            return AGAIN_SECONDS  # as a person would
        self._struck["reshard by hand"] += 1
        self._say(f"  reshard to {shards} shards")
        return None

    def _look(self, *, again: bool) -> float | None:
        if not self._api_away and self._world.look():
            self._count_generations()
        return _LOOK_SECONDS if again else None

    def _count_generations(self) -> dict[str, Any]:
        try:
            status = self._scene.status()
        except (KubectlError, subprocess.TimeoutExpired):
            return {}
        for generation in status.get("generations") or []:
            self._generations[int(generation["number"])] = int(generation["shards"])
        return status

    # --- Recovery and judgement ---------------------------------------------------------------------------------------

    def _recover(self, each: Round) -> None:
        began = time.monotonic()
        missing = "the API server"
        while missing:
            missing = self._missing(each.shards)
            if missing and time.monotonic() - began > RECOVERY_SECONDS:
                raise AssertionError(f"progress: {RECOVERY_SECONDS:g} s after the last strike there is not {missing}")
            time.sleep(1)
        self._say(f"  recovered in {time.monotonic() - began:.0f} s")

    def _missing(self, shards: int) -> str:
        """What is not yet as it should be; empty when all is."""
        if not self._world.look():
            return "an API server that answers"
        status = self._count_generations()
        conditions = {condition["type"]: condition for condition in status.get("conditions") or []}
        for kind in ("Ready", "ReceiverReachable"):
            condition = conditions.get(kind) or {}
            if condition.get("status") != "True":
                self._scene.look()
                return f"{kind}: {condition.get('reason')}, {condition.get('message')}"
        alone = [generation["number"] for generation in status.get("generations") or []]
        if status.get("shards") != shards or status.get("reshard") or len(alone) != 1:
            return f"one generation of {shards} shards: {status.get('shards')}, {status.get('reshard')}, {alone}"
        connected = self._connected()
        return "" if connected == {shards: shards} else f"sessions of all shards and no others: {connected}"

    def _connected(self) -> dict[int, int]:
        try:
            sessions = self._scene.truth()["sessions"]
        except (urllib.error.URLError, OSError):
            return {}
        return {int(count): each["connected"] for count, each in sessions.items() if each["connected"]}

    def _judge(self) -> tuple[Numbers, list[str]]:
        self._scene.load(0)
        deadline = time.monotonic() + DELIVERY_SECONDS
        while True:
            truth = asyncio.run(fetch_truth(self._scene.simulator))
            received = asyncio.run(fetch_received(self._scene.receiver))
            numbers, broken = judged(
                truth,
                received,
                generations=self._generations,
                connected=self._connected(),
                identifies_held_up=self._held_up,
            )
            if not numbers.lost or time.monotonic() > deadline:
                break
            time.sleep(2)
        self._say(f"  {numbers.line()}")
        for promise in broken:
            self._say(f"  broken: {promise}")
        if broken:
            ARTIFACTS.mkdir(parents=True, exist_ok=True)
            (ARTIFACTS / "chaos-truth.json").write_bytes(msgspec.json.encode(truth))
            (ARTIFACTS / "chaos-received.json").write_bytes(msgspec.json.encode(received))
        return numbers, broken
