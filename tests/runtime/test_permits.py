"""Permits are waited for as long as it takes, never used past their life, and reported in the background."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable, Mapping

import pytest
from runtime.configuration import configuration

from shard_runtime import contract
from shard_runtime.permits import PermitClient
from shard_runtime.ports import FrameListener, NetworkError, Response, WebSocket

CONFIG = configuration(operator_url="http://operator:8080/")


class FastClock:
    """Time that passes when someone sleeps."""

    def __init__(self) -> None:
        self.now = 0.0
        self.slept: list[float] = []

    def monotonic(self) -> float:
        return self.now

    def unix_milliseconds(self) -> int:
        return int(self.now * 1000)

    async def sleep(self, seconds: float) -> None:
        self.now += seconds
        self.slept.append(seconds)
        await asyncio.sleep(0)


class ScriptedGate:
    """A network whose only host is a gate that answers from a script, the last answer for ever."""

    def __init__(self, *answers: Response | NetworkError | Callable[[], Response]) -> None:
        self._answers = list(answers)
        self.calls: list[tuple[str, Mapping[str, str], bytes]] = []

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
        self.calls.append((url, headers, body))
        answer = self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]
        if isinstance(answer, NetworkError):
            raise answer
        return answer if isinstance(answer, Response) else answer()


def granted(life: int = 2000) -> Response:
    return Response(200, {}, contract.encode(contract.Permit(id="p1", life_milliseconds=life)))


def wait(milliseconds: int) -> Response:
    return Response(429, {}, contract.encode(contract.PermitWait(retry_after_milliseconds=milliseconds, reason="x")))


def refused(status: int) -> Response:
    return Response(status, {}, contract.encode(contract.Problem(error="Generation 1 is not active.")))


def client(gate: ScriptedGate, clock: FastClock) -> PermitClient:
    return PermitClient(
        config=CONFIG,
        pod_uid="uid",
        bearer=lambda: "the-secret",
        clock=clock,
        chance=random.Random(1),
        network=gate,
        log=logging.getLogger("permits-test"),
    )


async def test_a_permit_is_asked_for_with_who_asks_and_the_bearer_token() -> None:
    gate, clock = ScriptedGate(granted()), FastClock()
    permit = await client(gate, clock).acquire(0)
    assert permit == contract.Permit(id="p1", life_milliseconds=2000)
    url, headers, body = gate.calls[0]
    assert url == "http://operator:8080/v1/permits"
    assert headers["authorization"] == "Bearer the-secret"
    assert contract.decode(body, contract.PermitRequest).pod_uid == "uid"


async def test_the_wait_that_the_gate_names_is_kept() -> None:
    gate, clock = ScriptedGate(wait(5300), granted()), FastClock()
    await client(gate, clock).acquire(0)
    assert 5.3 <= clock.now <= 6.0


async def test_an_operator_that_is_away_is_asked_again_with_capped_growing_jittered_pauses() -> None:
    down = [NetworkError("operator: connection refused")] * 30
    gate, clock = ScriptedGate(*down, granted()), FastClock()
    await client(gate, clock).acquire(0)
    assert len(gate.calls) == 31
    assert all(0.25 <= pause <= 10.0 for pause in clock.slept)
    assert max(clock.slept) > 5.0
    assert len({round(pause, 6) for pause in clock.slept}) == 30


@pytest.mark.parametrize("status", [401, 409])
async def test_a_refusal_is_retried_slowly_and_logged_once(status: int, caplog: pytest.LogCaptureFixture) -> None:
    gate, clock = ScriptedGate(*[refused(status)] * 10, granted()), FastClock()
    await client(gate, clock).acquire(0)
    assert all(pause >= 2.5 for pause in clock.slept)
    assert len([line for line in caplog.messages if "refuses" in line]) == 1


async def test_a_permit_that_arrives_past_its_life_is_handed_back_unused() -> None:
    clock = FastClock()

    def slow() -> Response:
        clock.now += 2.5
        return granted()

    gate = ScriptedGate(slow, Response(204, {}, b""), granted())
    permits = client(gate, clock)
    permit = await permits.acquire(0)
    await permits.close(1)
    assert permit.life_milliseconds <= 2000
    result = next(body for url, _, body in gate.calls if url.endswith("/v1/permits/p1/result"))
    assert contract.decode(result, contract.PermitResult).outcome is contract.PermitOutcome.UNUSED


async def test_the_life_of_a_permit_counts_from_the_question() -> None:
    clock = FastClock()

    def slow() -> Response:
        clock.now += 1.5
        return granted()

    assert (await client(ScriptedGate(slow), clock).acquire(0)).life_milliseconds == 500


async def test_a_late_report_says_how_long_ago_the_identify_was_sent_by_then() -> None:
    gate, clock = ScriptedGate(NetworkError("down"), NetworkError("down"), Response(204, {}, b"")), FastClock()
    permits = client(gate, clock)
    result = contract.PermitResult(
        outcome=contract.PermitOutcome.READY, sent_milliseconds_ago=100, arrived_milliseconds_ago=50
    )
    await permits.report(contract.Permit(id="p1"), result)
    await permits.close(1)
    last = contract.decode(gate.calls[-1][2], contract.PermitResult)
    assert len(gate.calls) == 3
    assert last.sent_milliseconds_ago == 100 + round(clock.now * 1000)
    assert last.arrived_milliseconds_ago == 50 + round(clock.now * 1000)


async def test_a_report_is_given_up_when_the_gate_counts_the_permit_as_spent_anyway() -> None:
    gate, clock = ScriptedGate(NetworkError("down")), FastClock()
    permits = client(gate, clock)
    await permits.report(contract.Permit(id="p1"), contract.PermitResult(outcome=contract.PermitOutcome.READY))
    await permits.close(1)
    assert 50 <= clock.now <= 60
