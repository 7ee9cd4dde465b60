"""The three ConfigMaps: what is fixed (immutable, named by its hash), how to deliver (mutable), the record."""

from __future__ import annotations

import hashlib
import json
from typing import Any

from gateway_operator.api.gateway import Metadata
from gateway_operator.api.generation import Generation
from gateway_operator.api.spec import Spec
from gateway_operator.resources.naming import (
    config_name,
    forward_name,
    gateway_labels,
    generation_labels,
    headless_service_name,
    object_metadata,
    record_name,
)
from gateway_operator.resources.settings import RuntimeSettings
from shard_runtime.contract import (
    RUNTIME_PORT,
    EventFilter,
    ForwardConfig,
    IdentifyOptions,
    QueueBounds,
    Record,
    RuntimeConfig,
    encode,
)


def pod_url(owner: Metadata) -> str:
    """Pattern of a pod's URL by its name under the headless Service."""
    host = f"{owner.name}-g{{generation}}-{{pod}}.{headless_service_name(owner.name)}.{owner.namespace}.svc"
    return f"http://{host}:{RUNTIME_PORT}"


def runtime_config(owner: Metadata, spec: Spec, generation: Generation, settings: RuntimeSettings) -> RuntimeConfig:
    """``config.json`` of a generation: its own options, and from the spec what may roll pod by pod."""
    presence = spec.identify.presence
    return RuntimeConfig(
        namespace=owner.namespace,
        gateway=owner.name,
        generation=generation.number,
        layout=generation.layout,
        predecessor=generation.predecessor,
        api_url=spec.api_url,
        gateway_url=spec.gateway_url,
        intents=generation.intents,
        compression=generation.compression,
        identify=IdentifyOptions(
            properties=generation.properties,
            large_threshold=generation.large_threshold,
            presence=None if presence is None else json.loads(_canonical(presence)),
            capabilities=generation.capabilities,
        ),
        operator_url=settings.operator_url,
        pod_url=settings.pod_url or pod_url(owner),
        overlap_seconds=generation.overlap_seconds,
    )


def config_map(owner: Metadata, config: RuntimeConfig, handlers: str | None = None) -> dict[str, Any]:
    """The immutable ConfigMap of a generation, with the source of its handlers; another content has another name."""
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": object_metadata(
            owner, config_map_name(owner, config, handlers), labels=generation_labels(owner.name, config.generation)
        ),
        "immutable": True,
        "data": {
            "config.json": encode(config).decode(),
            **({} if handlers is None else {"handlers.py": handlers}),
        },
    }


def config_map_name(owner: Metadata, config: RuntimeConfig, handlers: str | None = None) -> str:
    """Name of the ConfigMap with that content."""
    content = encode(config) + (b"" if handlers is None else b"\n" + handlers.encode())
    return config_name(owner.name, hashlib.sha256(content).hexdigest()[:10])


def forward_config(spec: Spec) -> ForwardConfig:
    """``forward.json`` of a gateway."""
    forward = spec.forward
    return ForwardConfig(
        url=forward.url,
        ca_bundle=forward.ca_bundle,
        format=forward.format.value,
        timeout_seconds=forward.timeout_seconds,
        max_batch_events=forward.max_batch_events,
        max_batch_bytes=forward.max_batch_bytes,
        max_delay_milliseconds=forward.max_delay_milliseconds,
        lanes=forward.lanes,
        ordering=forward.ordering.value,
        events=EventFilter(include=list(forward.events.include), exclude=list(forward.events.exclude)),
        queue=QueueBounds(
            max_events=forward.queue.max_events,
            max_bytes=forward.queue.max_bytes,
            max_age_seconds=forward.queue.max_age_seconds,
            overflow=forward.queue.overflow.value,
        ),
    )


def forward_config_map(owner: Metadata, spec: Spec) -> dict[str, Any]:
    """The mutable ConfigMap ``<name>-forward``."""
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": object_metadata(owner, forward_name(owner.name), labels=gateway_labels(owner.name)),
        "data": {"forward.json": encode(forward_config(spec)).decode()},
    }


def record_config_map(owner: Metadata, record: Record, *, resource_version: str | None) -> dict[str, Any]:
    """The ConfigMap ``<name>-active``: to be created, or to replace exactly the version that was read."""
    metadata = object_metadata(owner, record_name(owner.name), labels=gateway_labels(owner.name))
    if resource_version is not None:
        metadata["resourceVersion"] = resource_version
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": metadata,
        "data": {"record.json": encode(record).decode()},
    }


def _canonical(value: object) -> str:
    return json.dumps(value, sort_keys=True, separators=(",", ":"))
