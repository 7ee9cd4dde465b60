"""What a pod may do, from the role it persisted and what it has seen of the record.

Theory of operation. The record is the one truth about generations, but a pod sees it late (a mount lags by up to 75 s),
may see old versions after new ones, and may skip versions. So a pod reads it as evidence and moves only forward:

    STANDBY -> ACTIVE -> SEALED -> RETIRED        (and from any of them straight to a later one)

- Only a record that names the generation active makes it ACTIVE. A pod that is sealed or retired never is again.
- The record never seals a pod that delivers: an old pod goes on until a pod of the new generation asks it to stop.
  Otherwise nobody would deliver between the commit and the seal.
- A target is given up when a record has named it and a later one does not, or when a later number has appeared
  (numbers are never used twice). A record that is merely too old to know the generation proves nothing: a pod may start
  before its mount has caught up with the write that began it.
- A pod without a state of its own that finds a later generation active may have been active, and sealed, before it lost
  its state. It accepts nothing and says that it knows nothing (SEALED, without windows).

Of two records the one with the higher epoch counts; the caller never passes an earlier one after it.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from typing import Final

from shard_runtime.contract import Record, Role


class Standing(enum.Enum):
    """What a record says about a generation."""

    ACTIVE = "active"
    TARGET = "target"
    GIVEN_UP = "given up"
    """Named before, or a later generation exists, and not named now."""
    OVERTAKEN = "overtaken"
    """A later generation is active, and no record is remembered that named this one: the state was lost."""
    UNKNOWN = "unknown"
    """No record, or one from before the generation."""


NEXT: Final[Mapping[tuple[Role, Standing], Role]] = {
    (Role.STANDBY, Standing.ACTIVE): Role.ACTIVE,
    (Role.STANDBY, Standing.TARGET): Role.STANDBY,
    (Role.STANDBY, Standing.GIVEN_UP): Role.RETIRED,
    (Role.STANDBY, Standing.OVERTAKEN): Role.SEALED,
    (Role.STANDBY, Standing.UNKNOWN): Role.STANDBY,
    # sealed by a pod of the new generation, never by the record
    (Role.ACTIVE, Standing.ACTIVE): Role.ACTIVE,
    (Role.ACTIVE, Standing.TARGET): Role.ACTIVE,
    (Role.ACTIVE, Standing.GIVEN_UP): Role.ACTIVE,
    (Role.ACTIVE, Standing.OVERTAKEN): Role.ACTIVE,
    (Role.ACTIVE, Standing.UNKNOWN): Role.ACTIVE,
    # a seal is a promise, whatever a record says
    (Role.SEALED, Standing.ACTIVE): Role.SEALED,
    (Role.SEALED, Standing.TARGET): Role.SEALED,
    (Role.SEALED, Standing.GIVEN_UP): Role.SEALED,
    (Role.SEALED, Standing.OVERTAKEN): Role.SEALED,
    (Role.SEALED, Standing.UNKNOWN): Role.SEALED,
    (Role.RETIRED, Standing.ACTIVE): Role.RETIRED,
    (Role.RETIRED, Standing.TARGET): Role.RETIRED,
    (Role.RETIRED, Standing.GIVEN_UP): Role.RETIRED,
    (Role.RETIRED, Standing.OVERTAKEN): Role.RETIRED,
    (Role.RETIRED, Standing.UNKNOWN): Role.RETIRED,
}

AFTER_SEAL: Final[Mapping[Role, Role]] = {
    Role.STANDBY: Role.SEALED,  # it never accepted anything, and never will
    Role.ACTIVE: Role.SEALED,
    Role.SEALED: Role.SEALED,
    Role.RETIRED: Role.RETIRED,
}
"""The role once a pod of a later generation has asked for a seal."""


def named(record: Record | None, *, generation: int) -> bool:
    """Whether *record* names *generation*, as active or as target."""
    return record is not None and generation in (record.active, record.target)


def standing(record: Record | None, *, generation: int, was_named: bool) -> Standing:
    """What *record* says about *generation*; *was_named*: an earlier record that is remembered named it."""
    if record is None:
        return Standing.UNKNOWN
    if record.active == generation:
        return Standing.ACTIVE
    if record.target == generation:
        return Standing.TARGET
    if was_named:
        return Standing.GIVEN_UP
    if record.active is not None and record.active > generation:
        return Standing.OVERTAKEN
    if record.target is not None and record.target > generation:
        return Standing.GIVEN_UP
    return Standing.UNKNOWN


def next_role(role: Role, record: Record | None, *, generation: int, was_named: bool) -> Role:
    """The role of a pod of *generation* after seeing *record*."""
    return NEXT[role, standing(record, generation=generation, was_named=was_named)]
