"""The load generator: its rate, its mix, its repeats."""

from __future__ import annotations

import json
from collections import Counter

import pytest

from discord_simulator.intents import ALL


@pytest.mark.parametrize("rate", [3, 50, 2000])
def test_the_rate_holds(world, rate):
    world.ready([0, 1])
    world.control("POST", "/control/load", {"rate": rate, "seconds": 10})
    world.run(20)
    assert world.counters.sent == pytest.approx(rate * 10, abs=rate * 0.02 + 12)
    assert world.control("GET", "/control/load")["load"] is None


def test_a_number_of_events_is_exact(world):
    client = world.ready([0, 1])
    before = len(client.dispatches())
    world.control("POST", "/control/load", {"rate": 500, "events": 777, "burstProbability": 0.5})
    world.run(10)
    assert len(client.dispatches()) - before == world.counters.sent == 777


def test_a_late_step_makes_up_for_at_most_a_second(world):
    world.ready([0, 1])
    world.control("POST", "/control/load", {"rate": 100})
    world.now += 30
    world.gateway.advance()
    assert 50 <= world.counters.sent <= 110


def test_rate_0_stops(world):
    world.ready([0, 1])
    world.control("POST", "/control/load", {"rate": 100})
    world.run(1)
    world.control("POST", "/control/load", {"rate": 0})
    sent = world.counters.sent
    world.run(5)
    assert world.counters.sent - sent <= 10  # the rest of a burst


def test_the_default_mix_has_repeats_toggles_and_direct_messages(make_world):
    world = make_world(guilds=30)
    client = world.ready([0, 1], intents=ALL)
    before = len(client.dispatches())
    world.control("POST", "/control/load", {"rate": 1000, "seconds": 5})
    world.run(6)
    events = client.dispatches()[before:]
    names = Counter(p["t"] for p in events)
    assert {"MESSAGE_CREATE", "TYPING_START", "WEBHOOKS_UPDATE", "GUILD_INTEGRATIONS_UPDATE"} <= set(names)
    assert "PRESENCE_UPDATE" not in names
    messages = [p["d"] for p in events if p["t"] == "MESSAGE_CREATE"]
    assert len({m["id"] for m in messages}) == len(messages)
    assert any("guild_id" not in m for m in messages)
    assert all(850 <= len(json.dumps(m, separators=(",", ":"))) <= 950 for m in messages if "guild_id" in m)
    repeats = Counter((p["t"], json.dumps(p["d"])) for p in events if p["t"] == "WEBHOOKS_UPDATE")
    assert max(repeats.values()) > 5


def test_a_users_reactions_alternate_between_add_and_remove_with_one_body_each(make_world):
    world = make_world(guilds=1)
    client = world.ready([0, 1], intents=ALL)
    mix = {"MESSAGE_CREATE": 0, "TYPING_START": 0, "WEBHOOKS_UPDATE": 0, "GUILD_INTEGRATIONS_UPDATE": 0}
    load = {"rate": 50, "events": 60, "mix": {**mix, "DIRECT_MESSAGE": 0}}
    world.control("POST", "/control/load", load)
    world.run(5)
    toggles: dict[str, list[str]] = {}
    bodies: dict[tuple[str, str], set[str]] = {}
    for p in client.dispatches("MESSAGE_REACTION_ADD", "MESSAGE_REACTION_REMOVE"):
        toggles.setdefault(p["d"]["user_id"], []).append(p["t"].removeprefix("MESSAGE_REACTION_"))
        bodies.setdefault((p["t"], p["d"]["user_id"]), set()).add(json.dumps(p["d"]))
        assert ("member" in p["d"]) is (p["t"] == "MESSAGE_REACTION_ADD")
    assert {len(equal) for equal in bodies.values()} == {1}
    assert sum(map(len, toggles.values())) == 60
    for turns in toggles.values():
        assert turns == (["ADD", "REMOVE"] * len(turns))[: len(turns)]


def test_guilds_are_unequally_active_and_stay_so_when_others_join(make_world):
    world = make_world(guilds=100)
    client = world.ready([0, 1], intents=ALL)

    def busiest() -> tuple[str, int]:
        before = len(client.dispatches())
        world.control("POST", "/control/load", {"rate": 1000, "seconds": 3, "burstProbability": 0})
        world.run(4)
        came = (p["d"].get("guild_id") for p in client.dispatches()[before:])
        return Counter(guild for guild in came if guild).most_common(1)[0]

    guild, events = busiest()
    assert events > 10 * 3000 / 100
    world.control("POST", "/control/guilds", {"add": 1})
    assert busiest()[0] == guild


def test_some_guilds_have_only_bodies_that_repeat(make_world):
    world = make_world(guilds=40)
    client = world.ready([0, 1], intents=ALL)
    world.control("POST", "/control/load", {"rate": 500, "seconds": 4, "constantGuilds": 0.3, "steadyGuilds": 2})
    world.run(5)
    names: dict[str, Counter[str]] = {}
    for p in client.dispatches():
        if p["t"] != "GUILD_CREATE" and p["d"].get("guild_id"):
            names.setdefault(p["d"]["guild_id"], Counter())[p["t"]] += 1
    constant = {guild for guild, counts in names.items() if not counts.keys() & {"MESSAGE_CREATE", "TYPING_START"}}
    assert 4 <= len(constant) <= 22
    reactions = {
        guild: counts["MESSAGE_REACTION_ADD"] + counts["MESSAGE_REACTION_REMOVE"]
        for guild, counts in names.items()
        if guild in constant
    }
    assert sum(count >= 20 for count in reactions.values()) >= 2, "five a second for four seconds"


def test_one_seed_gives_one_run(make_world):
    def run() -> list[str]:
        world = make_world(guilds=10)
        client = world.ready([0, 1], intents=ALL)
        world.control("POST", "/control/load", {"rate": 200, "seconds": 2})
        world.run(3)
        return [json.dumps(p) for p in client.payloads]

    assert run() == run()
