"""The world that runs generations, as an object store over Kubernetes-shaped manifests.

The planner's actions end in the same manifests whether they go to an API server (``cluster.kubernetes``) or to local
processes (``cluster.processes``), so this port is Kubernetes' own vocabulary with only as much of it as the operator
uses. Manifests are plain JSON dicts here, as they are on the wire; models of our own resource live in ``api``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Protocol, TypeAlias

Manifest: TypeAlias = dict[str, Any]
"""One Kubernetes object as JSON."""

FIELD_MANAGER: Final = "discord-gateway-operator"


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of object and where the API serves it."""

    api_version: str
    kind: str
    plural: str


GATEWAY: Final = Kind("discordgateway.dev/v1alpha1", "DiscordGateway", "discordgateways")
STATEFUL_SET: Final = Kind("apps/v1", "StatefulSet", "statefulsets")
POD: Final = Kind("v1", "Pod", "pods")
CONFIG_MAP: Final = Kind("v1", "ConfigMap", "configmaps")
SECRET: Final = Kind("v1", "Secret", "secrets")
SERVICE: Final = Kind("v1", "Service", "services")
POD_DISRUPTION_BUDGET: Final = Kind("policy/v1", "PodDisruptionBudget", "poddisruptionbudgets")
NETWORK_POLICY: Final = Kind("networking.k8s.io/v1", "NetworkPolicy", "networkpolicies")
LEASE: Final = Kind("coordination.k8s.io/v1", "Lease", "leases")

KINDS: Final[Mapping[str, Kind]] = {
    kind.kind: kind
    for kind in (
        GATEWAY,
        STATEFUL_SET,
        POD,
        CONFIG_MAP,
        SECRET,
        SERVICE,
        POD_DISRUPTION_BUDGET,
        NETWORK_POLICY,
        LEASE,
    )
}


class ClusterError(Exception):
    """The cluster refused or failed; the text is a sentence for a person and holds no Secret's content."""


class AlreadyExistsError(ClusterError):
    """``create`` found an object of that name."""


class ConflictError(ClusterError):
    """``replace`` was given a resourceVersion that is not the current one: somebody else wrote in between."""


class NotFoundError(ClusterError):
    """The object to change is not there."""


class RefusedError(ClusterError):
    """The API server refused the object or the right to do this; the same call would be refused again."""


class UncertainError(ClusterError):
    """No answer, or one that says nothing: a write may or may not have happened. Read back before deciding."""


class Cluster(Protocol):
    """What the operator does to the world. Every call raises :class:`ClusterError` where it cannot."""

    @property
    def calls(self) -> Mapping[tuple[str, str], int]:
        """How many calls were made to the API server, by verb and outcome."""
        ...

    async def get(self, kind: Kind, namespace: str, name: str) -> Manifest | None:
        """The object as it is now, None if there is none."""
        ...

    async def select(self, kind: Kind, namespace: str | None, labels: Mapping[str, str]) -> list[Manifest]:
        """All objects that carry *labels*, in *namespace* or (None) everywhere the operator may look."""
        ...

    async def apply(self, manifest: Manifest) -> Manifest:
        """Server-side apply: create or change so that our fields are as given; without change nothing is written."""
        ...

    async def create(self, manifest: Manifest) -> Manifest:
        """Create, or raise :class:`AlreadyExistsError` or :class:`UncertainError`."""
        ...

    async def replace(self, manifest: Manifest) -> Manifest:
        """Replace the object whose resourceVersion *manifest* carries.

        Raises :class:`ConflictError` if that is not current, :class:`NotFoundError` if the object is gone, and
        :class:`UncertainError`.
        """
        ...

    async def delete(self, kind: Kind, namespace: str, name: str, *, uid: str | None = None) -> None:
        """Delete the object and, in the background, all it owns; nothing happens if it is not there.

        With *uid* only that very object: raises :class:`ConflictError` if another has its name by now.
        """
        ...

    async def update_status(self, namespace: str, name: str, status: Manifest) -> None:
        """Make *status* the status of the ``DiscordGateway``; nothing happens if that is gone."""
        ...

    async def status_schema(self) -> Manifest | None:
        """The OpenAPI schema that the cluster has for a ``DiscordGateway``'s status; None where it checks nothing."""
        ...

    async def touch_pod(self, namespace: str, name: str, annotation: str, value: str) -> None:
        """Set an annotation on a pod, which makes its node refresh mounted volumes; nothing happens if it is gone."""
        ...

    async def emit_event(self, *, regarding: Manifest, reason: str, message: str, warning: bool = False) -> None:
        """Tell people who look at *regarding* what happened. Best effort: failures are logged, not raised."""
        ...

    def pod_url(self, pod: Manifest) -> str | None:
        """Base URL of a pod's HTTP surface; None while it has no address."""
        ...

    def sibling_pattern(self, namespace: str, gateway: str) -> str | None:
        """What ``RuntimeConfig.pod_url`` must say so that a gateway's pods find each other; None: their DNS names."""
        ...
