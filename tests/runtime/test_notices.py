"""A worker tells the operator of what stays changed, once, and bothers it with nothing else."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Mapping
from dataclasses import dataclass, field

import pytest
from runtime.configuration import configuration

from shard_runtime import contract
from shard_runtime.contract import ReceiverStatus, ShardState, ShardStatus
from shard_runtime.orders import WorkerStatus
from shard_runtime.ports import FrameListener, NetworkError, Response, WebSocket
from shard_runtime.worker.notices import Notices

CONFIG = configuration(
    generation=3, layout=contract.ShardLayout(count=2, first=0, last=1), operator_url="http://operator:8080/"
)


@dataclass
class Stage:
    """The clock, the operator's HTTP and the worker's status; ends after *seconds*."""

    seconds: float
    now: float = 0.0
    answer: int | NetworkError = 204
    calls: list[float] = field(default_factory=list)
    bodies: list[tuple[str, Mapping[str, str], bytes]] = field(default_factory=list)
    receiver: dict[float, bool] = field(default_factory=dict)
    """From when on the receiver is reachable or not."""
    states: dict[float, ShardState] = field(default_factory=dict)
    """The same of shard 1's state."""
    close_code: int | None = None

    def monotonic(self) -> float:
        return self.now

    def unix_milliseconds(self) -> int:
        return int(self.now * 1000)

    async def sleep(self, seconds: float) -> None:
        self.now += seconds
        if self.now > self.seconds:
            raise asyncio.CancelledError
        await asyncio.sleep(0)

    async def connect(self, url: str, listener: FrameListener, *, timeout: float) -> WebSocket:
        raise NotImplementedError

    async def request(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str],
        body: bytes = b"",
        timeout: float,
        authorities: str | None = None,
    ) -> Response:
        assert method == "POST"
        self.calls.append(self.now)
        self.bodies.append((url, headers, body))
        if isinstance(self.answer, NetworkError):
            raise self.answer
        return Response(self.answer, {}, b"")

    def status(self) -> WorkerStatus:
        reachable = [value for since, value in sorted(self.receiver.items()) if since <= self.now]
        states = [value for since, value in sorted(self.states.items()) if since <= self.now]
        state = states[-1] if states else ShardState.READY
        code = self.close_code if state is ShardState.STOPPED else None
        return WorkerStatus(
            shards=[ShardStatus(id=0, state=ShardState.READY), ShardStatus(id=1, state=state, close_code=code)],
            queued=0,
            oldest_seconds=0.0,
            receiver=ReceiverStatus(reachable=reachable[-1] if reachable else True),
            handover=None,
            counters={},
        )

    async def run(self) -> list[float]:
        """Times at which notices were posted."""
        notices = Notices(
            config=CONFIG,
            pod=1,
            bearer=lambda: "secret",
            status=self.status,
            clock=self,
            chance=random.Random(1),
            network=self,
            log=logging.getLogger("test"),
        )
        with pytest.raises(asyncio.CancelledError):
            await notices.run()
        return self.calls


async def test_a_worker_at_rest_says_nothing() -> None:
    assert await Stage(seconds=600).run() == []


async def test_a_receiver_that_fails_and_comes_back_is_told_within_seconds() -> None:
    stage = Stage(seconds=120, receiver={30: False, 60: True})
    assert await stage.run() == [31, 61]
    url, headers, body = stage.bodies[0]
    assert url == "http://operator:8080/v1/notices"
    assert headers["authorization"] == "Bearer secret"
    assert contract.decode(body, contract.Notice) == contract.Notice(generation=3, pod=1)


async def test_a_single_failed_request_is_no_news() -> None:
    assert await Stage(seconds=60, receiver={30: False, 30.9: True}).run() == []


async def test_sessions_that_resume_at_once_are_no_news_and_those_that_do_not_are() -> None:
    blip = {20: ShardState.RESUMING, 23: ShardState.READY}
    assert await Stage(seconds=60, states=blip).run() == []
    away = {20: ShardState.CONNECTING, 50: ShardState.READY}
    assert await Stage(seconds=60, states=away).run() == [25, 51]


async def test_a_session_that_discord_ended_for_good_is_told_at_once() -> None:
    assert await Stage(seconds=60, states={20: ShardState.STOPPED}, close_code=4004).run() == [21, 26], (
        "and that it is not READY"
    )


async def test_a_receiver_that_flaps_is_told_every_few_seconds_at_most() -> None:
    flapping = {float(second): second % 4 < 2 for second in range(10, 610)}
    assert len(await Stage(seconds=610, receiver=flapping).run()) <= 200


@pytest.mark.parametrize("answer", [NetworkError("no route"), 503])
async def test_an_operator_that_is_away_is_asked_ever_more_rarely(answer: int | NetworkError) -> None:
    calls = await Stage(seconds=600, receiver={30: False}, answer=answer).run()
    assert calls[0] == 31
    assert 20 <= len(calls) <= 45


async def test_an_operator_that_knows_no_notices_is_not_asked_again() -> None:
    assert await Stage(seconds=600, receiver={30: False}, answer=404).run() == [31]
