"""The StatefulSet controller's part, pure: which pods a StatefulSet wants, and what each looks like.

Always ``Parallel`` and ``OnDelete``: all pods at once, and a changed template reaches a pod when somebody deletes it.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable
from typing import Final

from gateway_operator.cluster.port import POD, STATEFUL_SET, Manifest

INDEX_LABEL: Final = "apps.kubernetes.io/pod-index"
NAME_LABEL: Final = "statefulset.kubernetes.io/pod-name"


def build_pod(statefulset: Manifest, index: int) -> Manifest:
    """The pod of that ordinal, from the StatefulSet's present template."""
    metadata, template = statefulset["metadata"], copy.deepcopy(statefulset["spec"]["template"])
    name = f"{metadata['name']}-{index}"
    pod_metadata: Manifest = {
        "name": name,
        "namespace": metadata["namespace"],
        "labels": {
            **((template.get("metadata") or {}).get("labels") or {}),
            INDEX_LABEL: str(index),
            NAME_LABEL: name,
        },
        "annotations": dict((template.get("metadata") or {}).get("annotations") or {}),
        "ownerReferences": [
            {
                "apiVersion": STATEFUL_SET.api_version,
                "kind": STATEFUL_SET.kind,
                "name": metadata["name"],
                "uid": metadata["uid"],
                "controller": True,
            }
        ],
    }
    spec = template["spec"]
    claims = [
        {
            "name": claim["metadata"]["name"],
            "persistentVolumeClaim": {"claimName": f"{claim['metadata']['name']}-{name}"},
        }
        for claim in statefulset["spec"].get("volumeClaimTemplates") or []
    ]
    if claims:
        spec["volumes"] = [*(spec.get("volumes") or []), *claims]
    return {"apiVersion": POD.api_version, "kind": POD.kind, "metadata": pod_metadata, "spec": spec}


def renew(wanted: Manifest, pod: Manifest) -> None:
    """Make *pod*, which has no process, what a new one would be."""
    pod["spec"] = wanted["spec"]
    pod["metadata"]["annotations"] = {
        **(pod["metadata"].get("annotations") or {}),
        **wanted["metadata"]["annotations"],
    }


def missing(statefulset: Manifest, present: Iterable[Manifest]) -> list[Manifest]:
    """Pods to create."""
    names = {pod["metadata"]["name"] for pod in present}
    wanted = range(statefulset["spec"].get("replicas", 1))
    return [
        build_pod(statefulset, index) for index in wanted if f"{statefulset['metadata']['name']}-{index}" not in names
    ]


def surplus(statefulset: Manifest, present: Iterable[Manifest]) -> list[Manifest]:
    """Pods of this StatefulSet past its replicas, to delete."""
    owner = statefulset["metadata"]["uid"]
    replicas = statefulset["spec"].get("replicas", 1)
    return [
        pod
        for pod in present
        if any(reference["uid"] == owner for reference in pod["metadata"].get("ownerReferences") or [])
        and int(pod["metadata"]["labels"][INDEX_LABEL]) >= replicas
    ]
