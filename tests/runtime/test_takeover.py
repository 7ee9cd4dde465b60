"""When a worker of a target asks the old pods: soon after the commit, whatever it was doing before."""

from __future__ import annotations

import asyncio
import errno
import logging
from pathlib import Path

import pytest
from runtime.configuration import configuration
from virtual.world import Process, World, run_world

from shard_runtime import contract
from shard_runtime.handover.cutover import Cutover
from shard_runtime.siblings import SiblingError, Siblings
from shard_runtime.worker.inheritance import Inheritance
from shard_runtime.worker.mending import Mending
from shard_runtime.worker.takeover import Takeover

LAYOUT = contract.ShardLayout(count=1, first=0, last=0)
LOG = logging.getLogger("tests.takeover")


class SlowSiblings(Siblings):
    """One old pod, that takes a second for a window, or fails to give it."""

    def __init__(self, process: Process, *, fails: bool) -> None:
        super().__init__(pod_url="http://old", bearer=lambda: "", network=process.network, disk=process.disk)
        self._process = process
        self._fails = fails
        self.sealed_at: float | None = None

    async def window(self, generation: int, pod: int, request: contract.HandoverRequest) -> contract.HandoverReply:
        await asyncio.sleep(1)
        if self._fails:
            raise SiblingError("it does not answer")
        return contract.HandoverReply(generation=generation, pod_uid="old", sealed_at=None, recorded_since=None)

    async def seal(self, generation: int, pod: int, request: contract.HandoverRequest) -> contract.HandoverReply:
        if self.sealed_at is None:
            self.sealed_at = self._process.clock.monotonic()
        now = self._process.clock.unix_milliseconds()
        return contract.HandoverReply(generation=generation, pod_uid="old", sealed_at=now, recorded_since=now, after=[])

    async def received(self, generation: int, pod: int, request: contract.ReceivedRequest) -> contract.ReceivedReply:
        now = self._process.clock.unix_milliseconds()
        return contract.ReceivedReply(
            generation=generation, pod_uid="old", complete=True, now=now, behind_milliseconds=0, events=[], more=False
        )


def takeover(process: Process, siblings: Siblings) -> Takeover:
    return Takeover(
        folder=Path("/state"),
        cutover=Cutover(count=1, shards=[0], predecessor=LAYOUT),
        config=configuration(generation=2, predecessor=contract.Predecessor(generation=1, layout=LAYOUT)),
        shards=[0],
        siblings=siblings,
        apply=lambda step: None,
        settled=lambda: True,
        away=lambda: (),
        heard_since=lambda moment: True,
        hurry=lambda: None,
        inherit=Inheritance(
            shards=[0],
            count=1,
            predecessor=LAYOUT,
            send=lambda shard, command: asyncio.sleep(0),
            kept=dict,
            clock=process.clock,
            log=LOG,
        ),
        mending=Mending(
            generation=2,
            count=1,
            predecessor=1,
            pods_of=lambda shard: [0],
            own_user=None,
            siblings=siblings,
            carry_out=lambda step: None,
            flows=lambda shard: True,
            save=lambda: asyncio.sleep(0),
            path=Path("/state/mending.json"),
            disk=process.disk,
            lost=lambda shard, cause, events: None,
            clock=process.clock,
            log=LOG,
            chance=process.chance,
        ),
        clock=process.clock,
        chance=process.chance,
        disk=process.disk,
        log=LOG,
    )


@pytest.mark.parametrize("fails", [False, True], ids=["it answers", "it fails to answer"])
@pytest.mark.parametrize("after", [0.5, 5.5, 6.5, 7.5])
def test_a_commit_while_an_old_pod_is_asked_is_followed_by_the_seal_at_once(after: float, fails: bool) -> None:
    async def story(world: World) -> None:
        process = world.process("new")
        siblings = SlowSiblings(process, fails=fails)
        taking_over = takeover(process, siblings)
        running = process.spawn(taking_over.run(), name="takeover")
        await asyncio.sleep(after)
        committed_at = process.clock.monotonic()
        taking_over.commit()
        await world.until(lambda: siblings.sealed_at is not None, within=10)
        assert siblings.sealed_at is not None
        assert siblings.sealed_at - committed_at <= 1, "the time that the answer took, and nothing more"
        running.cancel()

    run_world(story)


def test_a_handover_ends_also_where_the_disk_lets_nothing_be_removed() -> None:
    async def story(world: World) -> None:
        process = world.process("new")
        taking_over = takeover(process, SlowSiblings(process, fails=False))
        taking_over.commit()
        world.disk("new").fail_removals = OSError(errno.EROFS, "Read-only file system")
        await asyncio.wait_for(taking_over.run(), 600)
        finished = Takeover.finished(Path("/state"), process.disk, generation=2)
        assert finished is not None and finished.complete
        assert Path("/state/seal-of-0.json") in world.disk("new").files()

    run_world(story)
