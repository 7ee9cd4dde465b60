"""The configuration of a pod of which a test needs no more than that it is valid."""

from __future__ import annotations

from typing import Any

from shard_runtime import contract


def configuration(**more: Any) -> contract.RuntimeConfig:
    """Generation 1 of one shard, but for *more*."""
    fixed = {
        "namespace": "default",
        "gateway": "bot",
        "generation": 1,
        "layout": contract.ShardLayout(count=1, first=0, last=0),
        "api_url": "http://api",
        "intents": 1,
        "operator_url": "http://operator",
        "pod_url": "http://pod-{generation}-{pod}",
    }
    return contract.RuntimeConfig(**{**fixed, **more})
