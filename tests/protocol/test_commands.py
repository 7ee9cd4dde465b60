"""Commands of a bot: what is refused before Discord would, and which shard takes the rest."""

from __future__ import annotations

import json
from typing import Any

import pytest

from shard_runtime.protocol.commands import CommandError, split

COUNT = 4
GUILD = 6 << 22  # on shard 2 of 4
OTHER = 9 << 22  # on shard 1


def only(op: int, d: Any, shard: int | None = None) -> tuple[int, Any, int | None]:
    (part,) = split(op=op, d=d, shard=shard, count=COUNT)
    sent = json.loads(part.command.payload)
    assert sent["op"] == part.command.op == op
    return part.shard, sent["d"], part.command.all_members_of


@pytest.mark.parametrize(
    ("op", "d"),
    [
        (4, {"guild_id": str(GUILD), "channel_id": None}),
        (4, {"guild_id": GUILD, "channel_id": "5", "self_mute": True, "self_deaf": False}),
        (8, {"guild_id": str(GUILD), "query": "ab", "limit": 0, "presences": True, "nonce": "n" * 32}),
        (8, {"guild_id": str(GUILD), "query": "", "limit": 1}),
        (8, {"guild_id": str(GUILD), "user_ids": "7"}),
        (8, {"guild_id": str(GUILD), "user_ids": [str(user) for user in range(1, 101)]}),
        (31, {"guild_ids": [str(GUILD)]}),
        (43, {"guild_id": str(GUILD), "fields": ["status", "voice_start_time"]}),
    ],
)
@pytest.mark.parametrize("shard", [None, 2, 3], ids=lambda shard: f"shard {shard}")
def test_the_guild_decides_which_shard_takes_a_command_and_d_goes_out_as_it_came(op: int, d: Any, shard: int) -> None:
    d = d | {"something_new": {"x": [1.5, None]}}
    assert only(op, d, shard) == (2, d, None)


def test_a_presence_goes_to_the_shard_that_is_named() -> None:
    d = {"since": None, "activities": [{"name": "ünïcode ✓", "type": 0}], "status": "idle", "afk": False}
    assert only(3, d, 3) == (3, d, None)


def test_a_request_for_all_members_is_told_from_others() -> None:
    assert only(8, {"guild_id": str(GUILD), "query": "", "limit": 0}) == (
        2,
        {"guild_id": str(GUILD), "query": "", "limit": 0},
        GUILD,
    )


def test_sounds_of_guilds_of_several_shards_are_asked_for_on_each() -> None:
    ids = [str(GUILD), str(OTHER), str(GUILD + (4 << 22)), str(GUILD)]
    parts = split(op=31, d={"guild_ids": ids, "x": 1}, shard=None, count=COUNT)
    assert [(part.shard, json.loads(part.command.payload)["d"]) for part in parts] == [
        (1, {"guild_ids": [str(OTHER)], "x": 1}),
        (2, {"guild_ids": [str(GUILD), str(GUILD + (4 << 22))], "x": 1}),
    ]


