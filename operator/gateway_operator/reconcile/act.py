"""Carries out what the planner decided, one action after the other; each may be done again."""

from __future__ import annotations

import hashlib
import logging
import secrets
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Final

from gateway_operator.api.gateway import Metadata
from gateway_operator.api.generation import GATEWAY_LABEL, GENERATION_LABEL
from gateway_operator.api.spec import Spec
from gateway_operator.cluster.port import (
    CONFIG_MAP,
    NETWORK_POLICY,
    POD,
    STATEFUL_SET,
    AlreadyExistsError,
    Cluster,
    ConflictError,
    Manifest,
    NotFoundError,
    UncertainError,
)
from gateway_operator.planning.actions import (
    Action,
    Change,
    DeleteGeneration,
    DeletePods,
    DropPulls,
    EnsureGeneration,
    EnsureShared,
    PullImage,
    PushRecord,
    RefreshDiscord,
    TouchPods,
    WriteRecord,
)
from gateway_operator.reconcile.applying import Applier
from gateway_operator.reconcile.observe import Parsed, World
from gateway_operator.reconcile.pods import PodAddress, PodCalls
from gateway_operator.reconcile.pulls import PullMemory, drop_pulls, start_pull
from gateway_operator.reconcile.tokens import ensure_auth
from gateway_operator.resources.configmaps import forward_config, record_config_map
from gateway_operator.resources.naming import EPOCH_ANNOTATION, INPUTS_ANNOTATION, pod_name, statefulset_name
from gateway_operator.resources.pulling import pull_pod
from gateway_operator.resources.settings import RuntimeSettings
from gateway_operator.resources.shared import shared_manifests
from gateway_operator.resources.statefulset import generation_manifests
from shard_runtime.contract import encode

log = logging.getLogger(__name__)

REASONS: Final = {
    Change.CREATE: "GenerationStarted",
    Change.HONOUR: "WishesNoted",
    Change.BEGIN: "ReshardStarted",
    Change.ABORT: "ReshardAborted",
    Change.COMMIT: "ReshardCommitted",
    Change.RETIRE: "GenerationRetired",
}
"""Event reasons of the record's writes."""


def new_token() -> str:
    """A bearer token."""
    return secrets.token_urlsafe(32)


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """What the actions of one pass are about."""

    gateway: Parsed
    spec: Spec | None
    """None for a spec that cannot be read; what is built from it is left as it is."""
    world: World
    settings: RuntimeSettings
    token_version: str = ""
    """Of the Secret that holds the bot's token."""
    handlers: str | None = None
    """Text of what ``spec.handlers`` names."""
    now: int = 0
    """Of the observation, in unix milliseconds."""
    pulls: PullMemory = field(default_factory=PullMemory)


