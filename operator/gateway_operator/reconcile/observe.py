"""One look at a gateway and its world: objects, pods, Secret and Discord become an ``Observation``."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final

import msgspec

from gateway_operator.api.conditions import milliseconds
from gateway_operator.api.gateway import Metadata
from gateway_operator.api.generation import ANNOTATION, GATEWAY_LABEL, GENERATION_LABEL, Generation, from_annotation
from gateway_operator.api.parse import InvalidGateway, parse_gateway
from gateway_operator.api.spec import Spec
from gateway_operator.api.status import Status
from gateway_operator.cluster.port import (
    CONFIG_MAP,
    GATEWAY,
    NETWORK_POLICY,
    POD,
    POD_DISRUPTION_BUDGET,
    SERVICE,
    STATEFUL_SET,
    Cluster,
    Manifest,
)
from gateway_operator.planning.observed import (
    DiscordProblem,
    DiscordTrouble,
    ObservedGeneration,
    ObservedPod,
    ObservedRecord,
)
from gateway_operator.reconcile.applying import Present
from gateway_operator.reconcile.lives import life_of, ready_of
from gateway_operator.reconcile.pods import PodAddress, PodCalls
from gateway_operator.reconcile.tokens import AuthTokens, read_auth
from gateway_operator.resources.naming import EPOCH_ANNOTATION, REVISION_ANNOTATION, record_name
from shard_runtime.contract import PodStatus, Record, decode

POD_INDEX_LABEL: Final = "apps.kubernetes.io/pod-index"

SHARED_KINDS: Final = (SERVICE, POD_DISRUPTION_BUDGET, NETWORK_POLICY)

RatesOf = Callable[[PodStatus], Mapping[int, float]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Parsed:
    """A gateway's manifest as far as it can be read."""

    manifest: Manifest
    metadata: Metadata
    spec: Spec | None
    status: Status
    """The status it carries; what another version wrote and this one cannot read counts as none."""
    problems: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """What belongs to a gateway, as it is now."""

    record: ObservedRecord | None
    generations: tuple[ObservedGeneration, ...]
    addresses: Mapping[tuple[int, int], PodAddress]
    """Existing pods by generation and index."""
    present: Present = field(repr=False)
    """StatefulSets, ConfigMaps, Services, the PodDisruptionBudget and the NetworkPolicy."""
    pods: tuple[Manifest, ...] = field(repr=False)
    mounted: frozenset[str]
    """Names of the ConfigMaps that a pod mounts, or a StatefulSet's future pods would."""
    auth: AuthTokens | None = field(repr=False)


async def read_gateway(cluster: Cluster, namespace: str, name: str) -> Parsed | None:
    """The gateway, None when it is gone or going. Raises :class:`ClusterError`."""
    manifest = await cluster.get(GATEWAY, namespace, name)
    if manifest is None or manifest["metadata"].get("deletionTimestamp"):
        return None
    raw = manifest["metadata"]
    metadata = Metadata.model_construct(
        name=name, namespace=namespace, uid=raw.get("uid", ""), generation=raw.get("generation", 1)
    )
    status = _status(manifest)
    try:
        gateway = parse_gateway({name: value for name, value in manifest.items() if name != "status"})
    except InvalidGateway as error:
        return Parsed(manifest=manifest, metadata=metadata, spec=None, problems=tuple(error.problems), status=status)
    return Parsed(manifest=manifest, metadata=gateway.metadata, spec=gateway.spec, status=status)


async def read_world(cluster: Cluster, pods: PodCalls, metadata: Metadata, *, rates: RatesOf) -> World:
    """Record, generations and pods of a gateway, each pod asked for its status. Raises :class:`ClusterError`.

    *rates* is told each pod's status, and gives the events per second of its shards.
    """
    namespace, name = metadata.namespace, metadata.name
    labels = {GATEWAY_LABEL: name}
    # Not gathered: of two failing calls gather would drop one's error unseen, and a few short reads cost little.
    configs = await cluster.select(CONFIG_MAP, namespace, labels)
    sets = await cluster.select(STATEFUL_SET, namespace, labels)
    shared = [each for kind in SHARED_KINDS for each in await cluster.select(kind, namespace, labels)]
    pod_objects = await cluster.select(POD, namespace, labels)
    auth = await read_auth(cluster, namespace, name)
    existing = [(pod, address) for pod in pod_objects if (address := _address(cluster, pod)) is not None]
    statuses = {} if auth is None else await pods.statuses([address for _, address in existing], token=auth.operator)
    by_generation: dict[int, dict[int, tuple[Manifest, PodAddress]]] = defaultdict(dict)
    for pod, address in existing:
        by_generation[address.generation][address.index] = (pod, address)
    look = _Look(pods=by_generation, statuses=statuses, rates=rates)
    generations = [_generation(manifest, look) for manifest in sets if _number(manifest) is not None]
    record = next((each for each in configs if each["metadata"]["name"] == record_name(name)), None)
    return World(
        record=None if record is None else _record(record),
        generations=tuple(sorted(generations, key=lambda generation: generation.number)),
        addresses={(address.generation, address.index): address for _, address in existing},
        present={(each["kind"], each["metadata"]["name"]): each for each in (*sets, *configs, *shared)},
        pods=tuple(pod_objects),
        mounted=frozenset(
            volume["configMap"]["name"]
            for spec in (*(pod["spec"] for pod in pod_objects), *(each["spec"]["template"]["spec"] for each in sets))
            for volume in spec.get("volumes") or []
            if "configMap" in volume
        ),
        auth=auth,
    )


