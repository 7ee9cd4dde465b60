"""Faults on demand do to clients what Discord's bad days do."""

from __future__ import annotations

import json

import pytest

from discord_simulator.compression import PlainEncoder
from discord_simulator.rest import admit
from discord_simulator.wire import Answer, Request


def _resumes(world, client) -> bool:
    return bool(world.connect().resume(client.session, client.sequence).dispatches("RESUMED"))


@pytest.mark.parametrize(
    ("code", "kept"), [(1000, True), (4000, True), (4001, True), (4003, False), (4007, False), (4009, False)]
)
def test_close_ends_the_session_where_its_code_says_so(world, code, kept):
    client = world.ready([0, 1])
    assert world.fault("close", code=code) == {"affected": 1}
    assert client.closed == code
    assert _resumes(world, client) is kept


def test_drop_keeps_the_session(world):
    client = world.ready([0, 1])
    world.fault("drop")
    assert client.closed == "dropped"
    assert _resumes(world, client)


def test_reconnect_asks_and_closes_later_if_told_to(world):
    client = world.ready([0, 1])
    world.fault("reconnect", seconds=2, code=4000)
    assert client.payloads[-1]["op"] == 7
    assert client.closed is None
    world.run(2.1)
    assert client.closed == 4000
    assert _resumes(world, client)


def test_invalid_session_false_ends_it_and_true_keeps_it(world):
    client = world.ready([0, 1])
    world.fault("invalidate", resumable=True)
    assert (client.payloads[-1]["op"], client.payloads[-1]["d"]) == (9, True)
    client.resume(client.session, client.sequence)
    assert client.payloads[-1]["t"] == "RESUMED"
    world.fault("invalidate")
    assert (client.payloads[-1]["op"], client.payloads[-1]["d"]) == (9, False)
    assert client.closed is None
    assert not _resumes(world, client)


def test_kill_tells_nobody(world):
    client = world.ready([0, 1])
    world.fault("kill")
    assert client.closed == "dropped"
    assert not _resumes(world, client)
    (session,) = world.control("GET", "/control/truth")["sessions"]
    assert session["end"] == "killed"


def test_faults_are_aimed_by_session_shard_and_count(world):
    clients = {key: world.ready(list(key)) for key in ((0, 2), (1, 2), (0, 4), (1, 4))}
    assert world.fault("close", shard=1, count=2) == {"affected": 1}
    assert world.fault("drop", session=clients[0, 4].session) == {"affected": 1}
    closed = {key: client.closed for key, client in clients.items()}
    assert closed == {(0, 2): None, (1, 2): 4000, (0, 4): "dropped", (1, 4): None}


def test_request_heartbeat(world):
    client = world.ready([0, 1])
    world.fault("requestHeartbeat")
    assert client.payloads[-1]["op"] == 1


def test_windows_open_and_close(world):
    client = world.ready([0, 1])
    world.fault("dropHeartbeatAcks", seconds=10)
    client.say(1, 1)
    assert client.payloads[-1]["op"] != 11
    world.run(10)
    client.say(1, 1)
    assert client.payloads[-1]["op"] == 11


def test_reset_resumes_bricks_a_session_until_the_window_ends(world):
    client = world.ready([0, 1])
    client.hang_up()
    world.fault("resetResumes", seconds=30)
    bricked = world.connect().resume(client.session, client.sequence)
    assert bricked.closed == "dropped"
    world.run(30)
    assert _resumes(world, client)


def test_reconnect_may_come_instead_of_hello(world):
    world.fault("reconnectInsteadOfHello", seconds=5)
    assert [p["op"] for p in world.connect().payloads] == [7]


def test_ready_may_be_late_and_a_second_identify_meanwhile_is_one_too_many(world):
    world.fault("delayReady", seconds=100, milliseconds=[0, 20_000])
    client = world.connect().identify([0, 1])
    world.run(19)
    assert client.dispatches() == []
    world.run(2)
    assert client.ready
    other = world.connect().identify([0, 1])
    other.identify([0, 1])
    assert other.closed == 4005


def test_connections_may_be_refused(world):
    request = Request(method="GET", path="/", query={"v": "10"})
    assert isinstance(admit(world.gateway, request), PlainEncoder)
    world.fault("refuseConnections", seconds=5)
    refused = admit(world.gateway, request)
    assert isinstance(refused, Answer)
    assert refused.status == 503
    assert world.counters.connections_refused == 1


@pytest.mark.parametrize("status", [429, 500, 502])
def test_the_api_may_fail(world, status):
    token = "Bot " + world.gateway.application.token
    world.fault("api", status=status, seconds=5)
    assert world.get("/gateway/bot", token=token).status == status
    world.run(5)
    assert world.get("/gateway/bot", token=token).status == 200
    world.fault("apiHang", seconds=5)
    assert world.get("/gateway/bot", token=token).hangs


def test_the_budget_can_be_set(world):
    world.fault("budget", remaining=3)
    limit = json.loads(world.get("/gateway/bot", token="Bot " + world.gateway.application.token).body)
    assert limit["session_start_limit"]["remaining"] == 3


def test_clear_ends_windows_delays_and_stalls(world):
    client = world.ready([0, 1])
    world.fault("delay", milliseconds=[1000, 1000])
    world.fault("stall", seconds=100)
    world.fault("reconnectInsteadOfHello", seconds=100)
    world.fault("clear")
    world.message()
    assert client.dispatches("MESSAGE_CREATE")
    assert world.connect().payloads[0]["op"] == 10
    late = world.ready([0, 1])
    world.message()
    assert late.dispatches("MESSAGE_CREATE")


def test_an_unknown_action_is_refused_with_the_known_ones(world):
    status, body = world.fault("explode")
    assert status == 400
    assert '"explode"' in body["error"]
    assert "reconnect" in body["error"]


def test_a_misspelt_field_is_refused(world):
    status, body = world.fault("close", cod=4000)
    assert status == 400
    assert "cod" in body["error"]