class Actor:
    """Applies actions through the cluster port and to pods."""

    def __init__(self, *, cluster: Cluster, pods: PodCalls, make_token: Callable[[], str] = new_token) -> None:
        self._cluster = cluster
        self._pods = pods
        self._make_token = make_token
        self._applier = Applier(cluster)

    def forget(self, namespace: str, name: str) -> None:
        """The gateway is gone, or somebody else's to look after."""
        self._applier.forget(namespace, name)

    async def perform(self, action: Action, site: Site, *, refresh: Callable[[], Awaitable[None]]) -> None:
        """Do one action; *refresh* reads Discord anew. Raises ``ClusterError``.

        A record that somebody else wrote first, or whose write had no answer, is no error: the next pass reads it.
        """
        match action:
            case WriteRecord():
                await self._write_record(action, site)
            case EnsureShared() | EnsureGeneration():
                if site.spec is not None:
                    await self._ensure(action, site.spec, site)
            case DeleteGeneration():
                await self._delete_generation(action, site)
            case DeletePods():
                await self._delete_pods(action, site)
            case PullImage():
                if site.spec is not None:
                    owner = site.gateway.metadata
                    manifest = pull_pod(owner, site.spec, node=action.node, image=action.image)
                    await start_pull(self._cluster, manifest, action, site.pulls, gateway=owner.name, now=site.now)
            case DropPulls():
                await drop_pulls(self._cluster, site.gateway.metadata.namespace, action)
            case PushRecord():
                addresses = _addresses(site.world, action.generation, action.pods)
                if site.world.auth is not None:
                    await self._pods.push_record(addresses, action.record, token=site.world.auth.operator)
            case TouchPods():
                metadata = site.gateway.metadata
                for index in action.pods:
                    name = pod_name(metadata.name, action.generation, index)
                    await self._cluster.touch_pod(metadata.namespace, name, EPOCH_ANNOTATION, str(action.epoch))
            case RefreshDiscord():
                await refresh()

    async def _ensure(self, action: EnsureShared | EnsureGeneration, spec: Spec, site: Site) -> None:
        owner = site.gateway.metadata
        if isinstance(action, EnsureGeneration):
            if action.create and await self._exists(owner, action.generation.number):
                log.info("%s: generation %d was created meanwhile", owner.name, action.generation.number)
                return
            manifests = generation_manifests(owner, spec, action.generation, site.settings, site.handlers)
        else:
            if site.world.auth is None:
                await ensure_auth(self._cluster, owner, new_token=self._make_token)
            manifests = shared_manifests(owner, spec, site.settings)
        for manifest in manifests:
            await self._applier.apply(manifest, site.world.present)
        if isinstance(action, EnsureShared):
            await self._remove_unwanted_policy(manifests, site)
            await self._refresh_inputs(spec, site)
        elif not action.create:
            await self._remove_unused(action.generation.number, manifests, site)

    async def _remove_unwanted_policy(self, wanted: list[Manifest], site: Site) -> None:
        """Delete the gateway's NetworkPolicy once policies are switched off; anybody else's is left alone."""
        key = (NETWORK_POLICY.kind, site.gateway.metadata.name)
        if key in site.world.present and key not in {(each["kind"], each["metadata"]["name"]) for each in wanted}:
            await self._cluster.delete(NETWORK_POLICY, site.gateway.metadata.namespace, key[1])

    async def _refresh_inputs(self, spec: Spec, site: Site) -> None:
        """Let nodes refresh the mounts of pods that may not have the present forward configuration or token yet."""
        content = encode(forward_config(spec)) + site.token_version.encode()
        inputs = hashlib.sha256(content).hexdigest()[:10]
        for pod in site.world.pods:
            metadata = pod["metadata"]
            if (
                not metadata.get("deletionTimestamp")
                and (metadata.get("annotations") or {}).get(INPUTS_ANNOTATION) != inputs
            ):
                await self._cluster.touch_pod(metadata["namespace"], metadata["name"], INPUTS_ANNOTATION, inputs)

    async def _remove_unused(self, generation: int, wanted: list[Manifest], site: Site) -> None:
        """Delete ConfigMaps of the generation that are neither wanted nor mounted: each change leaves one."""
        keep = {manifest["metadata"]["name"] for manifest in wanted} | site.world.mounted
        for (kind, name), present in site.world.present.items():
            labels = present["metadata"].get("labels") or {}
            if kind == CONFIG_MAP.kind and labels.get(GENERATION_LABEL) == str(generation) and name not in keep:
                await self._cluster.delete(CONFIG_MAP, present["metadata"]["namespace"], name)

    async def _exists(self, owner: Metadata, number: int) -> bool:
        found = await self._cluster.get(STATEFUL_SET, owner.namespace, statefulset_name(owner.name, number))
        return found is not None

    async def _write_record(self, action: WriteRecord, site: Site) -> None:
        metadata = site.gateway.metadata
        manifest = record_config_map(metadata, action.record, resource_version=action.resource_version)
        try:
            if action.resource_version is None:
                await self._cluster.create(manifest)
            else:
                await self._cluster.replace(manifest)
        except (AlreadyExistsError, ConflictError, NotFoundError) as error:
            log.warning("%s: the record was not written, it is not what was read: %s", metadata.name, error)
            return
        except UncertainError as error:
            log.warning("%s: the record may or may not have been written, reading it back: %s", metadata.name, error)
            return
        log.info("%s: %s", metadata.name, action.why)
        await self._cluster.emit_event(
            regarding=site.gateway.manifest,
            reason=REASONS[action.change],
            message=action.why,
            warning=action.change is Change.ABORT,
        )

    async def _delete_generation(self, action: DeleteGeneration, site: Site) -> None:
        metadata = site.gateway.metadata
        log.info("%s: deleting generation %d: %s", metadata.name, action.number, action.why)
        await self._cluster.delete(STATEFUL_SET, metadata.namespace, statefulset_name(metadata.name, action.number))
        labels = {GATEWAY_LABEL: metadata.name, GENERATION_LABEL: str(action.number)}
        for config in await self._cluster.select(CONFIG_MAP, metadata.namespace, labels):
            await self._cluster.delete(CONFIG_MAP, metadata.namespace, config["metadata"]["name"])

    async def _delete_pods(self, action: DeletePods, site: Site) -> None:
        metadata = site.gateway.metadata
        log.info("%s: %s", metadata.name, action.why)
        if action.unpulled is not None:
            log.warning("%s: %s", metadata.name, action.unpulled)
        for pod in action.pods:
            name = pod_name(metadata.name, action.generation, pod.index)
            try:
                await self._cluster.delete(POD, metadata.namespace, name, uid=pod.uid)
            except ConflictError:
                log.info("%s: pod %s is another by now", metadata.name, name)


def _addresses(world: World, generation: int, indices: tuple[int, ...]) -> list[PodAddress]:
    return [world.addresses[generation, index] for index in indices if (generation, index) in world.addresses]
