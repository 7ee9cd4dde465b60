"""Who sees an event, in what order, and what the ground truth says of it."""

from __future__ import annotations

import pytest

from discord_simulator.events import Event
from discord_simulator.intents import (
    ALL,
    DIRECT_MESSAGES,
    GUILD_MEMBERS,
    GUILD_MESSAGES,
    GUILDS,
    MESSAGE_CONTENT,
    intents_for,
)


def test_the_intents_table_names_every_bit_of_all():
    names = ("GUILD_CREATE", "GUILD_MEMBER_ADD", "PRESENCE_UPDATE", "MESSAGE_CREATE", "TYPING_START")
    assert [intents_for(name, direct=False) for name in names] == [1 << 0, 1 << 1, 1 << 8, 1 << 9, 1 << 11]
    assert intents_for("MESSAGE_CREATE", direct=True) == 1 << 12
    assert intents_for("THREAD_MEMBERS_UPDATE", direct=False) == GUILDS | GUILD_MEMBERS
    assert intents_for("INTERACTION_CREATE", direct=False) == 0


@pytest.mark.parametrize(
    ("name", "intents", "seen"),
    [
        ("MESSAGE_CREATE", GUILD_MESSAGES, True),
        ("MESSAGE_CREATE", GUILDS, False),
        ("GUILD_MEMBER_ADD", GUILDS, False),
        ("INTERACTION_CREATE", 0, True),
        ("CHANNEL_UPDATE", GUILDS, True),
    ],
)
def test_intents_filter_guild_events(world, name, intents, seen):
    client = world.ready([0, 1], intents=intents)
    world.message(name=name)
    assert bool(client.dispatches(name)) is seen


def test_events_go_to_the_shard_of_their_guild_in_every_count(make_world):
    world = make_world(guilds=30, max_concurrency=16)
    clients = {(shard, count): world.ready([shard, count]) for count in (3, 4) for shard in range(count)}
    for index, guild in enumerate(world.guilds):
        world.message(guild, d=b'{"id":"%d"}' % index)
    for (shard, count), client in clients.items():
        expected = [str(index) for index, guild in enumerate(world.guilds) if (guild >> 22) % count == shard]
        assert [p["d"]["id"] for p in client.dispatches("MESSAGE_CREATE")] == expected
    assert world.counters.sent == 30


def test_events_without_a_guild_go_to_shard_0_of_sessions_that_may_see_direct_messages(world):
    zero = world.ready([0, 2], intents=DIRECT_MESSAGES)
    one = world.ready([1, 2], intents=DIRECT_MESSAGES)
    blind = world.ready([0, 2], intents=GUILD_MESSAGES)
    world.message(0)
    assert [len(client.dispatches("MESSAGE_CREATE")) for client in (zero, one, blind)] == [1, 0, 0]


def test_message_content_is_only_for_sessions_with_its_intent(world):
    full = world.ready([0, 1], intents=GUILD_MESSAGES | MESSAGE_CONTENT)
    bare = world.ready([0, 1], intents=GUILD_MESSAGES)
    world.control("POST", "/control/load", {"rate": 10, "events": 3, "mix": _only("MESSAGE_CREATE")})
    world.run(2)
    assert len(full.dispatches("MESSAGE_CREATE")) == 3
    for with_content, without in zip(full.dispatches("MESSAGE_CREATE"), bare.dispatches("MESSAGE_CREATE"), strict=True):
        assert with_content["d"]["content"]
        assert without["d"] == {**with_content["d"], "content": ""}


def test_joins_and_leaves_are_genuine(make_world):
    world = make_world(guilds=2)
    client = world.ready([0, 1])
    before = len(client.dispatches())
    assert world.control("POST", "/control/guilds", {"add": 1})["count"] == 3
    joined = str(world.guilds[-1])
    assert world.control("POST", "/control/guilds", {"remove": 1})["count"] == 2
    create, delete = client.dispatches()[before:]
    assert (create["t"], create["d"]["id"], "unavailable" in create["d"]) == ("GUILD_CREATE", joined, False)
    assert (delete["t"], delete["d"]) == ("GUILD_DELETE", {"id": joined})
    assert world.counters.sent == 2


def test_an_outage_and_its_end_are_events(make_world):
    world = make_world(guilds=2)
    client = world.ready([0, 1])
    before = len(client.dispatches())
    world.control("POST", "/control/guilds", {"unavailable": 1})
    world.control("POST", "/control/guilds", {"unavailable": 0})
    delete, create = client.dispatches()[before:]
    assert (delete["t"], delete["d"]["unavailable"]) == ("GUILD_DELETE", True)
    assert (create["t"], create["d"]["unavailable"]) == ("GUILD_CREATE", False)
    assert world.counters.sent == 2


