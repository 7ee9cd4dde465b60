"""Whether the active generation is already what the spec asks for, and if not, why a new one is needed."""

from __future__ import annotations

from gateway_operator.api.generation import AUTOMATIC, SHARDING_REQUIRED, Claim, Generation
from gateway_operator.api.intents import intent_bits
from gateway_operator.api.spec import Spec
from gateway_operator.planning.shards import layout
from gateway_operator.planning.wishes import wishes
from shard_runtime.contract import IdentifyProperties, Predecessor


def why_new(spec: Spec, active: Generation, *, count: int) -> str | None:
    """The reason for a new generation of *count* shards; None when *active* fulfils *spec*.

    A count of 0 that resolves to what the active generation has is fulfilled, and so is 8 where 0 was resolved to 8.
    """
    wanted, made = wishes(spec), active.wishes
    if wanted.request_id not in (made.request_id, ""):
        return "Requested"
    if wanted.identify_hash != made.identify_hash:
        return "IdentifyChanged"
    if wanted.layout_hash != made.layout_hash:
        return "LayoutChanged"
    if count != active.layout.count:
        return "CountChanged"
    return None


def count_kept(spec: Spec, active: Generation) -> int | None:
    """The count that the automatic rule found, which stands until a person writes another one; None if none does."""
    return active.layout.count if active.automatic and spec.shards.count == active.wishes.count else None


def new_generation(
    spec: Spec,
    *,
    number: int,
    count: int,
    reason: str,
    predecessor: Generation | None = None,
    epoch: int = 1,
    guilds: int | None = None,
) -> Generation:
    """Generation *number* as *spec* wants it now; *guilds* are those that the bot has."""
    properties, storage = spec.identify.properties, spec.storage
    return Generation(
        number=number,
        epoch=epoch,
        layout=layout(spec, count),
        predecessor=(
            None if predecessor is None else Predecessor(generation=predecessor.number, layout=predecessor.layout)
        ),
        wishes=wishes(spec),
        reason=reason,
        automatic=reason in (AUTOMATIC, SHARDING_REQUIRED)
        or (predecessor is not None and count_kept(spec, predecessor) == count),
        guilds=guilds,
        intents=intent_bits(spec.intents),
        compression=spec.compression.value,
        properties=IdentifyProperties(os=properties.os, browser=properties.browser, device=properties.device),
        large_threshold=spec.identify.large_threshold,
        capabilities=spec.identify.capabilities,
        # a default is what the model says, an int; read back from the annotation it is a float, and another revision
        overlap_seconds=float(spec.reshard.overlap_seconds),
        storage=None if storage is None else Claim(size=storage.size, storage_class_name=storage.storage_class_name),
    )
