"""Buckets, the daily budget, the send limit and the limits of member requests."""

from __future__ import annotations

import json

from discord_simulator.intents import ALL, GUILD_PRESENCES, GUILDS


def test_one_identify_per_bucket_in_five_seconds_whatever_the_shard_count(make_world):
    world = make_world(max_concurrency=4)
    world.connect().identify([1, 8])
    early = world.connect().identify([5, 16])
    assert early.payloads[-1] == {"t": None, "s": None, "op": 9, "d": False}
    assert early.closed is None
    assert world.counters.bucket_violations == 1
    other_bucket = world.connect().identify([2, 8])
    assert other_bucket.ready
    world.run(4.9)
    early.identify([5, 16])
    assert early.dispatches() == []
    world.run(0.11)
    early.identify([5, 16])
    assert early.ready
    assert world.counters.identifies_rejected == {"bucket": 2}


def test_the_budget_counts_accepted_identifies_and_resets_after_its_window(make_world):
    world = make_world(identify_total=10, identify_window_seconds=3600)
    token = "Bot " + world.gateway.application.token

    def limit():
        return json.loads(world.get("/api/v10/gateway/bot", token=token).body)["session_start_limit"]

    assert limit() == {"total": 10, "remaining": 10, "reset_after": 0, "max_concurrency": 16}
    world.connect().identify([0, 2])
    world.connect().identify([0, 2])
    world.run(600)
    assert limit() == {"total": 10, "remaining": 9, "reset_after": 3_000_000, "max_concurrency": 16}
    world.run(3000)
    assert limit()["remaining"] == 10


def test_refused_identifies_take_from_the_budget_where_that_is_set(make_world):
    world = make_world(refused_identifies_count=True)
    world.connect().identify([0, 2])
    world.connect().identify([0, 2])
    assert world.gateway.application.budget(world.now).remaining == 998


def test_an_overrun_resets_the_token_and_kills_every_session(make_world):
    world = make_world(identify_total=2)
    token = world.gateway.application.token
    first, second = world.ready([0, 2]), world.ready([1, 2])
    third = world.connect().identify([0, 4])
    assert [client.closed for client in (first, second, third)] == [4004, 4004, 4004]
    assert world.counters.budget_overruns == 1
    assert world.connect().resume(first.session, 1, token=token).closed == 4004
    assert world.get("/gateway/bot", token=f"Bot {token}").status == 401
    assert [s["end"] for s in world.control("GET", "/control/truth")["sessions"]] == ["tokenReset", "tokenReset"]


def test_more_than_120_frames_a_minute_close_with_4008_and_keep_the_session(world):
    client = world.ready([0, 1])
    for _ in range(119):
        client.say(1, 1)
    assert client.closed is None
    client.say(1, 1)
    assert client.closed == 4008
    assert world.connect().resume(client.session, client.sequence).dispatches("RESUMED")


def test_the_send_budget_slides(world):
    client = world.ready([0, 1])
    for _ in range(300):
        client.say(1, 1)
        world.run(0.51)
    assert client.closed is None


def test_members_go_to_the_asker_alone_in_chunks(make_world):
    world = make_world(guilds=1, members_per_guild=2500)
    asker, other = world.ready([0, 1]), world.ready([0, 1])
    guild = str(world.guilds[0])
    asker.say(8, {"guild_id": guild, "query": "", "limit": 0, "nonce": "n"})
    chunks = [p["d"] for p in asker.dispatches("GUILD_MEMBERS_CHUNK")]
    assert [(c["chunk_index"], c["chunk_count"], len(c["members"]), c["nonce"]) for c in chunks] == [
        (0, 3, 1000, "n"),
        (1, 3, 1000, "n"),
        (2, 3, 500, "n"),
    ]
    assert other.dispatches("GUILD_MEMBERS_CHUNK") == []
    other.say(8, {"guild_id": guild, "query": "", "limit": 0})
    (limited,) = other.dispatches("RATE_LIMITED")
    assert limited["d"]["opcode"] == 8
    assert 0 < limited["d"]["retry_after"] <= 30
    world.run(30)
    other.say(8, {"guild_id": guild, "query": "", "limit": 0})
    assert len(other.dispatches("GUILD_MEMBERS_CHUNK")) == 3
    assert world.counters.member_requests == 3
    assert world.counters.sent == 0


def test_all_members_need_the_members_intent_and_a_guild_of_the_shard(make_world):
    world = make_world(guilds=1)
    guild = str(world.guilds[0])
    shard = (world.guilds[0] >> 22) % 2
    blind = world.ready([shard, 2], intents=GUILDS)
    blind.say(8, {"guild_id": guild, "query": "", "limit": 0})
    stranger = world.ready([1 - shard, 2])
    stranger.say(8, {"guild_id": guild, "query": "", "limit": 0})
    assert blind.dispatches("GUILD_MEMBERS_CHUNK") == stranger.dispatches("GUILD_MEMBERS_CHUNK") == []


