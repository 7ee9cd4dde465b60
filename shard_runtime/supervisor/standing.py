"""What a pod has promised, as it stands on disk: its role, the record it follows, and which incarnation it is.

How records and seals move the role is the role machine's business (``shard_runtime.handover.roles``). Here is what
surrounds it: the latest record is kept, since a mount may lag behind a push for a minute and a restart come in between;
and incarnations are told apart by the pod's UID, since two pods of one name must not hold the same sessions. Pure.
"""

from __future__ import annotations

from typing import Final

import msgspec

from shard_runtime import contract
from shard_runtime.contract import Role
from shard_runtime.handover import roles

PAST_UIDS_KEPT: Final = 32


class Standing(contract.Wire, frozen=True, kw_only=True):
    """``role.json``, fsynced before anything that it says is told to anyone."""

    pod_uid: str = msgspec.field(name="podUID")
    past_uids: list[str] = msgspec.field(name="pastUIDs", default=[])
    """Earlier incarnations that had this folder, oldest first; none of them may run any more."""
    generation: int
    count: int
    role: Role = Role.STANDBY
    named: bool = False
    """A record has named this generation, as active or as target."""
    record: contract.Record | None = None
    """The record with the highest epoch seen."""

    @property
    def epoch(self) -> int:
        return 0 if self.record is None else self.record.epoch

    @property
    def sealed(self) -> bool:
        """Whether the pod accepts nothing, whatever comes."""
        return self.role in (Role.SEALED, Role.RETIRED)


class SupersededError(Exception):
    """A newer incarnation of this pod has its state; this one must not hold sessions any more."""


def initial_standing(found: Standing | None, *, pod_uid: str, generation: int, count: int) -> Standing:
    """The standing of a pod that starts with *found* in its folder.

    State of another generation or shard count is worth nothing. Raises :class:`SupersededError` when a newer
    incarnation has written it.
    """
    if found is None or found.generation != generation or found.count != count:
        return Standing(pod_uid=pod_uid, generation=generation, count=count)
    if pod_uid in found.past_uids:
        raise SupersededError(f"Pod {found.pod_uid} has taken over the state of pod {pod_uid}.")
    if found.pod_uid == pod_uid:
        return found
    past = [*found.past_uids, found.pod_uid][-PAST_UIDS_KEPT:]
    return msgspec.structs.replace(found, pod_uid=pod_uid, past_uids=past)


def follow_record(standing: Standing, record: contract.Record) -> Standing:
    """*standing* after *record*; unchanged by a record that is not later than the one it has."""
    if standing.record is not None and record.epoch <= standing.record.epoch:
        return standing
    generation = standing.generation
    role = roles.next_role(standing.role, record, generation=generation, was_named=standing.named)
    named = standing.named or roles.named(record, generation=generation)
    return msgspec.structs.replace(standing, record=record, role=role, named=named)


def seal(standing: Standing) -> Standing:
    """*standing* of a pod that accepts nothing any more."""
    return msgspec.structs.replace(standing, role=roles.AFTER_SEAL[standing.role])
