"""The pod template of a generation: restricted, non-root, without a service-account token."""

from __future__ import annotations

from typing import Any, Final

from gateway_operator.api.gateway import Metadata
from gateway_operator.api.generation import Generation
from gateway_operator.api.spec import Spec
from gateway_operator.api.template import Template
from gateway_operator.resources.naming import (
    auth_name,
    forward_name,
    generation_labels,
    generation_selector,
    record_name,
)
from shard_runtime.contract import RUNTIME_PORT

UID: Final = 65532
CONFIG_DIR: Final = "/etc/discord-gateway"
STATE_DIR: Final = "/var/lib/discord-gateway"
STATE_VOLUME: Final = "state"

# A pod of 100 idle shards was measured well below this; a limit on CPU would only throttle heartbeats.
DEFAULT_RESOURCES: Final[dict[str, Any]] = {
    "requests": {"cpu": "100m", "memory": "128Mi"},
    "limits": {"memory": "1Gi"},
}

GRACE_VARIABLE: Final = "DISCORD_GATEWAY_GRACE_SECONDS"
STOP_SECONDS: Final = 8
"""Of a pod's termination grace period: to close connections, write what is left and hand over the sessions."""
USUAL_DRAIN_SECONDS: Final = 25
"""What the runtime takes where it is told nothing. A pod that drains is away from Discord, so it drains longer only
where a longer period than the default one is asked for."""

DEFAULT_SPREAD: Final[list[dict[str, Any]]] = [
    {"maxSkew": 1, "topologyKey": key, "whenUnsatisfiable": "ScheduleAnyway"}
    for key in ("topology.kubernetes.io/zone", "kubernetes.io/hostname")
]
"""A node or a zone that is lost takes as few shards of a generation along as may be."""


def pod_template(owner: Metadata, spec: Spec, fixed: Generation, *, config: str, image: str) -> dict[str, Any]:
    """The template of the generation *fixed*; *config* is the name of its ConfigMap."""
    template, generation = spec.template, fixed.number
    pod: dict[str, Any] = {
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "terminationGracePeriodSeconds": template.termination_grace_period_seconds,
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": UID,
            "runAsGroup": UID,
            "fsGroup": UID,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "containers": [_container(spec, image)],
        "volumes": [*_volumes(owner, spec, fixed, config), *(volume.manifest() for volume in template.volumes)],
    }
    if template.service_account_name is not None:
        pod["serviceAccountName"] = template.service_account_name
    if template.runtime_class_name is not None:
        pod["runtimeClassName"] = template.runtime_class_name
    if template.image_pull_secrets:
        pod["imagePullSecrets"] = [secret.manifest() for secret in template.image_pull_secrets]
    if template.node_selector:
        pod["nodeSelector"] = dict(template.node_selector)
    if template.tolerations:
        pod["tolerations"] = [toleration.manifest() for toleration in template.tolerations]
    if template.affinity is not None:
        pod["affinity"] = dict(template.affinity)
    selector = {"matchLabels": generation_selector(owner.name, generation)}
    pod["topologySpreadConstraints"] = [
        {"labelSelector": selector, **constraint}
        for constraint in template.topology_spread_constraints or DEFAULT_SPREAD
    ]
    if template.priority_class_name is not None:
        pod["priorityClassName"] = template.priority_class_name
    metadata: dict[str, Any] = {"labels": {**template.labels, **generation_labels(owner.name, generation)}}
    if template.annotations:
        metadata["annotations"] = dict(template.annotations)
    return {"metadata": metadata, "spec": pod}


def _container(spec: Spec, image: str) -> dict[str, Any]:
    template = spec.template
    container: dict[str, Any] = {
        "name": "gateway",
        "image": template.image or image,
        "command": ["python", "-m", "shard_runtime"],
        "env": [
            {
                "name": "POD_INDEX",
                "valueFrom": {"fieldRef": {"fieldPath": "metadata.labels['apps.kubernetes.io/pod-index']"}},
            },
            {"name": "POD_UID", "valueFrom": {"fieldRef": {"fieldPath": "metadata.uid"}}},
            *_drain(template.termination_grace_period_seconds),
            *(variable.manifest() for variable in template.env),
        ],
        "ports": [{"name": "http", "containerPort": RUNTIME_PORT, "protocol": "TCP"}],
        # Readiness waits for all shards, which wait for identify permits; only a process that hangs is restarted.
        "startupProbe": {**_probe("/livez"), "periodSeconds": 1, "failureThreshold": 120},
        "livenessProbe": {**_probe("/livez"), "periodSeconds": 10, "failureThreshold": 6},
        "readinessProbe": {**_probe("/readyz"), "periodSeconds": 2, "failureThreshold": 3},
        "resources": template.resources.manifest() if template.resources is not None else DEFAULT_RESOURCES,
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        },
        "volumeMounts": [
            *(
                {"name": name, "mountPath": f"{CONFIG_DIR}/{name}", "readOnly": True}
                for name in ("config", "record", "forward", "token", "auth", *_optional_mounts(spec))
            ),
            {"name": STATE_VOLUME, "mountPath": STATE_DIR},
            {"name": "tmp", "mountPath": "/tmp"},
            *(mount.manifest() for mount in template.volume_mounts),
        ],
    }
    if template.env_from:
        container["envFrom"] = [dict(source) for source in template.env_from]
    if template.image_pull_policy is not None:
        container["imagePullPolicy"] = template.image_pull_policy.value
    return container


def _drain(period: int) -> list[dict[str, Any]]:
    """How long a stopping pod may deliver, so that it is done before the kubelet kills it after *period*."""
    room = max(0, period - STOP_SECONDS)
    default = Template.model_fields["termination_grace_period_seconds"].default
    seconds = room if period > default else min(room, USUAL_DRAIN_SECONDS)
    return [] if seconds == USUAL_DRAIN_SECONDS else [{"name": GRACE_VARIABLE, "value": str(seconds)}]


def _optional_mounts(spec: Spec) -> list[str]:
    return ["signing"] if spec.forward.signing_secret_ref is not None else []


def _probe(path: str) -> dict[str, Any]:
    return {"httpGet": {"path": path, "port": "http"}, "timeoutSeconds": 5}


def _volumes(owner: Metadata, spec: Spec, fixed: Generation, config: str) -> list[dict[str, Any]]:
    token, signing = spec.token_secret_ref, spec.forward.signing_secret_ref
    return [
        {"name": "config", "configMap": {"name": config}},
        {"name": "record", "configMap": {"name": record_name(owner.name), "optional": True}},
        {"name": "forward", "configMap": {"name": forward_name(owner.name)}},
        _one_key("token", token.name, token.key, path="token"),
        *([] if signing is None else [_one_key("signing", signing.name, signing.key, path="secret")]),
        {"name": "auth", "secret": {"secretName": auth_name(owner.name), "defaultMode": 0o440}},
        *([{"name": STATE_VOLUME, "emptyDir": {}}] if fixed.storage is None else []),  # else the StatefulSet adds it
        {"name": "tmp", "emptyDir": {}},
    ]


def _one_key(volume: str, secret: str, key: str, *, path: str) -> dict[str, Any]:
    return {
        "name": volume,
        "secret": {"secretName": secret, "items": [{"key": key, "path": path}], "defaultMode": 0o440},
    }
