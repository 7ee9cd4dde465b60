"""A session outlives its connections, within its buffer and its time."""

from __future__ import annotations

import pytest

from discord_simulator.sessions import replay_capacity


@pytest.mark.parametrize(("guilds", "capacity"), [(0, 100), (1, 100), (2, 150), (46, 3450), (1000, 3500)])
def test_discords_formula_of_the_replay_buffer(guilds, capacity):
    assert replay_capacity(guilds) == capacity


@pytest.mark.parametrize("code", [None, 4000, 1006, 3000])
def test_a_resume_replays_what_was_missed_with_its_sequences_then_resumed(world, code):
    client = world.ready([0, 1])
    world.message(d=b'{"id":"1"}')
    last = client.sequence
    client.hang_up(code)
    missed = [world.message(d=b'{"id":"%d"}' % number) for number in (2, 3, 4)]
    again = world.connect().resume(client.session, last)
    assert [(p["t"], p["s"]) for p in again.dispatches()] == [
        ("MESSAGE_CREATE", last + 1),
        ("MESSAGE_CREATE", last + 2),
        ("MESSAGE_CREATE", last + 3),
        ("RESUMED", last + 4),
    ]
    assert [p["d"]["id"] for p in again.dispatches("MESSAGE_CREATE")] == ["2", "3", "4"]
    assert isinstance(again.dispatches("RESUMED")[0]["d"], dict)
    world.message(d=b'{"id":"5"}')
    assert again.dispatches()[-1]["s"] == last + 5
    assert world.counters.replayed == len(missed)
    assert (world.counters.resumes_accepted, world.counters.identifies_accepted) == (1, 1)


def test_a_resume_from_an_older_sequence_replays_again(world):
    client = world.ready([0, 1])
    for number in range(5):
        world.message(d=b'{"id":"%d"}' % number)
    again = world.connect().resume(client.session, client.sequence - 3)
    assert [p["s"] for p in again.dispatches("MESSAGE_CREATE")] == [
        client.sequence - 2,
        client.sequence - 1,
        client.sequence,
    ]


@pytest.mark.parametrize("code", [1000, 1001])
def test_a_client_that_closes_with_1000_or_1001_ends_its_session(world, code):
    client = world.ready([0, 1])
    client.hang_up(code)
    again = world.connect().resume(client.session, client.sequence)
    assert again.payloads[-1]["op"] == 9
    assert again.payloads[-1]["d"] is False
    assert world.counters.resumes_refused == {"unknown": 1}
    (session,) = world.control("GET", "/control/truth")["sessions"]
    assert session["end"] == "clientClose"


def test_an_evicted_event_makes_the_resume_fail_and_the_last_kept_one_does_not(make_world):
    world = make_world(replay_events=10, guilds=1)
    client = world.ready([0, 1])
    last = client.sequence
    client.hang_up()
    for _ in range(10):
        world.message()
    assert len(world.connect().resume(client.session, last).dispatches("MESSAGE_CREATE")) == 10
    world.message()
    refused = world.connect().resume(client.session, last)
    assert refused.payloads[-1]["op"] == 9
    assert world.counters.resumes_refused == {"evicted": 1}
    (session,) = world.control("GET", "/control/truth")["sessions"]
    assert session["end"] == "evicted"


def test_a_session_expires_after_its_time_without_a_connection(make_world):
    world = make_world(session_expiry_seconds=60)
    client = world.ready([0, 1])
    client.hang_up()
    world.run(59)
    second = world.connect().resume(client.session, client.sequence)
    assert second.dispatches("RESUMED")
    second.hang_up()
    world.run(59.9)
    third = world.connect().resume(client.session, client.sequence)
    assert third.dispatches("RESUMED")
    third.hang_up()
    world.run(60.1)
    assert world.connect().resume(client.session, client.sequence).payloads[-1]["op"] == 9
    (session,) = world.control("GET", "/control/truth")["sessions"]
    assert session["end"] == "expired"


def test_a_resume_with_a_sequence_of_the_future_closes_with_4007_and_ends_the_session(world):
    client = world.ready([0, 1])
    client.hang_up()
    assert world.connect().resume(client.session, client.sequence + 1).closed == 4007
    assert world.connect().resume(client.session, client.sequence).payloads[-1]["op"] == 9


def test_a_resume_with_a_wrong_token_closes_with_4004(world):
    client = world.ready([0, 1])
    client.hang_up()
    assert world.connect().resume(client.session, client.sequence, token="wrong").closed == 4004
    assert world.connect().resume(client.session, client.sequence).dispatches("RESUMED")


def test_a_second_socket_takes_the_session_over(world):
    first = world.ready([0, 1])
    second = world.connect().resume(first.session, first.sequence)
    assert first.closed == 4000
    world.message()
    assert second.dispatches("MESSAGE_CREATE")
    assert first.dispatches("MESSAGE_CREATE") == []
    first.hang_up(1000)
    world.run(100)
    assert second.closed is None or second.closed == 1000
    assert len(world.gateway.sessions) == 1


def test_a_failed_resume_may_identify_on_the_same_socket(world):
    client = world.connect().resume("0" * 32, 5)
    assert client.payloads[-1]["op"] == 9
    assert client.identify([0, 1]).ready


def test_heartbeats_free_the_buffer_only_where_that_is_set(make_world):
    for trims in (False, True):
        world = make_world(trim_replay_by_heartbeat=trims)
        client = world.ready([0, 1])
        world.message()
        client.say(1, client.sequence)
        again = world.connect().resume(client.session, client.sequence - 1)
        assert bool(again.dispatches("RESUMED")) is not trims
