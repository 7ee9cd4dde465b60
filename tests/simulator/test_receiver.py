"""The receiver remembers exactly what it acknowledged, over restarts."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from pathlib import Path

import aiohttp
import pytest

from discord_simulator.receiver import run_receiver

HEADERS = {"X-Gateway-Generation": "3", "X-Gateway-Name": "bot", "Content-Type": "application/json"}


def _item(s: int, *, session: str = "abc", name: str = "MESSAGE_CREATE", **more: object) -> dict[str, object]:
    return {"shard": 2, "session": session, "payload": {"op": 0, "s": s, "t": name, "d": {"s": 99, "t": "no"}}, **more}


async def _post(base: str, body: object, headers: dict[str, str] | None = None) -> int:
    async with aiohttp.ClientSession() as http, http.post(f"{base}/events", json=body, headers=headers or HEADERS) as r:
        return r.status


async def _get(url: str) -> dict:
    async with aiohttp.ClientSession() as http, http.get(url) as response:
        return await response.json()


async def _behave(base: str, **behaviour: object) -> None:
    async with aiohttp.ClientSession() as http, http.post(f"{base}/control/behaviour", json=behaviour) as response:
        assert response.status == 200, await response.text()


async def test_a_batch_is_recorded_with_order_marks_and_generation(tmp_path):
    async with run_receiver(log=tmp_path / "log") as (_, port):
        base = f"http://127.0.0.1:{port}"
        items = [_item(5), _item(6, maybeDuplicate=True), _item(1, session="other", name="READY")]
        assert await _post(base, items) == 204
        totals = (await _get(f"{base}/control/received"))["totals"]
        assert {k: totals[k] for k in ("requests", "events", "distinct", "marked")} == {
            "requests": 1,
            "events": 3,
            "distinct": 3,
            "marked": 1,
        }
        received = await _get(f"{base}/control/received?all=1")
        assert [received["sessions"][i] for i in received["session"]] == ["abc", "abc", "other"]
        assert [received["names"][i] for i in received["name"]] == ["MESSAGE_CREATE", "MESSAGE_CREATE", "READY"]
        assert (received["sequence"], received["shard"], received["marked"]) == ([5, 6, 1], [2, 2, 2], [1])
        assert [received["generations"][i] for i in received["generation"]] == ["3", "3", "3"]


async def test_a_single_payload_is_recorded_from_its_headers(tmp_path):
    async with run_receiver(log=tmp_path / "log") as (inbox, port):
        headers = HEADERS | {
            "X-Gateway-Shard": "7",
            "X-Gateway-Session": "xyz",
            "Authorization": "Bearer secret",
            "X-Gateway-Maybe-Duplicate": "true",
        }
        payload = _item(9)["payload"]
        assert await _post(f"http://127.0.0.1:{port}", payload, headers) == 204
        received = inbox.receipts.received()
        assert (received.sessions, received.sequence, received.shard, received.marked) == (["xyz"], [9], [7], [0])
        last = inbox.state().last_headers
        assert last["x-gateway-shard"] == "7"
        assert "secret" not in json.dumps(last)


async def test_what_is_refused_is_not_recorded(tmp_path):
    async with run_receiver(log=tmp_path / "log") as (inbox, port):
        base = f"http://127.0.0.1:{port}"
        await _behave(base, status=503, retryAfter=7)
        async with (
            aiohttp.ClientSession() as http,
            http.post(f"{base}/x", json=[_item(1)], headers=HEADERS) as response,
        ):
            assert (response.status, response.headers["Retry-After"]) == (503, "7")
        await _behave(base, poison="BAD", poisonStatus=422)
        assert await _post(base, [_item(1), _item(2, name="BAD")]) == 422
        assert await _post(base, "nonsense") == 400
        assert await _post(base, [_item(1)]) == 204
        assert (inbox.receipts.totals.events, inbox.state().failed) == (1, 3)


async def test_an_answer_nobody_waits_for_is_not_recorded(tmp_path, eventually):
    async with run_receiver(log=tmp_path / "log") as (inbox, port):
        base = f"http://127.0.0.1:{port}"
        await _behave(base, delayMilliseconds=300)
        impatient = asyncio.ensure_future(_post(base, [_item(1)]))
        await eventually(lambda: inbox.state().in_flight == 1)
        impatient.cancel()
        await eventually(lambda: inbox.state().in_flight == 0)
        assert (inbox.receipts.totals.events, inbox.state().unanswered) == (0, 1)


async def test_a_stop_finishes_what_is_in_flight_and_lets_hanging_requests_fail(tmp_path, eventually):
    log = tmp_path / "log"
    async with run_receiver(log=log) as (inbox, port):
        base = f"http://127.0.0.1:{port}"
        await _behave(base, hang=True)
        hanging = asyncio.ensure_future(_post(base, [_item(1)]))
        await eventually(lambda: inbox.state().in_flight == 1)
        await _behave(base, delayMilliseconds=300)
        slow = asyncio.ensure_future(_post(base, [_item(2)]))
        await eventually(lambda: inbox.state().in_flight == 2)
    assert await slow == 204
    with pytest.raises(aiohttp.ClientError):
        await hanging
    async with run_receiver(log=log) as (inbox, _):
        assert inbox.receipts.received().sequence == [2]


async def test_the_log_survives_a_restart_and_a_torn_last_line(tmp_path):
    log = tmp_path / "log"
    async with run_receiver(log=log) as (_, port):
        await _post(f"http://127.0.0.1:{port}", [_item(1), _item(2, maybeDuplicate=True)])
    with log.open("ab") as file:
        file.write(b'[17,"3",["abc"],["X"],[[0,')
    async with run_receiver(log=log) as (_, port):
        await _post(f"http://127.0.0.1:{port}", [_item(3)])
    async with run_receiver(log=log) as (inbox, _):
        received = inbox.receipts.received()
        assert (received.sequence, received.marked) == ([1, 2, 3], [1])
        assert (inbox.receipts.totals.requests, inbox.receipts.totals.distinct) == (2, 3)


async def test_an_unknown_behaviour_is_refused(tmp_path):
    async with run_receiver(log=tmp_path / "log") as (inbox, port), aiohttp.ClientSession() as http:
        response = await http.post(f"http://127.0.0.1:{port}/control/behaviour", json={"stauts": 500})
        assert response.status == 400
        assert "stauts" in await response.text()
        assert inbox.behaviour.status == 204


async def test_the_program_ends_on_sigterm_after_its_last_answer(tmp_path: Path):
    log = tmp_path / "log"
    command = [sys.executable, "-m", "discord_simulator.receiver", "--port", "0", "--log", str(log)]
    process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE, env=dict(os.environ))
    assert process.stdout is not None
    try:
        base = (await process.stdout.readline()).decode().split()[-1].removesuffix("/events")
        await _behave(base, delayMilliseconds=500)
        slow = asyncio.ensure_future(_post(base, [_item(1)]))
        async with asyncio.timeout(20):
            while (await _get(f"{base}/control/received"))["inFlight"] == 0:
                pass
        process.send_signal(signal.SIGTERM)
        assert await slow == 204
        assert await process.wait() == 0
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert len(log.read_bytes().splitlines()) == 1
