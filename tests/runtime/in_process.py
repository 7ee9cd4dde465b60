"""A whole pod (supervisor's core, surface and workers) as one process of the virtual world."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass, field
from pathlib import Path

from virtual.network import Request
from virtual.world import Process, World

from shard_runtime import contract
from shard_runtime.admin.messages import Head
from shard_runtime.channel import DirectLink
from shard_runtime.hooked.setup import make_hooks
from shard_runtime.mounts import Secrets
from shard_runtime.orders import Handlers
from shard_runtime.ports import Response
from shard_runtime.supervisor.pod import Pod
from shard_runtime.supervisor.surface import Surface
from shard_runtime.worker.core import Worker

SECRETS = Secrets(token="right", operator="operator-secret", bot=None)


@dataclass
class PodInOneProcess:
    """Pod *index* of a generation; its machine's disk outlives :meth:`kill`. It answers at its machine's name."""

    world: World
    config: contract.RuntimeConfig
    forward: contract.ForwardConfig
    index: int
    uid: str = "uid"
    handlers: str | None = None
    """Text of a file with hooks."""
    process: Process | None = None
    pod: Pod | None = None
    workers: list[Worker] = field(default_factory=list)

    @property
    def machine(self) -> str:
        return f"pod-{self.config.generation}-{self.index}"

    def start(self) -> Pod:
        process = self.process = self.world.process(self.machine)
        log = logging.getLogger(f"virtual.{self.machine}")
        pod = self.pod = Pod(
            config=self.config,
            forward=self.forward,
            secrets=SECRETS,
            pod=self.index,
            pod_uid=self.uid,
            state=Path("/var/lib/discord-gateway"),
            clock=process.clock,
            disk=process.disk,
            log=log,
            handlers=Handlers(source=self.handlers),
        )
        self.workers = []
        for number in range(pod.workers):
            begin = pod.begin(number)
            worker = Worker(
                begin=begin,
                clock=process.clock,
                chance=process.chance,
                network=process.network,
                disk=process.disk,
                log=log,
                hooks=make_hooks(
                    begin.handlers,
                    config=begin.config,
                    pod=begin.pod,
                    worker=begin.worker,
                    shards=tuple(begin.shards),
                    log=log,
                    monotonic=process.clock.monotonic,
                ),
            )
            self.workers.append(worker)
            process.spawn(worker.run(), name=f"worker {number}")
            pod.attach(number, DirectLink(worker.handle), begin)
        process.spawn(self._tick(pod, process), name="tick")
        surface = Surface(pod)

        async def http(request: Request) -> Response:
            head = Head(method=request.method, path=request.path, headers=request.headers)
            answer = surface.refuse(head) or await surface.respond(head, request.body)
            return Response(status=answer.status, headers=dict(answer.headers), body=answer.body)

        self.world.network.serve(self.machine, http=http)
        return pod

    @staticmethod
    async def _tick(pod: Pod, process: Process) -> None:
        while True:
            await process.clock.sleep(1.0)
            await pod.tick()

    def kill(self) -> None:
        """As a node's power cut does, but for the disk."""
        assert self.process is not None
        self.process.kill()
        self.world.network.crash_servers(self.machine)

    async def stop(self, seconds: float = 5.0) -> None:
        """As SIGTERM does."""
        assert self.pod is not None and self.process is not None
        await self.pod.stop(seconds)
        self.kill()
        await asyncio.sleep(0)