def test_ids_may_come_as_numbers(make_world):
    world = make_world(guilds=1)
    client = world.ready([0, 1])
    guild = world.guilds[0]
    client.say(8, {"guild_id": guild, "user_ids": [guild + 1000, 5], "limit": 0})
    client.say(8, {"guild_id": guild, "query": "", "limit": 0})
    client.say(31, {"guild_ids": [guild]})
    client.say(43, {"guild_id": guild, "fields": ["status"]})
    client.say(4, {"guild_id": guild, "channel_id": guild + 1})
    assert client.closed is None
    by_id, everybody = [p["d"] for p in client.dispatches("GUILD_MEMBERS_CHUNK")]
    assert [m["user"]["id"] for m in by_id["members"]] == [str(guild + 1000)]
    assert by_id["not_found"] == [5]
    assert by_id["guild_id"] == str(guild)
    assert len(everybody["members"]) == 25
    (voice,) = client.dispatches("VOICE_STATE_UPDATE")
    assert (voice["d"]["guild_id"], voice["d"]["channel_id"]) == (str(guild), str(guild + 1))
    assert len(client.dispatches("SOUNDBOARD_SOUNDS", "CHANNEL_INFO", "VOICE_SERVER_UPDATE")) == 3


def test_members_are_found_by_how_their_names_begin(make_world):
    world = make_world(guilds=1, members_per_guild=300)
    client = world.ready([0, 1])
    guild = world.guilds[0]
    name = f"user{(guild + 1007) % 100_000}"
    client.say(8, {"guild_id": str(guild), "query": "USER", "limit": 20})
    client.say(8, {"guild_id": str(guild), "query": "user", "limit": 0})
    client.say(8, {"guild_id": str(guild), "query": name, "limit": 5})
    client.say(8, {"guild_id": str(guild), "query": "nobody", "limit": 5})
    found = [[m["user"]["username"] for m in p["d"]["members"]] for p in client.dispatches("GUILD_MEMBERS_CHUNK")]
    assert [len(names) for names in found] == [20, 100, 1, 0]
    assert found[2] == [name]


def test_members_by_id_name_those_not_found(make_world):
    world = make_world(guilds=1)
    client = world.ready([0, 1])
    guild = world.guilds[0]
    client.say(8, {"guild_id": str(guild), "user_ids": [str(guild + 1000), "5"], "nonce": "x" * 33})
    (chunk,) = client.dispatches("GUILD_MEMBERS_CHUNK")
    assert [m["user"]["id"] for m in chunk["d"]["members"]] == [str(guild + 1000)]
    assert chunk["d"]["not_found"] == ["5"]
    assert "nonce" not in chunk["d"]


def test_at_most_a_hundred_ids_are_looked_at(make_world):
    world = make_world(guilds=1, members_per_guild=200)
    client = world.ready([0, 1])
    guild = world.guilds[0]
    known = [guild + 1000 + index for index in range(120)]
    client.say(8, {"guild_id": guild, "user_ids": [5, *known]})
    (chunk,) = client.dispatches("GUILD_MEMBERS_CHUNK")
    assert [m["user"]["id"] for m in chunk["d"]["members"]] == list(map(str, known[:99]))
    assert chunk["d"]["not_found"] == [5]


def test_presences_of_members_are_for_those_who_ask_and_have_the_intent(make_world):
    world = make_world(guilds=1, members_per_guild=1200)
    client, blind = world.ready([0, 1]), world.ready([0, 1], intents=ALL & ~GUILD_PRESENCES)
    guild = world.guilds[0]
    everybody = {"guild_id": guild, "query": "", "limit": 0}
    client.say(8, {"guild_id": guild, "user_ids": [guild + 1003, 5], "presences": True})
    client.say(8, {"guild_id": guild, "query": "user", "limit": 3, "presences": True})
    client.say(8, {"guild_id": guild, "query": "user", "limit": 3, "presences": False})
    client.say(8, {**everybody, "presences": True})
    blind.say(8, {"guild_id": guild, "query": "user", "limit": 3, "presences": True})
    *asked, first, last = [p["d"] for p in client.dispatches("GUILD_MEMBERS_CHUNK")]
    assert [len(chunk.get("presences", "")) for chunk in asked] == [1, 3, 0]
    assert (len(first["presences"]), len(last["presences"])) == (1000, 200)
    for chunk in (asked[0], asked[1], first, last):
        assert [p["user"]["id"] for p in chunk["presences"]] == [m["user"]["id"] for m in chunk["members"]]
    assert "presences" not in asked[2]
    (unseen,) = blind.dispatches("GUILD_MEMBERS_CHUNK")
    assert (len(unseen["d"]["members"]), "presences" in unseen["d"]) == (3, False)


def test_voice_state_goes_to_all_and_voice_server_to_the_asker(make_world):
    world = make_world(guilds=1)
    asker, other = world.ready([0, 1]), world.ready([0, 1])
    asker.say(4, {"guild_id": str(world.guilds[0]), "channel_id": "5", "self_mute": False, "self_deaf": False})
    for client in (asker, other):
        (state,) = client.dispatches("VOICE_STATE_UPDATE")
        assert state["d"]["session_id"] == asker.session
    assert len(asker.dispatches("VOICE_SERVER_UPDATE")) == 1
    assert other.dispatches("VOICE_SERVER_UPDATE") == []


def test_sounds_and_channel_info_answer_for_own_guilds(make_world):
    world = make_world(guilds=1)
    client = world.ready([0, 1])
    guild = str(world.guilds[0])
    client.say(31, {"guild_ids": [guild, "7"]})
    client.say(43, {"guild_id": guild, "fields": ["status"]})
    assert [p["d"]["guild_id"] for p in client.dispatches("SOUNDBOARD_SOUNDS", "CHANNEL_INFO")] == [guild, guild]