def test_a_delay_keeps_each_sessions_order_and_differs_by_session(world):
    slow, fast = world.ready([0, 1]), world.ready([0, 1])
    world.fault("delay", session=slow.session, milliseconds=[100, 500])
    for number in range(200):
        world.message(d=b'{"id":"%d"}' % number)
        world.run(0.01)
    in_order = [str(number) for number in range(200)]
    assert [p["d"]["id"] for p in fast.dispatches("MESSAGE_CREATE")] == in_order
    assert 0 < len(slow.dispatches("MESSAGE_CREATE")) < 200
    world.run(0.5)
    assert [p["d"]["id"] for p in slow.dispatches("MESSAGE_CREATE")] == in_order
    assert [p["s"] for p in slow.dispatches()] == list(range(1, slow.sequence + 1))


def test_a_delay_per_guild_mixes_guilds_and_keeps_order_within_each(make_world):
    world = make_world(guilds=10)
    client = world.ready([0, 1])
    world.fault("delay", milliseconds=[0, 500], perGuild=True)
    sent = [(guild, number) for number in range(20) for guild in world.guilds]
    for guild, number in sent:
        world.message(guild, d=b'{"guild_id":"%d","id":"%d"}' % (guild, number))
    world.run(1)
    came = [(int(p["d"]["guild_id"]), int(p["d"]["id"])) for p in client.dispatches("MESSAGE_CREATE")]
    assert sorted(came) == sorted(sent)
    assert came != sent
    for guild in world.guilds:
        assert [number for where, number in came if where == guild] == list(range(20))


def test_a_stall_holds_everything_back_and_then_lets_it_pass_in_order(world):
    client = world.ready([0, 1])
    world.fault("stall", seconds=3)
    for number in range(5):
        world.message(d=b'{"id":"%d"}' % number)
    world.run(2.9)
    assert client.dispatches("MESSAGE_CREATE") == []
    assert world.counters.sent == 0
    world.run(0.2)
    assert [p["d"]["id"] for p in client.dispatches("MESSAGE_CREATE")] == ["0", "1", "2", "3", "4"]
    world.message(d=b'{"id":"5"}')
    assert client.dispatches()[-1]["d"]["id"] == "5"


def test_the_truth_knows_every_countable_event_of_every_session_and_nothing_else(make_world):
    world = make_world(guilds=1)
    first = world.ready([0, 1])
    world.message(name="TYPING_START")
    second = world.ready([0, 2 if (world.guilds[0] >> 22) % 2 == 0 else 1])
    first.say(8, {"guild_id": str(world.guilds[0]), "query": "", "limit": 0})
    world.message()
    truth = world.control("GET", "/control/truth")
    by_id = {session["id"]: session for session in truth["sessions"]}
    assert by_id[first.session]["events"] == [1, 2]
    assert by_id[second.session]["events"] == [2]
    for client in (first, second):
        log = by_id[client.session]
        names = {p["s"]: p["t"] for p in client.dispatches()}
        assert [names[s] for s in log["sequences"]] == [
            truth["names"][truth["events"]["names"][event - 1]] for event in log["events"]
        ]
    assert truth["counters"]["sent"] == 2
    assert [truth["streams"][index] for index in truth["events"]["streams"]] == [world.guilds[0]] * 2


def test_events_in_a_session_nobody_is_connected_to_are_sent(world):
    client = world.ready([0, 1])
    client.hang_up()
    world.message()
    assert world.counters.sent == 1
    world.run(100)
    world.message()
    assert (world.counters.sent, world.counters.events) == (1, 1)


def test_equal_bodies_share_a_key_and_unique_ones_have_none(world):
    world.ready([0, 1], intents=ALL)
    one, other = world.guilds[:2]
    for guild in (one, one, other):
        event = Event(name="WEBHOOKS_UPDATE", body=b'{"guild_id":"%d"}' % guild, guild=guild)
        world.gateway.broadcast.emit(event, repeatable=True)
    world.message()
    keys = world.control("GET", "/control/truth")["events"]["keys"]
    assert keys[0] == keys[1] != keys[2]
    assert keys[3] == 0
    assert keys[2] != 0


def _only(name: str) -> dict[str, float]:
    others = (
        "MESSAGE_CREATE TYPING_START MESSAGE_REACTION WEBHOOKS_UPDATE GUILD_INTEGRATIONS_UPDATE DIRECT_MESSAGE "
        "PRESENCE_UPDATE"
    )
    return dict.fromkeys(others.split(), 0.0) | {name: 1.0}
