"""Bugs of the operator: what it writes into the record, and when."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

import msgspec
from gateway_operator.cluster.processes.objects import ObjectStore
from gateway_operator.planning import decide, reshard, towards_commit, writes
from system.bugs.planting import Change, Planted
from system.cluster import is_record

from shard_runtime import contract


def _without(requirement: str, table: str = "BEFORE_COMMIT") -> Callable[[], Iterable[Change]]:
    """Without one of the requirements of an irreversible act."""

    def changes() -> Iterable[Change]:
        rest = tuple(each for each in getattr(reshard, table) if each.unmet.__name__ != requirement)
        assert len(rest) < len(getattr(reshard, table)), requirement
        for module in (reshard, towards_commit, decide):
            if hasattr(module, table):
                yield module, table, rest

    return changes


def _late_commit() -> Iterable[Change]:
    kept = ObjectStore.replace

    def blind(self: ObjectStore, manifest: dict[str, Any]) -> dict[str, Any]:
        present = self._objects.get((manifest["kind"], manifest["metadata"]["namespace"], manifest["metadata"]["name"]))
        if present is not None and is_record(manifest):
            version = present["metadata"]["resourceVersion"]
            manifest = {**manifest, "metadata": {**manifest["metadata"], "resourceVersion": version}}
        return kept(self, manifest)

    yield ObjectStore, "replace", blind


def _same_epoch() -> Iterable[Change]:
    kept = writes._without_target

    def without(record: contract.Record) -> contract.Record:
        return msgspec.structs.replace(kept(record), epoch=record.epoch)

    yield writes, "_without_target", without


BUGS: Final[Mapping[str, Planted]] = {
    "commit without rehearsal": Planted(
        what="The operator commits although no pod of the target has rehearsed.",
        breaks="rehearsal",
        seeds=(95, 108, 164, 209),
        changes=_without("_rehearsed"),
    ),
    "retired before it is handed over": Planted(
        what="The operator deletes the old generation although the new one has not taken over from it.",
        breaks="one active generation",
        seeds=(71, 77, 88, 64),
        changes=_without("_handed_over", "BEFORE_RETIREMENT"),
    ),
    "late commit of a stale operator": Planted(
        what="The record is written whatever its version is.",
        breaks="one truth",
        seeds=(101, 121, 245, 111),
        changes=_late_commit,
    ),
    "commit and abort keep the epoch": Planted(
        what="A commit or an abort does not raise the epoch.",
        breaks="one truth",
        seeds=(1, 3, 2, 4),
        changes=_same_epoch,
    ),
}
