"""The control API's own manners."""

from __future__ import annotations


def test_an_unknown_call_names_the_known_ones(world):
    status, body = world.control("GET", "/control/nothing")
    assert status == 404
    assert "POST /control/load" in body["error"]


def test_bad_bodies_are_refused_with_what_is_wrong(world):
    for path, body in (("load", {}), ("guilds", {"add": -1}), ("guilds", {"ad": 1}), ("events", {"name": "X"})):
        status, answer = world.control("POST", f"/control/{path}", body)
        assert status == 400
        assert answer["error"]


def test_guilds_are_listed_in_the_order_of_joining(world):
    before = world.control("GET", "/control/guilds")
    after = world.control("POST", "/control/guilds", {"add": 2, "unavailable": 1})
    assert after["ids"][:20] == before["ids"]
    assert (before["count"], after["count"], after["unavailable"]) == (20, 22, 1)


def test_an_event_is_sent_as_it_is(world):
    client = world.ready([0, 1])
    event = {"name": "GUILD_UPDATE", "d": {"id": "1", "name": "ü"}, "guild": str(world.guilds[0]), "repeat": 2}
    assert world.control("POST", "/control/events", event)["sent"] == 2
    assert [p["d"] for p in client.dispatches("GUILD_UPDATE")] == [event["d"], event["d"]]


def test_forgetting_the_truth_keeps_living_sessions_and_counters(world):
    gone, living = world.ready([0, 1]), world.ready([0, 1])
    world.message()
    gone.hang_up(1000)
    assert world.control("DELETE", "/control/truth")["sent"] == 1
    world.message()
    truth = world.control("GET", "/control/truth")
    (session,) = truth["sessions"]
    assert session["id"] == living.session
    assert (session["sequences"], session["events"]) == ([living.sequence], [2])
    assert (truth["events"]["first"], len(truth["events"]["names"])) == (2, 1)
    assert truth["counters"]["sent"] == 2


def test_the_summary_counts_sessions_without_a_connection_apart(world):
    client = world.ready([1, 4])
    world.ready([2, 4])
    client.hang_up()
    summary = world.control("GET", "/control/truth", summary="1")
    assert summary["sessions"] == {"4": {"sessions": 2, "connected": 1, "shards": 1}}
