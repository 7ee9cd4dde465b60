"""The pod that makes a node pull an image before a pod there is replaced.

It is bound to the node, so no scheduler looks at it and no queue holds it; it runs nothing, mounts nothing, and ends at
once. None of the labels by which Services, disruption budgets, StatefulSets and policies of the gateway find its pods
is on it.
"""

from __future__ import annotations

import hashlib
from typing import Any, Final

from gateway_operator.api.gateway import Metadata
from gateway_operator.api.spec import Spec
from gateway_operator.resources.naming import MANAGED_BY, object_metadata
from gateway_operator.resources.pods import UID

PULL_LABEL: Final = "discordgateway.dev/pulls-for"
NODE_ANNOTATION: Final = "discordgateway.dev/pull-node"
IMAGE_ANNOTATION: Final = "discordgateway.dev/pull-image"
"""As it was asked for; an admission plugin may have written another name into the pod."""

RESOURCES: Final[dict[str, Any]] = {
    "requests": {"cpu": "1m", "memory": "16Mi"},
    "limits": {"cpu": "100m", "memory": "64Mi"},
}


def pull_pod_name(gateway: str, *, node: str, image: str) -> str:
    """Another name for each image and node, so that one that ends slowly is in nobody's way."""
    digest = hashlib.sha256(f"{node}\0{image}".encode()).hexdigest()[:10]
    return f"{gateway}-pull-{digest}"


def pull_labels(gateway: str) -> dict[str, str]:
    """What such pods of a gateway are found by."""
    return {PULL_LABEL: gateway}


def pull_pod(owner: Metadata, spec: Spec, *, node: str, image: str) -> dict[str, Any]:
    """A pod that has the kubelet of *node* pull *image* with the credentials of the gateway's pods."""
    template = spec.template
    container: dict[str, Any] = {
        "name": "pull",
        "image": image,
        "command": ["python", "-S", "-c", ""],
        "resources": RESOURCES,
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        },
    }
    if template.image_pull_policy is not None:
        container["imagePullPolicy"] = template.image_pull_policy.value
    pod: dict[str, Any] = {
        "nodeName": node,
        "restartPolicy": "Never",
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "terminationGracePeriodSeconds": 1,
        # the gateway's pod is there already, whatever the node's taints
        "tolerations": [{"operator": "Exists"}],
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": UID,
            "runAsGroup": UID,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "containers": [container],
    }
    if template.service_account_name is not None:
        pod["serviceAccountName"] = template.service_account_name
    if template.runtime_class_name is not None:
        pod["runtimeClassName"] = template.runtime_class_name
    if template.image_pull_secrets:
        pod["imagePullSecrets"] = [secret.manifest() for secret in template.image_pull_secrets]
    labels = {
        "app.kubernetes.io/name": "discord-gateway-pull",
        "app.kubernetes.io/instance": owner.name,
        "app.kubernetes.io/managed-by": MANAGED_BY,
        **pull_labels(owner.name),
    }
    metadata = object_metadata(
        owner,
        pull_pod_name(owner.name, node=node, image=image),
        labels=labels,
        annotations={NODE_ANNOTATION: node, IMAGE_ANNOTATION: image},
    )
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": pod}
