"""What of a spec needs a new generation, as the record keeps it: count, request, and two hashes.

A generation is begun when these differ from what the record says was last honoured; so an unchanged spec asks for
nothing, whatever became of the last attempt. The hashes are over values, not over the spec's text: a field that gains
a default in a later version of the operator does not begin a generation (golden tests pin them).
"""

from __future__ import annotations

import hashlib
import json
from typing import Final

from gateway_operator.api.intents import intent_bits
from gateway_operator.api.spec import Spec
from shard_runtime.contract import Honoured

DIGITS: Final = 12


def wishes(spec: Spec) -> Honoured:
    """What *spec* asks of its generation."""
    return Honoured(
        count=spec.shards.count,
        request_id=spec.reshard.request_id,
        identify_hash=identify_hash(spec),
        layout_hash=layout_hash(spec),
    )


def identify_hash(spec: Spec) -> str:
    """Hash of the options that a session cannot change once it is started (presence it can)."""
    identify = spec.identify
    return _hash(
        {
            "intents": intent_bits(spec.intents),
            "compression": spec.compression.value,
            "os": identify.properties.os,
            "browser": identify.properties.browser,
            "device": identify.properties.device,
            "largeThreshold": identify.large_threshold,
            "capabilities": identify.capabilities,
        }
    )


def layout_hash(spec: Spec) -> str:
    """Hash of how shards lie over pods and workers, without their count, and of the pods' volumes."""
    shards, storage = spec.shards, spec.storage
    return _hash(
        {
            "first": shards.first,
            "last": shards.last,
            "perWorker": shards.per_worker,
            "workersPerPod": shards.workers_per_pod,
            "storage": None if storage is None else storage.size,
            "storageClassName": None if storage is None else storage.storage_class_name,
        }
    )


def _hash(values: dict[str, int | str | None]) -> str:
    # A value that is absent is left out, so that an option added later does not change the hash where it is not used.
    present = {name: value for name, value in values.items() if value is not None}
    text = json.dumps(present, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:DIGITS]
