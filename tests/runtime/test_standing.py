"""How records and seals move a pod's role, as a table."""

from __future__ import annotations

import msgspec
import pytest

from shard_runtime import contract
from shard_runtime.contract import Role
from shard_runtime.supervisor.standing import Standing, SupersededError, follow_record, initial_standing, seal

GENERATION = 2


def record(epoch: int, active: int | None, target: int | None = None) -> contract.Record:
    honoured = contract.Honoured(count=4, identify_hash="i", layout_hash="l")
    return contract.Record(epoch=epoch, active=active, target=target, honoured=honoured)


def fresh(uid: str = "new") -> Standing:
    return initial_standing(None, pod_uid=uid, generation=GENERATION, count=4)


def after(*records: contract.Record) -> Standing:
    standing = fresh()
    for each in records:
        standing = follow_record(standing, each)
    return standing


@pytest.mark.parametrize(
    ("records", "role"),
    [
        ([], Role.STANDBY),
        ([record(1, 2)], Role.ACTIVE),
        ([record(1, None)], Role.STANDBY),
        ([record(3, 1, target=2)], Role.STANDBY),
        ([record(3, 1, target=2), record(4, 2)], Role.ACTIVE),
        ([record(3, 1, target=2), record(4, 1)], Role.RETIRED),
        ([record(3, 1, target=2), record(4, 1, target=3)], Role.RETIRED),
        ([record(3, 1, target=2), record(6, 3)], Role.RETIRED),
        ([record(2, 1)], Role.STANDBY),
        ([record(2, 1), record(3, 1, target=2)], Role.STANDBY),
        ([record(2, 1), record(3, 1, target=2), record(4, 2)], Role.ACTIVE),
        ([record(4, 2), record(5, 2, target=3)], Role.ACTIVE),
        ([record(4, 2), record(5, 2, target=3), record(6, 3)], Role.ACTIVE),
        ([record(6, 3)], Role.SEALED),
        ([record(4, 2), record(3, 1, target=2)], Role.ACTIVE),
    ],
    ids=[
        "no record",
        "first generation",
        "nothing active yet",
        "target",
        "committed",
        "given up",
        "given up for another",
        "passed over",
        "mount older than the pod",
        "mount catches up",
        "mount catches up to the commit",
        "a successor begins",
        "an old generation goes on until it is sealed",
        "an old generation without its state accepts nothing",
        "a late record changes nothing",
    ],
)
def test_role_after_records(records: list[contract.Record], role: Role) -> None:
    assert after(*records).role is role


def test_the_record_with_the_highest_epoch_is_kept() -> None:
    assert after(record(4, 2), record(3, 1, target=2)).record == record(4, 2)


@pytest.mark.parametrize("later", [record(7, 2), record(8, 3), record(9, 2, target=4)])
def test_a_seal_is_never_broken_or_moved(later: contract.Record) -> None:
    sealed = seal(after(record(4, 2)))
    assert sealed.role is Role.SEALED
    assert seal(sealed) == sealed
    assert follow_record(sealed, later).role is Role.SEALED


def test_a_restarted_pod_keeps_its_seal() -> None:
    found = contract.decode(contract.encode(seal(after(record(4, 2)))), Standing)
    standing = initial_standing(found, pod_uid="newer", generation=GENERATION, count=4)
    assert (standing.role, standing.past_uids) == (Role.SEALED, ["new"])


def test_an_older_incarnation_must_not_run() -> None:
    newer = initial_standing(after(record(4, 2)), pod_uid="newer", generation=GENERATION, count=4)
    with pytest.raises(SupersededError):
        initial_standing(newer, pod_uid="new", generation=GENERATION, count=4)


@pytest.mark.parametrize("change", [{"generation": 1}, {"count": 8}])
def test_the_state_of_another_generation_or_count_is_not_used(change: dict[str, int]) -> None:
    found = msgspec.structs.replace(seal(after(record(4, 2))), **change)
    assert initial_standing(found, pod_uid="new", generation=GENERATION, count=4) == fresh()
