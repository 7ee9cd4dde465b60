"""Start-up snapshots are not joins; joins, leaves and recoveries are forwarded."""

from __future__ import annotations

import json

import pytest

from shard_runtime.handover.snapshots import StartupSnapshots


def guild(number: int, **fields: object) -> bytes:
    return json.dumps({"t": "?", "s": 1, "op": 0, "d": {"id": str(number), **fields}}).encode()


def after_ready(*guilds: int) -> StartupSnapshots:
    listed = [{"id": str(number), "unavailable": True} for number in guilds]
    ready = {"t": "READY", "s": 1, "op": 0, "d": {"session_id": "s", "guilds": listed}}
    return StartupSnapshots(json.dumps(ready).encode())


@pytest.mark.parametrize(
    ("name", "payload", "snapshot"),
    [
        ("GUILD_CREATE", guild(1, unavailable=False), True),
        ("GUILD_CREATE", guild(1, unavailable=True), True),
        ("GUILD_CREATE", guild(1), False),
        ("GUILD_DELETE", guild(1, unavailable=True), True),
        ("GUILD_DELETE", guild(1), False),
        ("GUILD_CREATE", guild(9, unavailable=False), False),
        ("GUILD_DELETE", guild(9, unavailable=True), False),
        ("GUILD_UPDATE", guild(1, unavailable=False), False),
        ("GUILD_CREATE", b"{", False),
    ],
)
def test_the_first_state_of_a_listed_guild(name: str, payload: bytes, snapshot: bool) -> None:
    assert after_ready(1, 2).is_startup_snapshot(name, payload) is snapshot


def test_only_the_first_state_is_a_snapshot() -> None:
    snapshots = after_ready(1, 2, 3)
    assert snapshots.is_startup_snapshot("GUILD_CREATE", guild(1, unavailable=False))
    assert not snapshots.is_startup_snapshot("GUILD_CREATE", guild(1, unavailable=False)), "a recovery"
    assert not snapshots.is_startup_snapshot("GUILD_DELETE", guild(1, unavailable=True)), "an outage"
    assert snapshots.is_startup_snapshot("GUILD_DELETE", guild(2, unavailable=True)), "in outage at the start"
    assert not snapshots.is_startup_snapshot("GUILD_CREATE", guild(2, unavailable=False)), "and back"
    assert not snapshots.is_startup_snapshot("GUILD_DELETE", guild(3)), "left before it was seen"
    assert not snapshots.is_startup_snapshot("GUILD_CREATE", guild(3)), "and joined again"
    assert snapshots.unseen == frozenset()


def test_ready_lists_the_guilds() -> None:
    assert after_ready(1, 2).unseen == frozenset({1, 2})
    assert StartupSnapshots(b"{").unseen == frozenset()
