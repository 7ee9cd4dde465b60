"""Events that come never, twice or with their keys in another order, and the smaller freedoms that Discord takes."""

from __future__ import annotations

import json
from collections import Counter
from itertools import pairwise

import pytest

from discord_simulator.treatment import shuffled


def _numbers(client):
    return [int(p["d"]["id"]) for p in client.dispatches("MESSAGE_CREATE")]


def _say(world, numbers, guild=None):
    for number in numbers:
        world.message(guild, d=b'{"id":"%d"}' % number)


def _session(world, client):
    truth = world.control("GET", "/control/truth")
    return next(session for session in truth["sessions"] if session["id"] == client.session)


def test_dropped_events_have_no_sequence_in_the_session_that_misses_them(world):
    lossy, whole = world.ready([0, 1]), world.ready([0, 1])
    world.fault("unreliable", session=lossy.session, drop=0.5)
    _say(world, range(400))
    assert _numbers(whole) == list(range(400))
    assert 120 < len(_numbers(lossy)) < 280
    assert [p["s"] for p in lossy.dispatches()] == list(range(1, lossy.sequence + 1))
    assert len(_session(world, lossy)["events"]) == len(_numbers(lossy))
    assert world.counters.dropped == 400 - len(_numbers(lossy))
    assert world.counters.sent == 400


def test_an_event_that_no_session_is_sent_is_not_sent(make_world):
    world = make_world(drop_probability=1.0)
    client = world.ready([0, 1])
    _say(world, range(5))
    assert client.dispatches("MESSAGE_CREATE") == []
    assert (world.counters.events, world.counters.sent, world.counters.dropped) == (5, 0, 5)


def test_a_double_is_the_same_event_under_another_sequence(world):
    client, other = world.ready([0, 1]), world.ready([0, 1])
    world.fault("unreliable", session=client.session, duplicate=0.3)
    _say(world, range(300))
    times = Counter(_numbers(client))
    assert sorted(times) == list(range(300))
    assert 40 < sum(times.values()) - 300 == world.counters.doubled < 220
    assert max(times.values()) > 2
    assert _numbers(client) == sorted(_numbers(client))
    assert _numbers(other) == list(range(300))
    session = _session(world, client)
    bodies = {p["s"]: int(p["d"]["id"]) for p in client.dispatches("MESSAGE_CREATE")}
    assert [bodies[s] for s in session["sequences"]] == [event - 1 for event in session["events"]]
    assert len(set(session["sequences"])) == len(session["sequences"])


def test_doubles_may_come_later_than_what_followed(world):
    client = world.ready([0, 1])
    world.fault("unreliable", duplicate=1.0, milliseconds=[500, 1000])
    _say(world, range(3))
    assert _numbers(client) == [0, 1, 2]
    world.run(0.45)
    assert len(_numbers(client)) == 3
    world.run(1)
    assert Counter(_numbers(client)) == {0: 5, 1: 5, 2: 5}


def test_unreliable_without_a_target_is_for_sessions_to_come_until_clear(make_world):
    world = make_world(guilds=1)
    world.fault("unreliable", drop=1.0)
    late = world.ready([0, 1])
    assert late.dispatches("GUILD_CREATE")
    _say(world, [1])
    world.fault("clear")
    _say(world, [2])
    later = world.ready([0, 1])
    _say(world, [3])
    assert _numbers(late) == [2, 3]
    assert _numbers(later) == [3]


def test_clear_goes_back_to_the_settings(make_world):
    world = make_world(shuffle_keys=True)
    client = world.ready([0, 1])
    world.fault("shuffleKeys", enabled=False)
    _say_many_keys(world)
    world.fault("clear")
    _say_many_keys(world)
    plain, mixed = client.dispatches("MESSAGE_CREATE")
    assert list(plain["d"]) == _MANY
    assert list(mixed["d"]) != _MANY


_MANY = [f"k{number:02}" for number in range(30)]


def _say_many_keys(world):
    world.message(d=json.dumps({key: {"a": [1, 2.5, None], "b": "ü"} for key in _MANY}).encode())


