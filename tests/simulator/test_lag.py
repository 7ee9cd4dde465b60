"""What is held back keeps its order, also where a session's delay becomes another one while events still wait."""

from __future__ import annotations

import pytest

from discord_simulator.events import Event
from discord_simulator.treatment import Lag


def _event(guild: int, number: int) -> Event:
    return Event(name="MESSAGE_CREATE", body=b"%d" % number, guild=guild)


def _passed(lag: Lag) -> list[tuple[int, int]]:
    return [(event.guild, int(event.body)) for event in lag.due(1000.0)]


@pytest.mark.parametrize("at_first", [True, False], ids=["per guild at first", "per session at first"])
def test_no_event_overtakes_one_of_its_guild_when_the_delay_changes(at_first: bool) -> None:
    lag = Lag()
    lag.hold(_event(1, 0), per_guild=at_first, delay=30.0, now=0.0)
    assert lag.hold(_event(1, 1), per_guild=not at_first, delay=0.0, now=1.0) == 30.0
    assert lag.hold(_event(1, 2), per_guild=at_first, delay=0.0, now=2.0) == 30.0
    assert _passed(lag) == [(1, 0), (1, 1), (1, 2)]


def test_order_over_the_session_is_behind_what_waited_per_guild() -> None:
    lag = Lag()
    lag.hold(_event(1, 0), per_guild=True, delay=30.0, now=0.0)
    lag.hold(_event(2, 1), per_guild=True, delay=5.0, now=0.0)
    lag.hold(_event(2, 2), per_guild=False, delay=0.0, now=1.0)
    assert _passed(lag) == [(2, 1), (1, 0), (2, 2)]


def test_order_per_guild_waits_for_no_other_guild() -> None:
    lag = Lag()
    lag.hold(_event(1, 0), per_guild=False, delay=30.0, now=0.0)
    assert lag.hold(_event(2, 1), per_guild=True, delay=0.0, now=1.0) == 1.0
    assert _passed(lag) == [(2, 1), (1, 0)]


def test_nothing_is_waited_for_once_all_has_passed() -> None:
    lag = Lag()
    lag.hold(_event(1, 0), per_guild=True, delay=30.0, now=0.0)
    assert lag.due(29.0) == []
    assert _passed(lag) == [(1, 0)]
    assert lag.idle
    assert lag.hold(_event(1, 1), per_guild=False, delay=1.0, now=2.0) == 3.0


def test_clear_lets_no_event_of_a_guild_pass_one_that_waits(world) -> None:
    client = world.ready([0, 1])
    world.fault("delay", milliseconds=[5000, 5000], perGuild=True)
    world.message(d=b'{"id":"1"}')
    world.fault("clear")
    world.message(d=b'{"id":"2"}')
    world.run(10)
    assert [p["d"]["id"] for p in client.dispatches("MESSAGE_CREATE")] == ["1", "2"]
