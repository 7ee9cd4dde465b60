"""HELLO, IDENTIFY and everything that can be wrong with it."""

from __future__ import annotations

import json

import pytest

from discord_simulator.intents import ALL, GUILD_MESSAGES, GUILD_PRESENCES, GUILDS


def test_a_connection_is_greeted_with_hello(make_world):
    client = make_world(heartbeat_interval_milliseconds=1234).connect()
    assert [(p["op"], p["d"]["heartbeat_interval"]) for p in client.payloads] == [(10, 1234)]


def test_ready_is_the_first_dispatch_and_lists_this_shards_guilds_as_unavailable(make_world):
    world = make_world(guilds=40)
    client = world.connect().identify([1, 4])
    first = client.dispatches()[0]
    assert (first["t"], first["s"]) == ("READY", 1)
    own = [guild for guild in world.guilds if (guild >> 22) % 4 == 1]
    assert 0 < len(own) < 40
    assert client.ready["guilds"] == [{"unavailable": True, "id": str(guild)} for guild in own]
    assert client.ready["shard"] == [1, 4]
    assert client.ready["resume_gateway_url"].startswith("ws://simulator:1/")
    assert client.ready["v"] == 10


def test_ready_without_shard_has_none_and_lists_all_guilds(world):
    client = world.connect().identify()
    assert "shard" not in client.ready
    assert len(client.ready["guilds"]) == len(world.guilds)


def test_the_burst_brings_every_guild_once_with_consecutive_sequences(make_world):
    world = make_world(guilds=120)
    client = world.ready([0, 1])
    creates = client.dispatches("GUILD_CREATE")
    assert {p["d"]["id"] for p in creates} == {str(guild) for guild in world.guilds}
    assert all(p["d"]["unavailable"] is False for p in creates)
    assert [p["s"] for p in client.dispatches()] == list(range(1, 122))
    assert [p["d"]["id"] for p in creates] != [str(guild) for guild in world.guilds]


def test_live_events_get_between_the_guilds_of_a_burst(make_world):
    world = make_world(guilds=100)
    client = world.connect().identify([0, 1])
    world.message()
    world.run(1)
    names = [p["t"] for p in client.dispatches()]
    assert 1 < names.index("MESSAGE_CREATE") < len(names) - 1


def test_a_guild_in_an_outage_comes_as_guild_delete(make_world):
    world = make_world(guilds=3)
    world.control("POST", "/control/guilds", {"unavailable": 1})
    client = world.ready([0, 1])
    (delete,) = client.dispatches("GUILD_DELETE")
    assert delete["d"] == {"unavailable": True, "id": str(world.guilds[0])}
    assert len(client.dispatches("GUILD_CREATE")) == 2


def test_no_burst_without_the_guilds_intent(world):
    assert world.ready([0, 1], intents=GUILD_MESSAGES).dispatches("GUILD_CREATE") == []


def test_guild_bodies_have_the_wanted_size(make_world):
    for size in (4000, 20_000):
        client = make_world(guilds=1, guild_bytes=size).ready([0, 1])
        (create,) = client.dispatches("GUILD_CREATE")
        assert 0.7 * size < len(json.dumps(create["d"])) < 1.5 * size


@pytest.mark.parametrize(
    ("settings", "identify", "close", "reason"),
    [
        ({}, {"token": "wrong"}, 4004, "token"),
        ({}, {"shard": [4, 4]}, 4010, "shard"),
        ({}, {"shard": [0, 0]}, 4010, "shard"),
        ({"shard_multiple": 16}, {"shard": [0, 8]}, 4010, "shard"),
        ({"max_guilds_per_session": 5}, {"shard": [0, 1]}, 4011, "shardingRequired"),
        ({}, {"shard": [0, 1], "intents": None}, 4013, "intents"),
        ({}, {"shard": [0, 1], "intents": 1 << 17}, 4013, "intents"),
        (
            {"privileged_intents": 0},
            {"shard": [0, 1], "intents": GUILDS | GUILD_PRESENCES},
            4014,
            "disallowedIntents",
        ),
        ({"privileged_intents": 0}, {"shard": [4, 4], "intents": ALL, "token": "wrong"}, 4004, "token"),
    ],
)
def test_a_wrong_identify_is_refused_with_its_code(make_world, settings, identify, close, reason):
    world = make_world(**settings)
    client = world.connect().identify(**identify)
    assert client.closed == close
    assert client.dispatches() == []
    assert world.counters.identifies_rejected == {reason: 1}
    assert (world.counters.identify_attempts, world.counters.identifies_accepted) == (1, 0)
    assert world.gateway.application.budget(world.now).remaining == 1000


@pytest.mark.parametrize(
    ("version", "encoding", "closed"),
    [("10", "json", None), ("9", None, None), (None, None, None), ("3", "json", 4012), ("10", "etf", 4012)],
)
def test_versions_and_encodings(world, version, encoding, closed):
    assert world.connect(version=version, encoding=encoding).closed == closed


def test_a_second_identify_closes_with_4005_and_keeps_the_session(world):
    client = world.ready([0, 1])
    client.identify([0, 1])
    assert client.closed == 4005
    assert world.connect().resume(client.session, client.sequence).dispatches("RESUMED")


def test_unknown_identify_keys_are_ignored(world):
    world.connect().identify([0, 1], presence={"game": 1}, guild_subscriptions=True, capabilities=1 << 15).ready  # noqa: B018


@pytest.mark.parametrize("op", [3, 4, 8, 31, 43])
def test_commands_before_identify_close_with_4003(world, op):
    client = world.connect()
    client.say(op, {})
    assert client.closed == 4003


@pytest.mark.parametrize(
    ("frame", "close"),
    [
        (b"{", 4002),
        (b"[]", 4002),
        (b'{"op":"2"}', 4002),
        (b"\xff\xfe", 4002),
        (b'{"op":2,"d":{"token":1}}', 4002),
        (b'{"op":6,"d":{}}', 4002),
        (b'{"op":99,"d":null}', 4001),
        (b'{"op":1,"d":null,"x":"' + b"x" * 4096 + b'"}', 4002),
    ],
)
def test_malformed_frames_close_with_their_code(world, frame, close):
    client = world.connect()
    client.say_raw(frame)
    assert client.closed == close


def test_a_frame_of_4096_bytes_passes(world):
    client = world.connect()
    frame = b'{"op":1,"d":null,"x":"%b"}'
    client.say_raw(frame % (b"x" * (4096 - len(frame) + 2)))
    assert client.closed is None
    assert client.payloads[-1]["op"] == 11


def test_heartbeats_are_acknowledged_before_and_after_identify(world):
    client = world.connect()
    client.say(1, None)
    client.identify([0, 1])
    client.say(1, 1)
    assert [p["op"] for p in client.payloads if p["op"] == 11] == [11, 11]


def test_a_silent_connection_is_closed_and_its_session_kept(make_world):
    world = make_world(heartbeat_interval_milliseconds=10_000)
    client = world.ready([0, 1])
    client.say(1, 1)
    world.run(19)
    assert client.closed is None
    world.run(2)
    assert client.closed == 1000
    assert world.counters.heartbeat_timeouts == 1
    assert world.connect().resume(client.session, client.sequence).dispatches("RESUMED")