def test_shuffled_keys_are_the_same_payload_and_the_same_again_in_a_replay(world):
    client, plain = world.ready([0, 1]), world.ready([0, 1])
    world.fault("shuffleKeys", session=client.session)
    for _ in range(20):
        _say_many_keys(world)
    mixed, straight = client.dispatches("MESSAGE_CREATE"), plain.dispatches("MESSAGE_CREATE")
    assert [p["d"] for p in mixed] == [p["d"] for p in straight]
    orders = {tuple(p["d"]) for p in mixed}
    assert len(orders) == 20
    assert len({tuple(p) for p in mixed}) > 5
    assert {tuple(p["d"]) for p in straight} == {tuple(_MANY)}
    again = world.connect().resume(client.session, mixed[0]["s"] - 1)
    replayed = again.dispatches("MESSAGE_CREATE")
    assert [(list(p), list(p["d"])) for p in replayed] == [(list(p), list(p["d"])) for p in mixed]


def test_shuffled_changes_nothing_but_the_order():
    payload = b'{"t":"X","s":1,"op":0,"d":{"big":123456789012345678901234567890,"f":1.0,"l":[{"a":1,"b":[]}],"n":null}}'
    seen = {shuffled(payload, seed=str(seed)) for seed in range(50)}
    assert len(seen) > 10
    assert all(json.loads(one) == json.loads(payload) for one in seen)


def test_heartbeats_are_acknowledged_late_while_the_window_is_open_for_the_session(world):
    late, prompt = world.ready([0, 2]), world.ready([1, 2])
    world.fault("delayHeartbeatAcks", seconds=10, milliseconds=[2000, 3000], shard=0)
    for client in (late, prompt):
        client.say(1, 1)
    assert (late.payloads[-1]["op"] == 11, prompt.payloads[-1]["op"] == 11) == (False, True)
    world.run(1.99)
    assert late.payloads[-1]["op"] != 11
    world.run(1.02)
    assert late.payloads[-1]["op"] == 11
    world.run(10)
    late.say(1, 1)
    assert [p["op"] for p in late.payloads[-2:]] == [11, 11]


def test_dropped_acknowledgements_can_be_aimed(world):
    silent, served = world.ready([0, 2]), world.ready([1, 2])
    world.fault("dropHeartbeatAcks", seconds=10, session=silent.session)
    for client in (silent, served):
        client.say(1, 1)
    assert silent.payloads[-1]["op"] != 11
    assert served.payloads[-1]["op"] == 11
    fresh = world.connect()
    fresh.say(1, None)
    assert fresh.payloads[-1]["op"] == 11


def test_resets_of_resumes_can_be_aimed(world):
    one, other = world.ready([0, 2]), world.ready([1, 2])
    for client in (one, other):
        client.hang_up()
    world.fault("resetResumes", seconds=30, shard=0)
    assert world.connect().resume(one.session, one.sequence).closed == "dropped"
    assert world.connect().resume(other.session, other.sequence).dispatches("RESUMED")


def test_windows_that_strike_before_there_is_a_session_cannot_be_aimed(world):
    status, body = world.fault("refuseConnections", seconds=5, shard=1)
    assert status == 400
    assert "dropHeartbeatAcks" in body["error"]


def test_two_windows_of_one_fault_stay_open_side_by_side(world):
    clients = [world.ready([shard, 3]) for shard in range(3)]
    world.fault("dropHeartbeatAcks", seconds=100, shard=0)
    world.fault("dropHeartbeatAcks", seconds=5, shard=1)
    world.fault("dropHeartbeatAcks", seconds=5, shard=1)
    silent = []
    for client in clients:
        client.say(1, 1)
        silent.append(client.payloads[-1]["op"] != 11)
    assert silent == [True, True, False]
    world.run(5)
    silent = []
    for client in clients:
        client.say(1, 1)
        silent.append(client.payloads[-1]["op"] != 11)
    assert silent == [True, False, False]


def test_a_window_closes_once_it_has_struck_as_often_as_it_was_to(world):
    client = world.ready([0, 1])
    client.hang_up()
    world.fault("resetResumes", seconds=100, times=2)
    tries = [world.connect().resume(client.session, client.sequence) for _ in range(3)]
    assert [resumed.closed for resumed in tries] == ["dropped", "dropped", None]
    world.fault("reconnectInsteadOfHello", seconds=100, times=1)
    assert [world.connect().payloads[0]["op"] for _ in range(2)] == [7, 10]


def test_acknowledgements_wait_behind_the_burst_where_that_is_set(make_world):
    world = make_world(guilds=200, burst_guilds_per_second=100, acknowledgements_behind_bursts=True)
    client = world.connect().identify([0, 1])
    client.say(1, 1)
    client.say(1, 1)
    world.run(1)
    assert 11 not in [p["op"] for p in client.payloads]
    world.run(1)
    assert [p["op"] for p in client.payloads[-3:]] == [0, 11, 11]
    assert len(client.dispatches("GUILD_CREATE")) == 200