@pytest.mark.parametrize(
    ("op", "d", "shard", "sentence"),
    [
        (2, {}, 0, "op is 2; write one of 3, 4, 8, 31, 43."),
        (1, {}, 0, "op is 1; write one of 3, 4, 8, 31, 43."),
        (6, {}, 0, "op is 6; write one of 3, 4, 8, 31, 43."),
        (4, None, None, "d is missing; write an object."),
        (4, [1], None, "d is a list; write an object."),
        (3, {"status": "idle"}, None, 'op 3 names no guild: add "shard", a number from 0 to 3.'),
        (3, {"status": "idle"}, 4, "shard is 4; the generation has the shards 0 to 3."),
        (3, {"status": "idle"}, -1, "shard is -1; the generation has the shards 0 to 3."),
        (3, {}, 0, "d.status is missing; write one of online, dnd, idle, invisible, offline."),
        (3, {"status": "away"}, 0, 'd.status is "away"; write one of online, dnd, idle, invisible, offline.'),
        (3, {"status": "idle", "activities": {}}, 0, "d.activities must be a list of objects."),
        (3, {"status": "idle", "activities": ["x"]}, 0, "d.activities must be a list of objects."),
        (3, {"status": "idle", "afk": 1}, 0, "d.afk is 1; write true or false."),
        (3, {"status": "idle", "since": "now"}, 0, 'd.since is "now"; write unix milliseconds or null.'),
        (4, {"channel_id": "1"}, None, "d.guild_id is missing; write a guild's id."),
        (4, {"guild_id": "x", "channel_id": "1"}, None, 'd.guild_id is "x"; write a guild\'s id.'),
        (4, {"guild_id": "1"}, None, "d.channel_id is missing; write a channel's id, or null to leave."),
        (4, {"guild_id": "1", "channel_id": ""}, None, 'd.channel_id is ""; write a channel\'s id, or null to leave.'),
        (4, {"guild_id": "1", "channel_id": None, "self_mute": 1}, None, "d.self_mute is 1; write true or false."),
        (8, {"guild_id": ["1"], "query": "", "limit": 0}, None, "d.guild_id is a list; write a guild's id."),
        (8, {"guild_id": "1"}, None, 'd needs "query" (with "limit") or "user_ids".'),
        (8, {"guild_id": "1", "query": ""}, None, "d.limit is missing; write a number, 0 for all members."),
        (8, {"guild_id": "1", "query": "", "limit": -1}, None, "d.limit is -1; write a number, 0 for all members."),
        (8, {"guild_id": "1", "query": "", "limit": True}, None, "d.limit is true; write a number, 0 for all members."),
        (8, {"guild_id": "1", "user_ids": ["a"]}, None, "d.user_ids must be a user's id or a list of them."),
        (
            8,
            {"guild_id": "1", "user_ids": [str(user) for user in range(1, 102)]},
            None,
            "d.user_ids names 101 users; Discord takes at most 100 at once.",
        ),
        (8, {"guild_id": "1", "query": "", "limit": 0, "nonce": 5}, None, "d.nonce is 5; write text."),
        (
            8,
            {"guild_id": "1", "query": "", "limit": 0, "nonce": "é" * 17},
            None,
            "d.nonce is longer than 32 bytes; Discord would drop it.",
        ),
        (31, {"guild_ids": []}, None, "d.guild_ids must be a list of guilds' ids."),
        (31, {"guild_ids": "1"}, None, "d.guild_ids must be a list of guilds' ids."),
        (31, {"guild_ids": ["1", None]}, None, "d.guild_ids must be a list of guilds' ids."),
        (43, {"guild_id": "1"}, None, 'd.fields must be a list of names, such as ["status", "voice_start_time"].'),
        (43, {"guild_id": "1", "fields": [1]}, None, 'd.fields must be a list of names, such as ["status", '
         '"voice_start_time"].'),
    ],
)  # fmt: skip
def test_what_discord_would_not_take_is_refused_with_a_sentence(
    op: int, d: object, shard: int | None, sentence: str
) -> None:
    with pytest.raises(CommandError) as refused:
        split(op=op, d=d, shard=shard, count=COUNT)
    assert str(refused.value) == sentence


def test_the_size_is_that_of_the_payload_in_bytes() -> None:
    frame = len(f'{{"op":8,"d":{{"guild_id":"{GUILD}","query":"","limit":0,"x":""}}}}')
    d = {"guild_id": str(GUILD), "query": "", "limit": 0, "x": "é" * ((4096 - frame) // 2) + "e" * ((4096 - frame) % 2)}
    (part,) = split(op=8, d=d, shard=None, count=COUNT)
    assert len(part.command.payload) == 4096
    with pytest.raises(CommandError, match="has 4097 bytes; Discord takes at most 4096"):
        split(op=8, d=d | {"x": d["x"] + "e"}, shard=None, count=COUNT)


def test_the_size_of_a_command_that_is_split_is_that_of_each_part() -> None:
    ids = [str((1 << 60) + (number << 22)) for number in range(280)]
    assert len(json.dumps({"guild_ids": ids}).encode()) > 4096
    parts = split(op=31, d={"guild_ids": ids}, shard=None, count=2)
    assert [len(json.loads(part.command.payload)["d"]["guild_ids"]) for part in parts] == [140, 140]
    with pytest.raises(CommandError, match="Discord takes at most 4096"):
        split(op=31, d={"guild_ids": ids}, shard=None, count=1)
