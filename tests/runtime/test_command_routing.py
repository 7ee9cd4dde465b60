"""Which pod a command goes to, by what the pod that got it is and knows."""

from __future__ import annotations

from typing import Any

import pytest
from runtime.configuration import configuration
from runtime.stage import record

from shard_runtime import contract
from shard_runtime.commands import MOST_HOPS, NoGenerationError, Split, UndecidedError, Whole, route
from shard_runtime.contract import Role, ShardLayout
from shard_runtime.protocol.commands import CommandError

LAYOUT = ShardLayout(count=8, first=0, last=7, per_worker=2, workers_per_pod=1)  # 4 pods of 2 shards
OLD_LAYOUT = ShardLayout(count=4, first=0, last=3, per_worker=1, workers_per_pod=1)
OWN = 5


def config(**more: Any) -> contract.RuntimeConfig:
    return configuration(**{"generation": OWN, "layout": LAYOUT, **more})


def guild(shard: int) -> str:
    return str(shard << 22)


def command(*shards: int, op: int = 4, **more: Any) -> contract.CommandRequest:
    if op == 31:
        return contract.CommandRequest(op=31, d={"guild_ids": [guild(shard) for shard in shards]}, **more)
    return contract.CommandRequest(op=4, d={"guild_id": guild(shards[0]), "channel_id": None}, **more)


def shards_of(way: Whole | Split) -> tuple[list[int], dict[int, list[int]]]:
    assert isinstance(way, Split)
    return [part.shard for part in way.here], {
        pod: [part.shard for part in parts] for pod, parts in way.elsewhere.items()
    }


def test_the_active_generation_sends_itself_and_over_its_siblings() -> None:
    known = {"config": config(), "pod": 1, "role": Role.ACTIVE, "record": record(1, active=OWN)}
    assert shards_of(route(command(2), **known)) == ([2], {})
    assert shards_of(route(command(7), **known)) == ([], {3: [7]})
    assert shards_of(route(command(1, 2, 3, 6, 7, op=31), **known)) == ([2, 3], {0: [1], 3: [6, 7]})


@pytest.mark.parametrize("role", list(Role))
def test_another_generation_passes_the_command_on_whole_whatever_it_is_itself(role: Role) -> None:
    active = record(3, active=OWN + 1)
    assert route(command(7), config=config(), pod=1, role=role, record=active) == Whole(generation=OWN + 1, pod=0)


def test_a_target_knows_the_layout_of_the_generation_before_it() -> None:
    predecessor = contract.Predecessor(generation=OWN - 1, layout=OLD_LAYOUT)
    known = {"config": config(predecessor=predecessor), "pod": 1, "role": Role.STANDBY}
    begun = record(3, active=OWN - 1, target=OWN)
    assert route(command(7), record=begun, **known) == Whole(generation=OWN - 1, pod=3)
    with pytest.raises(CommandError, match="op 3 names no guild"):
        route(contract.CommandRequest(op=3, d={"status": "idle"}), record=begun, **known)
    older = record(3, active=OWN - 2, target=OWN)
    assert route(command(7), record=older, **known) == Whole(generation=OWN - 2, pod=0)


@pytest.mark.parametrize("role", [Role.SEALED, Role.RETIRED])
def test_a_pod_that_was_sealed_before_its_record_changed_asks_the_target(role: Role) -> None:
    known = {"config": config(), "pod": 1, "role": role}
    assert route(command(7), record=record(2, active=OWN, target=OWN + 1), **known) == Whole(generation=OWN + 1, pod=0)
    with pytest.raises(UndecidedError, match=f"This pod is {role}"):
        route(command(7), record=record(2, active=OWN), **known)


@pytest.mark.parametrize("known", [None, record(1, active=None, target=OWN)])
def test_nothing_is_sent_while_no_generation_is_active(known: contract.Record | None) -> None:
    with pytest.raises(NoGenerationError, match="No generation is active yet"):
        route(command(7), config=config(), pod=1, role=Role.STANDBY, record=known)


def test_a_command_does_not_go_round_for_ever() -> None:
    known = {"config": config(), "pod": 1, "role": Role.SEALED, "record": record(2, active=OWN + 1)}
    route(command(7, hops=MOST_HOPS), **known)
    with pytest.raises(UndecidedError, match="do not agree"):
        route(command(7, hops=MOST_HOPS + 1), **known)


def test_a_shard_that_another_gateway_holds_is_refused() -> None:
    part = ShardLayout(count=8, first=2, last=5, per_worker=2, workers_per_pod=1)
    known = {"config": config(layout=part), "pod": 0, "role": Role.ACTIVE, "record": record(1, active=OWN)}
    assert shards_of(route(command(5), **known)) == ([], {1: [5]})
    with pytest.raises(CommandError, match="Shard 6 is not one of this gateway, which has the shards 2 to 5"):
        route(command(6), **known)