def test_the_server_asks_for_heartbeats_at_random_moments_where_that_is_set(make_world):
    world = make_world(heartbeat_request_seconds=10)
    client = world.connect().identify([0, 1])
    moments = []
    for _ in range(600):
        before = len(client.payloads)
        world.run(1)
        asked = [p for p in client.payloads[before:] if p["op"] == 1]
        moments += [world.now] * len(asked)
        client.say(1, None)
    assert 35 < len(moments) < 90
    assert len({round(later - earlier) for earlier, later in pairwise(moments)}) > 5
    client.hang_up()
    world.run(200)
    assert world.gateway.next_due() is None


def test_hello_may_come_without_trace(make_world):
    assert make_world(trace=False).connect().payloads == [
        {"t": None, "s": None, "op": 10, "d": {"heartbeat_interval": 41250}}
    ]


def test_presences_past_five_in_twenty_seconds_are_ignored(world):
    client = world.ready([0, 1])
    presence = {"since": None, "activities": [], "status": "online", "afk": False}
    for _ in range(7):
        client.say(3, presence)
    assert client.closed is None
    assert world.counters.presences_ignored == 2
    world.run(20)
    client.say(3, presence)
    assert world.counters.presences_ignored == 2


def test_voice_server_may_go_to_all_that_see_the_guild(make_world):
    world = make_world(guilds=1, voice_server_audience="all")
    asker, other = world.ready([0, 1]), world.ready([0, 1])
    asker.say(4, {"guild_id": str(world.guilds[0]), "channel_id": "5", "self_mute": False, "self_deaf": False})
    servers = [client.dispatches("VOICE_SERVER_UPDATE") for client in (asker, other)]
    assert [len(found) for found in servers] == [1, 1]
    assert servers[0][0]["d"] == servers[1][0]["d"]
    assert world.counters.sent == 0


@pytest.mark.parametrize("closes", [True, False])
def test_a_session_that_outgrows_its_limit_is_closed_where_that_is_set(make_world, closes):
    world = make_world(guilds=3, max_guilds_per_session=3, close_outgrown_sessions=closes)
    client = world.ready([0, 1])
    gone = world.ready([0, 1])
    gone.hang_up()
    halves = [world.ready([shard, 2]) for shard in (0, 1)]
    world.control("POST", "/control/guilds", {"add": 1})
    assert client.closed == (4011 if closes else None)
    assert client.dispatches()[-1]["t"] == "GUILD_CREATE"
    assert [half.closed for half in halves] == [None, None]
    if closes:
        world.connect().resume(gone.session, gone.sequence)
        assert world.counters.resumes_refused == {"unknown": 1}


def test_the_journal_has_every_handshake_and_close(world):
    client = world.ready([0, 2])
    world.fault("close", code=4000)
    again = world.connect().resume(client.session, client.sequence)
    again.hang_up(1000)
    world.connect().resume(client.session, client.sequence)
    world.connect().identify([5, 2])
    world.connect().identify([1, 2], token="wrong")
    journal = world.control("GET", "/control/truth")["journal"]
    assert [(e["what"], e["outcome"], e["session"], e["shard"], e["count"]) for e in journal] == [
        ("identify", "accepted", client.session, 0, 2),
        ("serverClose", "4000", client.session, 0, 2),
        ("resume", "accepted", client.session, 0, 2),
        ("clientClose", "1000", client.session, 0, 2),
        ("resume", "unknown", client.session, None, None),
        ("identify", "shard", None, 5, 2),
        ("serverClose", "4010", None, None, None),
        ("identify", "token", None, 1, 2),
        ("serverClose", "4004", None, None, None),
    ]
    world.control("DELETE", "/control/truth")
    assert world.control("GET", "/control/truth")["journal"] == []


def test_ready_and_resumed_are_shuffled_too_and_never_dropped(make_world):
    world = make_world(shuffle_keys=True, drop_probability=1.0)
    orders = set()
    for _ in range(5):
        client = world.ready([0, 1])
        orders.add(tuple(client.ready))
        resumed = world.connect().resume(client.session, client.sequence)
        assert resumed.dispatches("RESUMED")
    assert len(orders) > 1
