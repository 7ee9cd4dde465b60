"""The StatefulSet of a generation."""

from __future__ import annotations

import hashlib
import json
from typing import Any

import msgspec

from gateway_operator.api.gateway import Metadata
from gateway_operator.api.generation import ANNOTATION, Generation, to_annotation
from gateway_operator.api.spec import Spec
from gateway_operator.resources.configmaps import config_map, config_map_name, runtime_config
from gateway_operator.resources.naming import (
    HANDLERS_ANNOTATION,
    REVISION_ANNOTATION,
    generation_labels,
    generation_selector,
    headless_service_name,
    object_metadata,
    statefulset_name,
)
from gateway_operator.resources.pods import GRACE_VARIABLE, STATE_VOLUME, pod_template
from gateway_operator.resources.settings import RuntimeSettings
from shard_runtime.contract import RuntimeConfig, encode


def generation_manifests(
    owner: Metadata, spec: Spec, generation: Generation, settings: RuntimeSettings, handlers: str | None = None
) -> list[dict[str, Any]]:
    """What a generation is made of, in the order to apply: its ConfigMap, then its StatefulSet.

    *handlers* is the text of what ``spec.handlers`` names. Pods get a copy of it: all of a generation have the same.
    """
    config = runtime_config(owner, spec, generation, settings)
    return [
        config_map(owner, config, handlers),
        statefulset(owner, spec, generation, config=config, image=settings.image, handlers=handlers),
    ]


def statefulset(
    owner: Metadata,
    spec: Spec,
    generation: Generation,
    *,
    config: RuntimeConfig,
    image: str,
    handlers: str | None = None,
) -> dict[str, Any]:
    """The StatefulSet; *config* and *handlers* are the content of the generation's ConfigMap.

    ``OnDelete``: the operator rolls a changed template out pod by pod, for a rollout that does not look at the sessions
    would lose events. ``Parallel``: pods do not wait for each other, the identify gate orders what must be ordered.
    Each pod carries the revision of the template that it was made of.
    """
    template = pod_template(owner, spec, generation, config=config_map_name(owner, config, handlers), image=image)
    if handlers is not None:
        digest = hashlib.sha256(handlers.encode()).hexdigest()[:10]
        template["metadata"].setdefault("annotations", {})[HANDLERS_ANNOTATION] = digest
    made_of = revision(template, config)
    template["metadata"].setdefault("annotations", {})[REVISION_ANNOTATION] = made_of
    return {
        "apiVersion": "apps/v1",
        "kind": "StatefulSet",
        "metadata": object_metadata(
            owner,
            statefulset_name(owner.name, generation.number),
            labels=generation_labels(owner.name, generation.number),
            annotations={ANNOTATION: to_annotation(generation), REVISION_ANNOTATION: made_of},
        ),
        "spec": {
            "replicas": generation.layout.pods,
            "serviceName": headless_service_name(owner.name),
            "podManagementPolicy": "Parallel",
            "updateStrategy": {"type": "OnDelete"},
            "revisionHistoryLimit": 2,
            "selector": {"matchLabels": generation_selector(owner.name, generation.number)},
            "template": template,
            **_claims(generation),
        },
    }


def _claims(generation: Generation) -> dict[str, Any]:
    """A volume for each pod, deleted with the StatefulSet: the numbers of generations are never used again."""
    if generation.storage is None:
        return {}
    claim: dict[str, Any] = {
        "accessModes": ["ReadWriteOnce"],
        "resources": {"requests": {"storage": generation.storage.size}},
    }
    if generation.storage.storage_class_name is not None:
        claim["storageClassName"] = generation.storage.storage_class_name
    return {
        "volumeClaimTemplates": [{"metadata": {"name": STATE_VOLUME}, "spec": claim}],
        "persistentVolumeClaimRetentionPolicy": {"whenDeleted": "Delete", "whenScaled": "Retain"},
    }


def revision(template: dict[str, Any], config: RuntimeConfig) -> str:
    """Hash of a pod template with its config; pods of another one are to be replaced.

    A presence is no reason: it is part of IDENTIFY, and a replaced pod resumes. Nor is how long it drains: that follows
    from the termination grace period, and an operator that says it in another way must not replace every pod.
    """
    identify = msgspec.structs.replace(config.identify, presence=None)
    plain = msgspec.structs.replace(config, identify=identify)
    volumes = [volume for volume in template["spec"]["volumes"] if volume["name"] != "config"]
    containers = [
        {**each, "env": [variable for variable in each["env"] if variable["name"] != GRACE_VARIABLE]}
        for each in template["spec"]["containers"]
    ]
    pod = {**template, "spec": {**template["spec"], "containers": containers, "volumes": volumes}}
    text = json.dumps([pod, encode(plain).decode()], sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:10]
