"""How each strike is done to real pods, and undone."""

from __future__ import annotations

import contextlib
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

from harness.kubectl import KubectlError
from harness.scene import Scene

from chaos import clock, machine
from chaos.control_plane import ApiServer
from chaos.machine import Process
from chaos.network import Address, Undo, trouble
from chaos.schedule import NETWORK, Act, Part, Strike
from chaos.volumes import Volumes
from chaos.world import Pod, World

_PODS_NETWORK: Final = "10.85.0.0/16"
"""Of ``node/up.sh``."""
_SLOW_BOT_MILLISECONDS: Final = 3000
_RETRY_AFTER: Final = 2


class MissedError(Exception):
    """There was nothing to strike; the text says what was looked for."""


class Striker:
    """Begins strikes."""

    def __init__(self, *, scene: Scene, world: World, root: Path, volumes: Volumes) -> None:
        self._scene, self._world, self._volumes = scene, world, volumes
        self._api = ApiServer(root)
        self._acts: Mapping[Act, Callable[[Strike], tuple[str, Undo | None]]] = {
            Act.KILL_WORKER: self._kill,
            Act.KILL_SUPERVISOR: self._kill,
            Act.KILL: self._kill,
            Act.PAUSE_WORKER: self._pause,
            Act.PAUSE: self._pause,
            Act.DELETE: self._delete,
            Act.HANG: lambda strike: ("", self._api.hang()),
            Act.GONE: lambda strike: ("", self._api.end()),
            Act.DISK_FULL: self._fill,
            Act.CLOCK: lambda strike: ("", clock.step(strike.amount)),
            Act.AWAY: lambda strike: ("", self._bot_away()),
            Act.ANSWERS: self._answers,
            **dict.fromkeys(NETWORK, self._trouble),
        }

    def begin(self, strike: Strike) -> tuple[str, Undo | None]:
        """What was struck, and what ends it. Raises :class:`MissedError`."""
        try:
            return self._acts[strike.act](strike)
        except (LookupError, KubectlError, OSError, subprocess.SubprocessError) as error:
            said = getattr(error, "stderr", None) or str(error)
            raise MissedError(f"{type(error).__name__}: {said}") from error

    # --- Processes ----------------------------------------------------------------------------------------------------

    def _processes(self, strike: Strike) -> tuple[str, list[Process]]:
        pod = self._one(strike)
        all_of_it = pod.processes()
        if strike.act in (Act.KILL_WORKER, Act.PAUSE_WORKER):
            workers = machine.workers(all_of_it)
            found = workers[int(strike.pick * 1000) % len(workers) :][:1] if workers else []
        elif strike.act is Act.KILL_SUPERVISOR:
            found = machine.supervisors(all_of_it)
        else:
            found = machine.contained(all_of_it)
        if not found:
            raise LookupError(f"{pod.name} has no such process")
        return f"{pod.name}, {len(found)} processes", found

    def _one(self, strike: Strike) -> Pod:
        pods = self._world.struck(strike)
        if not pods:
            raise LookupError(f"no {strike.part}")
        return pods[0]

    def _kill(self, strike: Strike) -> tuple[str, Undo | None]:
        what, found = self._processes(strike)
        machine.kill(found)
        return what, None

    def _pause(self, strike: Strike) -> tuple[str, Undo | None]:
        what, found = self._processes(strike)
        machine.stop(found)
        return what, lambda: machine.go_on(found)

    def _delete(self, strike: Strike) -> tuple[str, Undo | None]:
        pod = self._one(strike)
        kubectl = self._scene.kubectl.within(pod.namespace)
        kubectl.run("delete", "pod", pod.name, "--wait=false", "--request-timeout=10s", seconds=15)
        return pod.name, None

    # --- Network ------------------------------------------------------------------------------------------------------

    def _trouble(self, strike: Strike) -> tuple[str, Undo | None]:
        assert strike.other is not None
        pods = self._world.struck(strike)
        with contextlib.ExitStack() as undo:
            for pod in pods:
                addresses = self._world.addresses(strike.other, but=pod)
                undo.callback(trouble(_sandbox(pod), strike.act, addresses, amount=strike.amount))
            if not pods:
                raise LookupError(f"no {strike.part}")
            return ", ".join(pod.name for pod in pods), undo.pop_all().close

    # --- The bot, its absence, and a full disk ------------------------------------------------------------------------

    def _bot_away(self) -> Undo:
        (bot,) = self._world.pods[Part.RECEIVER]
        return trouble(_sandbox(bot), Act.REFUSE, [Address(ip=_PODS_NETWORK)])

    def _answers(self, strike: Strike) -> tuple[str, Undo | None]:
        status = round(strike.amount)
        if status == 204:
            self._scene.behave(delayMilliseconds=_SLOW_BOT_MILLISECONDS)
            return "late", self._scene.behave
        self._scene.behave(status=status, **({"retryAfter": _RETRY_AFTER} if status == 429 else {}))
        return str(status), self._scene.behave

    def _fill(self, strike: Strike) -> tuple[str, Undo | None]:
        """A disk is needed only while the bot is away, so it is."""
        pod = self._one(strike)
        supervisors = machine.supervisors(pod.processes())
        if not supervisors:
            raise LookupError(f"{pod.name} does not run")
        with contextlib.ExitStack() as undo:
            undo.callback(self._volumes.fill(supervisors[0]))
            undo.callback(self._bot_away())
            return pod.name, undo.pop_all().close


def _sandbox(pod: Pod) -> Process:
    found = machine.sandbox(pod.processes())
    if found is None:
        raise LookupError(f"{pod.name} has no network")
    return found
