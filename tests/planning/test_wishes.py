"""What of a spec asks for a new generation; the hashes are pinned, for a changed one reshards every gateway."""

from __future__ import annotations

from typing import Any

import pytest
from gateway_operator.api.parse import parse_gateway
from gateway_operator.api.spec import Spec
from gateway_operator.planning.budget import FLOOR, refusal
from gateway_operator.planning.observed import DiscordInfo
from gateway_operator.planning.shards import layout, resolve_count
from gateway_operator.planning.wishes import identify_hash, layout_hash, wishes

from shard_runtime.contract import Honoured

NOW = 1_800_000_000_000


def spec(**more: Any) -> Spec:
    manifest = {
        "apiVersion": "discordgateway.dev/v1alpha1",
        "kind": "DiscordGateway",
        "metadata": {"name": "bot"},
        "spec": {
            "tokenSecretRef": {"name": "bot"},
            "intents": ["GUILDS", "GUILD_MESSAGES"],
            "forward": {"url": "http://bot/"},
            **more,
        },
    }
    return parse_gateway(manifest).spec


def discord(**more: int) -> DiscordInfo:
    values = {
        "recommended_shards": 9,
        "total": 1000,
        "remaining": 500,
        "reset_at": NOW + 1000,
        "max_concurrency": 1,
        "read_at": NOW,
        **more,
    }
    return DiscordInfo(**values)


def test_the_wishes_of_a_spec_are_pinned() -> None:
    wanted = spec(shards={"count": 8}, reshard={"requestID": "x"})
    assert wishes(wanted) == Honoured(count=8, request_id="x", identify_hash="2417e31b63ab", layout_hash="a52024d06b44")


def test_another_storage_is_another_layout() -> None:
    hashes = [
        layout_hash(spec(**more))
        for more in (
            {},
            {"storage": {"size": "1Gi"}},
            {"storage": {"size": "2Gi"}},
            {"storage": {"size": "2Gi", "storageClassName": "fast"}},
        )
    ]
    assert len(set(hashes)) == 4


def test_the_hash_of_every_identify_option_is_pinned() -> None:
    wanted = spec(
        compression="none",
        identify={
            "properties": {"os": "a", "browser": "b", "device": "c"},
            "largeThreshold": 100,
            "capabilities": 3,
            "presence": {"status": "idle"},
        },
    )
    assert identify_hash(wanted) == "74a5661bdbd4"


@pytest.mark.parametrize(
    "change",
    [
        {"intents": ["GUILD_MESSAGES", "GUILDS"]},
        {"identify": {"presence": {"status": "idle"}}},
        {"identify": {"gateURL": "http://gate"}},
        {"apiURL": "http://proxy"},
        {"gatewayURL": "ws://proxy"},
        {"template": {"image": "x"}},
        {"forward": {"url": "http://other/"}},
        {"paused": True},
        {"reshard": {"stallSeconds": 60}},
    ],
    ids=str,
)
def test_what_needs_no_new_generation(change: dict[str, Any]) -> None:
    assert wishes(spec(**change)) == wishes(spec())


@pytest.mark.parametrize(
    "change",
    [
        {"intents": ["GUILDS"]},
        {"compression": "none"},
        {"identify": {"properties": {"browser": "x"}}},
        {"identify": {"largeThreshold": 50}},
        {"identify": {"capabilities": 0}},
        {"shards": {"count": 4}},
        {"shards": {"perWorker": 5}},
        {"shards": {"workersPerPod": 5}},
        {"shards": {"count": 4, "first": 1}},
        {"reshard": {"requestID": "x"}},
    ],
    ids=str,
)
def test_what_needs_a_new_generation(change: dict[str, Any]) -> None:
    assert wishes(spec(**change)) != wishes(spec())


def test_a_part_of_the_shards_has_another_layout() -> None:
    part = spec(shards={"count": 16, "first": 4, "last": 7})
    assert layout_hash(part) != layout_hash(spec())
    assert list(layout(part, 16).shards) == [4, 5, 6, 7]


@pytest.mark.parametrize(
    ("count", "recommended", "concurrency", "expected"),
    [(0, 9, 1, 9), (0, 0, 1, 1), (12, 9, 1, 12), (0, 130, 16, 144), (0, 99, 16, 99), (130, 200, 16, 130)],
    ids=["recommended", "never none", "written", "large bots round up", "small ones do not", "written stands"],
)
def test_the_count_of_a_generation(count: int, recommended: int, concurrency: int, expected: int) -> None:
    known = discord(recommended_shards=recommended, max_concurrency=concurrency)
    assert resolve_count(spec(shards={"count": count}), known) == expected


def test_the_budget_leaves_the_reserve() -> None:
    assert refusal(discord(remaining=116), shards=16, reserve=100, now=NOW) is None
    short = refusal(discord(remaining=115), shards=16, reserve=100, now=NOW)
    assert short is not None
    assert short.message == (
        "16 session starts and a reserve of 100 are needed, 115 of 1000 remain until 2027-01-15T08:00:01Z."
    )
    assert refusal(discord(remaining=8 + FLOOR), shards=8, reserve=FLOOR, now=NOW) is None


def test_the_budget_leaves_what_nothing_may_use() -> None:
    """Else a generation would begin that can never be READY, since the gate gives no permit for its last shards."""
    assert refusal(discord(remaining=8 + FLOOR), shards=8, reserve=0, now=NOW) is None
    short = refusal(discord(remaining=7 + FLOOR), shards=8, reserve=0, now=NOW)
    assert short is not None
    assert short.message.startswith(f"8 session starts and a reserve of {FLOOR} are needed, 12 of 1000 remain")


def test_an_old_reading_of_the_budget_decides_nothing() -> None:
    old = refusal(discord(read_at=NOW - 31_000), shards=1, reserve=0, now=NOW)
    reset = refusal(discord(remaining=0, reset_at=NOW - 1, read_at=NOW - 10_000), shards=1, reserve=0, now=NOW)
    assert old is not None and old.refresh
    assert reset is not None and reset.refresh
