"""What we send is what Discord documents."""

from __future__ import annotations

import json

import pytest

from shard_runtime import contract
from shard_runtime.contract import IdentifyOptions, IdentifyProperties
from shard_runtime.protocol import payloads
from shard_runtime.protocol.envelope import UnreadableError
from shard_runtime.protocol.guilds import SETTLE_SECONDS, Guilds


def test_identify_in_full() -> None:
    options = IdentifyOptions(
        properties=IdentifyProperties(os="linux", browser="b", device="d"),
        large_threshold=250,
        presence={"status": "idle", "since": None, "activities": [], "afk": False},
        capabilities=1 << 15,
    )
    assert contract.decode(contract.encode(options), IdentifyOptions) == options, "as it is mounted into a pod"
    sent = payloads.identify(token="t", shard=3, shard_count=16, intents=513, options=options)
    assert json.loads(sent) == {
        "op": 2,
        "d": {
            "token": "t",
            "properties": {"os": "linux", "browser": "b", "device": "d"},
            "intents": 513,
            "shard": [3, 16],
            "large_threshold": 250,
            "presence": {"status": "idle", "since": None, "activities": [], "afk": False},
            "capabilities": 1 << 15,
        },
    }


def test_identify_leaves_out_what_is_not_set() -> None:
    sent = payloads.identify(token="t", shard=0, shard_count=1, intents=0, options=IdentifyOptions())
    assert set(json.loads(sent)["d"]) == {"token", "properties", "intents", "shard"}


def test_the_small_ones() -> None:
    assert json.loads(payloads.heartbeat(None)) == {"op": 1, "d": None}
    assert json.loads(payloads.heartbeat(251)) == {"op": 1, "d": 251}
    assert json.loads(payloads.resume(token="t", session_id="s", sequence=7)) == {
        "op": 6,
        "d": {"token": "t", "session_id": "s", "seq": 7},
    }


def test_ready_is_read_tolerantly() -> None:
    d = {"v": 10, "session_id": "s", "guilds": [{"id": "5", "unavailable": True}, {"id": 6}], "new": {"x": []}}
    ready = payloads.read_ready(json.dumps({"op": 0, "s": 1, "t": "READY", "d": d}).encode())
    assert (ready.session_id, ready.resume_url, ready.guilds) == ("s", None, frozenset({5, 6}))
    with pytest.raises(UnreadableError):
        payloads.read_ready(b'{"op":0,"s":1,"t":"READY","d":{"guilds":[]}}')


@pytest.mark.parametrize(("d", "resumable"), [(True, True), (False, False), (None, False), (1, False), ("true", False)])
def test_only_true_is_resumable(d: object, resumable: bool) -> None:
    assert payloads.read_invalid_session(json.dumps({"op": 9, "d": d}).encode()) is resumable


def test_without_the_guilds_intent_a_session_is_settled_at_once() -> None:
    guilds = frozenset({1, 2})
    assert Guilds.after_ready(guilds, intents=1 << 9, now=5).settled(5)
    assert not Guilds.after_ready(guilds, intents=1, now=5).settled(5)


def test_a_session_is_settled_when_every_guild_of_ready_was_seen() -> None:
    ready = [9, 1 << 63, (1 << 64) - 1, 4]
    guilds = Guilds.after_ready(frozenset(ready), intents=1, now=5)
    for guild in ready[:-1]:
        guilds.created(payloads.GuildNews(guild=guild, unavailable=None))
        assert not guilds.settled(6)
    guilds.deleted(payloads.GuildNews(guild=4, unavailable=True))
    assert guilds.settled(6)
    assert guilds.count == 4, "none of them joined, and an outage is no leave"
    guilds.created(payloads.GuildNews(guild=9, unavailable=None))
    assert guilds.count == 5, "it was seen before, so this is a join"


def test_a_guild_that_never_comes_is_waited_for_only_so_long() -> None:
    guilds = Guilds.after_ready(frozenset({1, 10**20}), intents=1, now=5)
    guilds.created(payloads.GuildNews(guild=2, unavailable=None))
    assert guilds.count == 3
    assert not guilds.settled(5 + SETTLE_SECONDS - 1)
    assert guilds.settled(5 + SETTLE_SECONDS)
    guilds.created(payloads.GuildNews(guild=1, unavailable=None))
    assert guilds.count == 4
