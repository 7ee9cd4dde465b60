"""The old side's window: complete from ``recorded_since`` on, and bounded."""

from __future__ import annotations

from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st

from shard_runtime.contract import HandoverRequest, shard_of_guild
from shard_runtime.handover.keys import Place, event_key
from shard_runtime.handover.window import Window, asked_for

ALL = HandoverRequest(generation=2, count=1, shards=[0])


def payload(number: int) -> bytes:
    return f'{{"t":"MESSAGE_CREATE","s":1,"op":0,"d":{{"id":"{number}"}}}}'.encode()


@given(
    steps=st.lists(st.tuples(st.integers(0, 3_000), st.integers(0, 4)), max_size=80),
    most=st.integers(1, 50),
)
def test_everything_after_recorded_since_is_there(steps: Sequence[tuple[int, int]], most: int) -> None:
    window = Window(since=0, overlap_seconds=10, max_events=most)
    recorded: list[tuple[int, int, int]] = []
    now = 0
    for number, (pause, guild) in enumerate(steps):
        now += pause
        window.record(Place(guild), "MESSAGE_CREATE", payload(number), now)
        recorded.append((guild, event_key("MESSAGE_CREATE", payload(number)).hash, now))
        held = {(found.guild, event.key, event.arrival) for found in window.export(ALL) for event in found.events}
        assert {entry for entry in recorded if entry[2] > window.recorded_since} <= held
        assert held <= set(recorded)
        assert len(held) == len(window) <= most
        assert all(arrival >= now - 10_000 for _, _, arrival in held)


def test_order_within_a_guild_is_that_of_arrival_and_the_quiet_keep_their_past() -> None:
    window = Window(since=5, overlap_seconds=10)
    for number in range(10):
        window.record(Place(number % 2), "MESSAGE_CREATE", payload(number), 100 + number)
    first, second = sorted(window.export(ALL), key=lambda found: found.guild)
    assert [event.arrival for event in first.events] == [100, 102, 104, 106, 108]
    assert [event.arrival for event in second.events] == [101, 103, 105, 107, 109]
    assert window.recorded_since == 5


def test_an_asker_gets_its_own_guilds() -> None:
    guilds = [number << 22 for number in range(20)]
    window = Window(since=0, overlap_seconds=10)
    for guild in guilds:
        window.record(Place(guild), "MESSAGE_CREATE", payload(guild), 1)
    request = HandoverRequest(generation=2, count=6, shards=[1, 4])
    expected = {guild for guild in guilds if shard_of_guild(guild, 6) in (1, 4)}
    assert {found.guild for found in window.export(request)} == expected
    assert set(asked_for(guilds, request)) == expected


def test_the_past_of_a_session_that_may_be_cut_off_is_kept() -> None:
    window = Window(since=0, overlap_seconds=10)
    window.complete_until(12_000)
    for second in range(60):
        window.record(Place(0), "MESSAGE_CREATE", payload(second), second * 1000)
    assert window.recorded_since == 1_000, "10 s before all was there"
    window.complete_until(60_000)
    window.record(Place(0), "MESSAGE_CREATE", payload(60), 60_000)
    assert window.recorded_since == 49_000


def test_a_sessions_own_events_and_replies_are_not_recorded() -> None:
    window = Window(since=0, overlap_seconds=10)
    for name in ("READY", "RESUMED", "GUILD_MEMBERS_CHUNK"):
        window.record(Place(0), name, payload(1), 1)
    assert len(window) == 0


def test_a_bound_in_bytes_is_a_bound() -> None:
    window = Window(since=0, overlap_seconds=1e9, max_bytes=16_000)
    for number in range(10_000):
        window.record(Place(0), "MESSAGE_CREATE", payload(number), number)
    assert len(window) == 100
    assert window.recorded_since == 9_899


def test_presences_are_remembered_by_user_and_only_the_last() -> None:
    def presence(user: int, status: str) -> bytes:
        return f'{{"d":{{"user":{{"id":"{user}"}},"status":"{status}","guild_id":"5"}}}}'.encode()

    window = Window(since=0, overlap_seconds=10)
    for at, user, status in ((1, 7, "idle"), (2, 8, "idle"), (3, 7, "online")):
        window.record(Place(5), "PRESENCE_UPDATE", presence(user, status), at)
    (found,) = window.export(ALL)
    assert found.events == []
    assert {(event.subject, event.arrival) for event in found.latest} == {(7, 3), (8, 2)}
    window.record(Place(5), "MESSAGE_CREATE", payload(1), 10_003)
    (found,) = window.export(ALL)
    assert {(event.subject, event.arrival) for event in found.latest} == {(7, 3)}
    assert window.recorded_since == 2


def test_channels_of_direct_messages_are_streams_of_their_own() -> None:
    window = Window(since=0, overlap_seconds=10)
    for number, channel in enumerate((11, 12, 11)):
        window.record(Place(0, channel), "MESSAGE_CREATE", payload(number), number)
    assert {(found.guild, found.channel, len(found.events)) for found in window.export(ALL)} == {(0, 11, 2), (0, 12, 1)}
