"""One life of a pod's container: the supervisor and its workers, as processes of one virtual machine.

What ``shard_runtime.supervisor.main`` and ``.processes`` do with operating system processes happens here with virtual
ones; the supervisor's and the worker's cores, the HTTP surface and the mounts are the product's own.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import msgspec
from system.tally import Tally
from system.trace import Trace
from virtual.clock import VirtualClock
from virtual.disk import VirtualDisk
from virtual.network import Request
from virtual.world import Process, World

from shard_runtime import contract
from shard_runtime.admin.messages import Head
from shard_runtime.backoff import Backoff
from shard_runtime.channel import DirectLink, Handler, LinkLostError
from shard_runtime.environment import GRACE_SECONDS, SetupError
from shard_runtime.logs import Redaction
from shard_runtime.mounts import Mounts
from shard_runtime.orders import FromWorker, ToWorker
from shard_runtime.ports import Response
from shard_runtime.supervisor.main import WATCH_SECONDS, MountWatcher
from shard_runtime.supervisor.pod import Pod, StaleRecordError
from shard_runtime.supervisor.processes import FIRST_RESTART_SECONDS, HEALTHY_SECONDS, LONGEST_RESTART_SECONDS
from shard_runtime.supervisor.standing import SupersededError
from shard_runtime.supervisor.surface import Surface
from shard_runtime.worker.anchor import kept_offset
from shard_runtime.worker.core import Worker

CONFIG: Final = Path("/etc/discord-gateway")
STATE: Final = Path("/var/lib/discord-gateway")
START_SECONDS: Final = (0.1, 0.5)
"""What the interpreter takes until a process does something."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """Where a pod runs, for as long as the pod object lives: what one life leaves for the next."""

    world: World
    trace: Trace
    name: str
    """The pod's name; also its disk's."""
    node: str
    """What it is on the virtual network: its name, unless a pod of that name lives there already."""
    host: str
    """What it answers to."""
    index: int
    uid: str
    mounts: VirtualDisk
    skew_seconds: float
    """Of the wall clock, as it is set now."""
    tally: Tally
    boots: int = 0
    """How often it was started again."""

    def process(self) -> Process:
        return self.world.process(self.name, node=self.node, skew_seconds=self.skew_seconds)

    def kept_clock(self, process: Process, state: Path) -> VirtualClock:
        """The clock of a worker's process, as ``shard_runtime.worker.__main__`` makes it."""
        offset = process.clock.unix_milliseconds() / 1000 - process.clock.monotonic()
        kept = kept_offset(offset, boot=f"boot {self.boots}", path=state / "clock.json", disk=process.disk)
        return VirtualClock(skew_seconds=self.skew_seconds + kept - offset)


class CutLink:
    """A channel to a worker that breaks when the worker's process ends."""

    def __init__(self, handler: Handler) -> None:
        self._direct = DirectLink(handler)
        self._calls: list[asyncio.Task[FromWorker]] = []
        self._cut = False

    async def call(self, body: ToWorker, *, timeout: float) -> FromWorker:
        if self._cut:
            raise LinkLostError("the worker is gone")
        call = asyncio.get_running_loop().create_task(self._direct.call(body, timeout=timeout))
        self._calls.append(call)
        try:
            return await call
        except asyncio.CancelledError:
            if self._cut:
                raise LinkLostError("the worker is gone") from None
            raise
        finally:
            self._calls.remove(call)

    def cut(self) -> None:
        self._cut = True
        for call in self._calls:
            call.cancel()


class WorkerLife:
    """One process of a worker."""

    def __init__(self, machine: Machine, begin: contract.Wire, number: int) -> None:
        self.process = machine.process()
        self.began = asyncio.get_running_loop().time()
        self.ended = asyncio.Event()
        self._trace = machine.trace
        self._name = f"{machine.name}/{number}"
        log = machine.trace.logger(self._name, alive=lambda: self.process.alive)
        self._worker = Worker(
            begin=begin,  # type: ignore[arg-type]
            clock=machine.kept_clock(self.process, Path(begin.state)),  # type: ignore[attr-defined]
            chance=self.process.chance,
            network=self.process.network,
            disk=self.process.disk,
            log=log,
        )
        machine.tally.add(lambda: self._worker.status().counters)
        self.link = CutLink(self._worker.handle)
        self.process.spawn(self._run(), name=f"worker {number}")

    async def _run(self) -> None:
        try:
            await self._worker.run()
        except Exception as error:  # noqa: BLE001 — a worker that fails ends its process, and the run with it
            self._trace.fail(self._name, repr(error))
        self._end()

    def kill(self) -> None:
        """As ``kill -9`` does."""
        self.process.kill()
        self._end()

    def _end(self) -> None:
        self.link.cut()
        self.ended.set()


