"""The StatefulSet of a generation."""

from __future__ import annotations

import hashlib
import json
from typing import Any

from gateway_operator.api.gateway import Metadata
from gateway_operator.api.generation import ANNOTATION, Generation, to_annotation
from gateway_operator.api.spec import Spec
from gateway_operator.resources.configmaps import config_map, runtime_config
from gateway_operator.resources.naming import (
    REVISION_ANNOTATION,
    generation_labels,
    generation_selector,
    headless_service_name,
    object_metadata,
    statefulset_name,
)
from gateway_operator.resources.pods import pod_template
from gateway_operator.resources.settings import RuntimeSettings


def generation_manifests(
    owner: Metadata, spec: Spec, generation: Generation, settings: RuntimeSettings
) -> list[dict[str, Any]]:
    """What a generation is made of, in the order to apply: its ConfigMap, then its StatefulSet."""
    config = config_map(owner, runtime_config(owner, spec, generation, settings))
    return [config, statefulset(owner, spec, generation, config=config["metadata"]["name"], image=settings.image)]


def statefulset(owner: Metadata, spec: Spec, generation: Generation, *, config: str, image: str) -> dict[str, Any]:
    """The StatefulSet; *config* is the name of the generation's ConfigMap.

    ``OnDelete``: pods get a changed template when they next restart, for a rollout that does not look at the sessions
    would lose events. ``Parallel``: pods do not wait for each other, the identify gate orders what must be ordered.
    """
    template = pod_template(owner, spec, generation.number, config=config, image=image)
    return {
        "apiVersion": "apps/v1",
        "kind": "StatefulSet",
        "metadata": object_metadata(
            owner,
            statefulset_name(owner.name, generation.number),
            labels=generation_labels(owner.name, generation.number),
            annotations={ANNOTATION: to_annotation(generation), REVISION_ANNOTATION: revision(template)},
        ),
        "spec": {
            "replicas": generation.layout.pods,
            "serviceName": headless_service_name(owner.name),
            "podManagementPolicy": "Parallel",
            "updateStrategy": {"type": "OnDelete"},
            "revisionHistoryLimit": 2,
            "selector": {"matchLabels": generation_selector(owner.name, generation.number)},
            "template": template,
        },
    }


def revision(template: dict[str, Any]) -> str:
    """Hash of a pod template; pods that run another one have not restarted since it changed."""
    text = json.dumps(template, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:10]
