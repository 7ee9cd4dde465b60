"""What a pass asks of the shell, in order.

Every action may be done again. A :class:`WriteRecord` is alone in its pass: what follows from it is planned from the
record as it then stands, so the shell observes anew at once.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass

from gateway_operator.api.generation import Generation
from gateway_operator.api.status import Status
from shard_runtime.contract import Record


class Change(enum.Enum):
    """Why the record is written."""

    CREATE = "create"
    HONOUR = "honour"
    """The wishes changed and the active generation fulfils them already."""
    BEGIN = "begin"
    ABORT = "abort"
    COMMIT = "commit"
    RETIRE = "retire"
    """The predecessor has nothing left to deliver, or was deleted; from here no pod asks anything of it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WriteRecord:
    """Create the record (``resource_version`` None) or replace it if it still has that resourceVersion.

    Never by server-side apply. After an uncertain write (no answer) the record is read back by the next pass.
    """

    change: Change
    record: Record
    resource_version: str | None
    why: str
    """One sentence for the log and the event."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EnsureShared:
    """Apply what all generations share: Services, the ConfigMap ``<name>-forward``, the Secret ``<name>-auth``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EnsureGeneration:
    """Apply the generation's ConfigMap and StatefulSet, built from the spec and what is fixed."""

    generation: Generation
    create: bool = False
    """The StatefulSet was not there: look again and apply only if it still is not. A late act must not change what a
    generation that lives was made with."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DeleteGeneration:
    """Delete the generation's StatefulSet and its ConfigMaps (by label)."""

    number: int
    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PodToDelete:
    """One pod, and no other of the same name."""

    index: int
    uid: str


@dataclass(frozen=True, slots=True, kw_only=True)
class DeletePods:
    """Delete these pods gracefully; the StatefulSet replaces them by pods of its present template."""

    generation: int
    pods: tuple[PodToDelete, ...]
    why: str
    unpulled: str | None = None
    """Why their image is perhaps not on the node yet, where it should have been."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PullImage:
    """Make a small pod of this image on this node, which ends at once; the node has the image then."""

    node: str
    image: str


@dataclass(frozen=True, slots=True, kw_only=True)
class DropPulls:
    """Delete pods that pulled an image, or still do, by name and uid."""

    pods: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class PushRecord:
    """``PUT /v1/record`` to these pods, which have not seen it. A failure is no matter: the mount follows."""

    generation: int
    pods: tuple[int, ...]
    record: Record


@dataclass(frozen=True, slots=True, kw_only=True)
class TouchPods:
    """Set the annotation ``discordgateway.dev/record-epoch`` on these pods, so that the kubelet refreshes the mount."""

    generation: int
    pods: tuple[int, ...]
    epoch: int


@dataclass(frozen=True, slots=True, kw_only=True)
class RefreshDiscord:
    """Read ``GET /gateway/bot`` past any cache, then observe anew: a decision waits for it."""


Action = (
    WriteRecord
    | EnsureShared
    | EnsureGeneration
    | DeleteGeneration
    | DeletePods
    | PullImage
    | DropPulls
    | PushRecord
    | TouchPods
    | RefreshDiscord
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """The outcome of one pass."""

    actions: tuple[Action, ...]
    status: Status
    again: bool
    """Observe and plan again at once, without waiting for a change."""
    wake_after_seconds: float
    """Latest time of the next pass when nothing changes before."""