class PodLife:
    """Runs from :meth:`start` until :attr:`ended` is set."""

    def __init__(self, machine: Machine) -> None:
        self.machine = machine
        self.ended = asyncio.Event()
        self.pod: Pod | None = None
        """None until the mounts were read."""
        self.workers: dict[int, WorkerLife] = {}
        self._process = machine.process()
        self._stopping = asyncio.Event()
        self._log = machine.trace.logger(machine.name, alive=lambda: self._process.alive)

    def start(self) -> None:
        self._process.spawn(self._run(), name="supervisor")

    def kill(self) -> None:
        """The container's processes end in one moment; the machine's disk stays."""
        self._process.kill()
        for worker in self.workers.values():
            worker.kill()
        self.machine.world.network.crash_servers(self.machine.node)
        self.ended.set()

    def terminate(self) -> None:
        """SIGTERM."""
        self._stopping.set()

    # --- The supervisor -----------------------------------------------------------------------------------------------

    async def _run(self) -> None:
        try:
            await self._start_up()
        except SetupError as error:
            self._log.error("cannot start: %s", error)
        except (SupersededError, OSError, msgspec.DecodeError) as error:
            self._log.error("The pod cannot start: %s", error)
        except Exception as error:  # noqa: BLE001 — the same
            self.machine.trace.fail(self.machine.name, repr(error))
        self.kill()

    async def _start_up(self) -> None:
        machine, process = self.machine, self._process
        await process.clock.sleep(process.chance.uniform(*START_SECONDS))
        mounts = Mounts(folder=CONFIG, disk=machine.mounts)
        pod = Pod(
            config=mounts.config(machine.index),
            forward=mounts.forward(),
            secrets=mounts.secrets(),
            pod=machine.index,
            pod_uid=machine.uid,
            state=STATE,
            clock=process.clock,
            disk=process.disk,
            log=self._log,
        )
        record = mounts.record()
        if record is not None:
            try:
                await pod.adopt_record(record)
            except StaleRecordError:
                self._log.info("the mounted record is not the latest")
        self.pod = pod
        machine.world.network.serve(machine.host, node=machine.node, http=self._http)
        self._log.info("answers as %s", pod.role)
        keepers = [process.spawn(self._keep(pod, number), name=f"keeper {number}") for number in range(pod.workers)]
        superseded = await self._watch(pod, MountWatcher(mounts=mounts, pod=pod, redaction=Redaction(), log=self._log))
        self._log.info("stops")
        await pod.stop(0.0 if superseded else GRACE_SECONDS)
        for keeper in keepers:
            keeper.cancel()

    async def _watch(self, pod: Pod, watcher: MountWatcher) -> bool:
        """Until it is to stop; whether a newer incarnation is why."""
        while not self._stopping.is_set():
            try:
                async with asyncio.timeout(WATCH_SECONDS):
                    await self._stopping.wait()
            except TimeoutError:
                await watcher.look()
                await pod.tick()
                if pod.superseded():
                    self._log.error("superseded")
                    return True
        return False

    async def _keep(self, pod: Pod, number: int) -> None:
        clock, chance = self._process.clock, self._process.chance
        backoff = Backoff(first=FIRST_RESTART_SECONDS, cap=LONGEST_RESTART_SECONDS, chance=chance)
        while not self._stopping.is_set():
            began = clock.monotonic()
            await clock.sleep(chance.uniform(*START_SECONDS))
            begin = pod.begin(number)
            try:
                life = self.workers[number] = WorkerLife(self.machine, begin, number)
            except (OSError, msgspec.DecodeError) as error:
                self._log.error("worker %d cannot begin: %s", number, error)
            else:
                pod.attach(number, life.link, begin)
                await pod.tick()
                await life.ended.wait()
                pod.detach(number)
            if self._stopping.is_set():
                return
            if clock.monotonic() - began >= HEALTHY_SECONDS:
                backoff.reset()
            delay = backoff.next()
            self._log.error("worker %d ended; started again in %.1f s", number, delay)
            await clock.sleep(delay)

    async def _http(self, request: Request) -> Response:
        assert self.pod is not None
        surface = Surface(self.pod)
        head = Head(method=request.method, path=request.path, headers=request.headers)
        answer = surface.refuse(head) or await surface.respond(head, request.body)
        return Response(status=answer.status, headers=dict(answer.headers), body=answer.body)
