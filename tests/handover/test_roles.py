"""Roles only move forward, whatever a pod sees of the record and however late."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field

from hypothesis import given, settings
from hypothesis import strategies as st

from shard_runtime.contract import Honoured, Record, Role
from shard_runtime.handover.roles import AFTER_SEAL, NEXT, Standing, named, next_role, standing

ORDER = list(Role)
HONOURED = Honoured(count=1, identify_hash="", layout_hash="")


def record(epoch: int, active: int | None, target: int | None) -> Record:
    return Record(epoch=epoch, active=active, target=target, honoured=HONOURED)


def test_the_table_is_complete_and_only_goes_forward() -> None:
    assert set(NEXT) == set(itertools.product(Role, Standing))
    assert all(ORDER.index(after) >= ORDER.index(before) for (before, _), after in NEXT.items())
    assert all(ORDER.index(after) >= ORDER.index(Role.SEALED) for after in AFTER_SEAL.values())


def test_only_an_active_record_lets_a_pod_accept() -> None:
    assert [pair for pair, after in NEXT.items() if after is Role.ACTIVE and pair[0] is not Role.ACTIVE] == [
        (Role.STANDBY, Standing.ACTIVE)
    ]


def test_a_record_from_before_the_generation_retires_nobody() -> None:
    assert next_role(Role.STANDBY, record(3, 1, None), generation=2, was_named=False) is Role.STANDBY


def test_a_target_that_is_named_no_more_retires() -> None:
    assert next_role(Role.STANDBY, record(5, 1, None), generation=2, was_named=True) is Role.RETIRED
    assert next_role(Role.STANDBY, record(6, 1, 3), generation=2, was_named=False) is Role.RETIRED


def test_a_pod_without_state_of_an_old_generation_accepts_nothing() -> None:
    assert next_role(Role.STANDBY, record(9, 3, None), generation=2, was_named=False) is Role.SEALED


def test_an_old_pod_delivers_until_it_is_asked_to_stop() -> None:
    assert next_role(Role.ACTIVE, record(9, 3, None), generation=2, was_named=True) is Role.ACTIVE
    assert AFTER_SEAL[Role.ACTIVE] is Role.SEALED


@st.composite
def histories(draw: st.DrawFn) -> list[Record]:
    """Records as an operator may write them: begin, abort, commit; numbers only grow."""
    active, target, number = 1, None, 1
    records = [record(1, active, target)]
    for epoch in range(2, draw(st.integers(2, 14))):
        if target is None:
            number += draw(st.integers(1, 2))
            target = number
        elif draw(st.booleans()):
            active, target = target, None
        else:
            target = None
        records.append(record(epoch, active, target))
    return records


@dataclass
class Pod:
    generation: int
    role: Role = Role.STANDBY
    seen: Record | None = None
    was_named: bool = False
    roles: list[Role] = field(default_factory=list)

    def see(self, found: Record) -> None:
        if self.seen is not None and found.epoch <= self.seen.epoch:
            return
        before = self.role
        self.role = next_role(self.role, found, generation=self.generation, was_named=self.was_named)
        if self.role is Role.ACTIVE and before is not Role.ACTIVE:
            assert found.active == self.generation
        self.seen = found
        self.was_named = self.was_named or named(found, generation=self.generation)
        self.roles.append(self.role)

    def lose_state(self) -> None:
        self.role, self.seen, self.was_named, self.roles = Role.STANDBY, None, False, []


@settings(max_examples=300)
@given(history=histories(), data=st.data())
def test_no_pod_goes_back_and_none_accepts_after_its_seal(history: list[Record], data: st.DataObject) -> None:
    generations = sorted({number for entry in history for number in (entry.active, entry.target) if number})
    pods = [Pod(generation) for generation in generations]
    written = 0
    sealed: set[int] = set()
    for _ in range(data.draw(st.integers(0, 40))):
        written = data.draw(st.integers(written, len(history) - 1))
        pod = data.draw(st.sampled_from(pods))
        match data.draw(st.sampled_from(["see", "see", "see", "seal", "lose"])):
            case "see":  # late, doubled, out of order: any version up to the present one
                pod.see(history[data.draw(st.integers(0, written))])
            case "seal" if (history[written].active or 0) > pod.generation:
                pod.role = AFTER_SEAL[pod.role]
                pod.roles.append(pod.role)
                sealed.add(pod.generation)
            case "lose" if history[written].active != pod.generation:
                pod.lose_state()
                # a new pod mounts the record as it is now
                pod.see(history[written])
        ranks = [ORDER.index(role) for role in pod.roles]
        assert ranks == sorted(ranks)
        if pod.generation in sealed:
            assert pod.role is not Role.ACTIVE
        if pod.role is Role.ACTIVE:
            assert any(entry.active == pod.generation for entry in history[: written + 1]), "only a commit makes active"


@given(history=histories())
def test_one_generation_at_a_time_stands_as_active(history: list[Record]) -> None:
    for entry in history:
        active = [
            generation
            for generation in range(1, 40)
            if standing(entry, generation=generation, was_named=True) is Standing.ACTIVE
        ]
        assert len(active) == 1
