"""Every write of the record: what it says afterwards. Each raises the epoch by one."""

from __future__ import annotations

import msgspec

from gateway_operator.api.generation import Generation
from gateway_operator.api.spec import Spec
from gateway_operator.planning.actions import Change, WriteRecord
from gateway_operator.planning.observed import Observation
from gateway_operator.planning.wishes import wishes
from shard_runtime.contract import Record


def create(spec: Spec, *, number: int, why: str) -> WriteRecord:
    """The record of a gateway that had none."""
    record = Record(epoch=1, active=number, target=None, honoured=wishes(spec))
    return WriteRecord(change=Change.CREATE, record=record, resource_version=None, why=why)


def honour(observation: Observation, record: Record, spec: Spec, *, why: str) -> WriteRecord:
    """The wishes of *spec* need nothing more."""
    changed = msgspec.structs.replace(record, epoch=record.epoch + 1, honoured=wishes(spec))
    return _replace(observation, Change.HONOUR, changed, why)


def begin(
    observation: Observation, record: Record, spec: Spec, *, target: int, count: int, reason: str, why: str
) -> WriteRecord:
    """Generation *target* with *count* shards is to fulfil the wishes of *spec*."""
    changed = msgspec.structs.replace(
        record,
        epoch=record.epoch + 1,
        target=target,
        target_count=count,
        target_reason=reason,
        honoured=wishes(spec),
    )
    return _replace(observation, Change.BEGIN, changed, why)


def give_up(observation: Observation, record: Record, *, why: str) -> WriteRecord:
    """The target failed. Its wishes stay honoured, so that they are not tried for ever."""
    changed = msgspec.structs.replace(_without_target(record), given_up=record.target or record.given_up)
    return _replace(observation, Change.ABORT, changed, why)


def abort(observation: Observation, record: Record, active: Generation, *, why: str) -> WriteRecord:
    """The target is not wanted any more. What the active generation was made for is honoured again, so that the
    present wishes are compared with what really runs."""
    changed = msgspec.structs.replace(_without_target(record), honoured=active.wishes)
    return _replace(observation, Change.ABORT, changed, why)


def commit(observation: Observation, record: Record, *, target: int, why: str) -> WriteRecord:
    """The target is the active generation; from here there is no way back."""
    changed = msgspec.structs.replace(_without_target(record), active=target)
    return _replace(observation, Change.COMMIT, changed, why)


def retire(observation: Observation, record: Record, *, number: int, why: str) -> WriteRecord:
    """Generation *number* and all before it are gone or may go."""
    changed = msgspec.structs.replace(record, epoch=record.epoch + 1, retired=max(record.retired, number))
    return _replace(observation, Change.RETIRE, changed, why)


def _without_target(record: Record) -> Record:
    """The next record, without a target."""
    return msgspec.structs.replace(record, epoch=record.epoch + 1, target=None, target_count=None, target_reason=None)


def _replace(observation: Observation, change: Change, record: Record, why: str) -> WriteRecord:
    if observation.record is None:
        raise ValueError("only a record that was read can be replaced")
    return WriteRecord(change=change, record=record, resource_version=observation.record.resource_version, why=why)