def refused_by_session(message: str) -> DiscordProblem:
    """What is observed of a token that Discord refused on a session (close code 4004)."""
    return DiscordProblem(kind=DiscordTrouble.TOKEN_REFUSED, message=message)


def _status(manifest: Manifest) -> Status:
    try:
        return Status.model_validate(manifest.get("status") or {})
    except ValueError:
        return Status()


def _record(manifest: Manifest) -> ObservedRecord:
    version = str(manifest["metadata"]["resourceVersion"])
    text = (manifest.get("data") or {}).get("record.json")
    if text is None:
        return ObservedRecord(resource_version=version, record=None, problem="it has no key record.json")
    try:
        return ObservedRecord(resource_version=version, record=decode(text, Record))
    except msgspec.DecodeError as error:
        return ObservedRecord(resource_version=version, record=None, problem=str(error))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Look:
    """All that was seen of pods."""

    pods: Mapping[int, Mapping[int, tuple[Manifest, PodAddress]]]
    statuses: Mapping[str, PodStatus]
    rates: RatesOf


def _generation(manifest: Manifest, look: _Look) -> ObservedGeneration:
    metadata, number = manifest["metadata"], _number(manifest)
    annotations = metadata.get("annotations") or {}
    present = look.pods.get(number or 0, {})
    created = metadata.get("creationTimestamp")
    # The controller says up to which change it has looked; the one of a process cluster always has.
    seen = (manifest.get("status") or {}).get("observedGeneration")
    return ObservedGeneration(
        number=number or 0,
        fixed=_fixed(annotations.get(ANNOTATION)),
        pods=tuple(_pod(index, present.get(index), look) for index in range(manifest["spec"].get("replicas", 1))),
        created_at=milliseconds(created) if created else None,
        revision=annotations.get(REVISION_ANNOTATION, ""),
        template_seen=seen is None or int(seen) >= int(metadata.get("generation", 0)),
        image=manifest["spec"]["template"]["spec"]["containers"][0].get("image", ""),
        deleting=bool(metadata.get("deletionTimestamp")),
    )


def _pod(index: int, found: tuple[Manifest, PodAddress] | None, look: _Look) -> ObservedPod:
    if found is None:
        return ObservedPod(index=index)
    manifest, address = found
    annotations = manifest["metadata"].get("annotations") or {}
    touched, status = annotations.get(EPOCH_ANNOTATION, ""), look.statuses.get(address.name)
    life, trouble = life_of(manifest)
    return ObservedPod(
        index=index,
        uid=address.uid,
        status=status,
        touched_epoch=int(touched) if touched.isdecimal() else None,
        revision=annotations.get(REVISION_ANNOTATION),
        deleting=bool(manifest["metadata"].get("deletionTimestamp")),
        life=life,
        trouble=trouble,
        rates={} if status is None else look.rates(status),
        node=manifest["spec"].get("nodeName"),
        image=manifest["spec"]["containers"][0].get("image"),
        ready=ready_of(manifest),
    )


def _address(cluster: Cluster, pod: Manifest) -> PodAddress | None:
    metadata = pod["metadata"]
    labels = metadata.get("labels") or {}
    generation, index = labels.get(GENERATION_LABEL, ""), labels.get(POD_INDEX_LABEL, "")
    if not (generation.isdecimal() and index.isdecimal()):
        return None
    return PodAddress(
        generation=int(generation),
        index=int(index),
        name=metadata["name"],
        uid=metadata["uid"],
        url=cluster.pod_url(pod),
    )


def _number(manifest: Manifest) -> int | None:
    label = (manifest["metadata"].get("labels") or {}).get(GENERATION_LABEL, "")
    return int(label) if label.isdecimal() else None


def _fixed(annotation: str | None) -> Generation | None:
    if annotation is None:
        return None
    try:
        return from_annotation(annotation)
    except msgspec.DecodeError:
        return None
