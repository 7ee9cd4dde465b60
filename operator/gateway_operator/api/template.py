"""``spec.template``: what a person may say about the pods; everything else about them is the operator's."""

from __future__ import annotations

import enum
from typing import Annotated, Final

from pydantic import AfterValidator, ConfigDict, Field, JsonValue

from gateway_operator.api.base import Model, wire_name
from gateway_operator.api.rules import rule, with_rules
from gateway_operator.api.volumes import Volume, VolumeMount

RESERVED_ENV: Final = ("POD_INDEX", "POD_UID")
RESERVED_ENV_PREFIX: Final = "DISCORD_GATEWAY_"

PRESERVE: Final = {"x-kubernetes-preserve-unknown-fields": True}

Short = Annotated[str, Field(max_length=253)]
LabelValue = Annotated[str, Field(max_length=63)]
Quantity = Annotated[
    int | str,
    Field(json_schema_extra={"x-kubernetes-int-or-string": True}),
]
Free = Annotated[dict[str, JsonValue], Field(json_schema_extra=PRESERVE)]


class PullPolicy(enum.StrEnum):
    ALWAYS = "Always"
    IF_NOT_PRESENT = "IfNotPresent"
    NEVER = "Never"


class LocalObjectReference(Model):
    """A Secret by name."""

    name: Annotated[str, Field(min_length=1, max_length=253)] = Field(description="Name of the Secret.")


class Resources(Model):
    """Requests and limits of the container."""

    requests: dict[Short, Quantity] = Field(default={}, max_length=16, description="What is set aside for a pod.")
    limits: dict[Short, Quantity] = Field(default={}, max_length=16, description="What a pod may not exceed.")


class Toleration(Model):
    """As in a Pod."""

    key: Short | None = Field(default=None, description="The taint's key; absent: every key.")
    operator: Short | None = Field(default=None, description="Equal or Exists.")
    value: Short | None = Field(default=None, description="The taint's value.")
    effect: Short | None = Field(default=None, description="NoSchedule, PreferNoSchedule or NoExecute.")
    toleration_seconds: int | None = Field(default=None, description="How long a NoExecute taint is tolerated.")


def _not_reserved(name: str) -> str:
    if name in RESERVED_ENV or name.startswith(RESERVED_ENV_PREFIX):
        raise ValueError(f'"{name}" is set by the operator; choose another name.')
    return name


class EnvVar(Model):
    """As in a Pod."""

    model_config = ConfigDict(
        alias_generator=wire_name,
        json_schema_extra=with_rules(
            rule(
                f"!(self.name in {list(RESERVED_ENV)}) && !self.name.startsWith('{RESERVED_ENV_PREFIX}')",
                "this variable is set by the operator; choose another name",
                path=".name",
            )
        ),
    )

    name: Annotated[str, Field(min_length=1, max_length=253), AfterValidator(_not_reserved)] = Field(
        description="Name of the variable; POD_INDEX, POD_UID and DISCORD_GATEWAY_* are the operator's."
    )
    value: Annotated[str, Field(max_length=32_768)] | None = Field(default=None, description="Its value.")
    value_from: Free | None = Field(default=None, description="A source of the value, as in a Pod.")


class Template(Model):
    """What the pods look like."""

    image: Annotated[str, Field(min_length=1, max_length=1024)] | None = Field(
        default=None, description="Image of the runtime; absent: the operator's own version."
    )
    image_pull_policy: PullPolicy | None = Field(default=None, description="Always, IfNotPresent or Never.")
    image_pull_secrets: list[LocalObjectReference] = Field(
        default=[], max_length=16, description="Secrets for the image's registry."
    )
    resources: Resources | None = Field(default=None, description="Requests and limits of the container.")
    node_selector: dict[Short, LabelValue] = Field(default={}, max_length=32, description="Labels of wanted nodes.")
    tolerations: list[Toleration] = Field(default=[], max_length=32, description="Taints that pods tolerate.")
    affinity: Free | None = Field(default=None, description="As in a Pod.")
    topology_spread_constraints: list[Free] = Field(
        default=[], max_length=16, description="As in a Pod; a labelSelector that is absent selects the generation."
    )
    labels: dict[Short, LabelValue] = Field(default={}, max_length=32, description="Further labels of the pods.")
    annotations: dict[Short, Annotated[str, Field(max_length=8192)]] = Field(
        default={}, max_length=32, description="Further annotations of the pods."
    )
    env: list[EnvVar] = Field(default=[], max_length=64, description="Further environment variables.")
    env_from: list[Free] = Field(
        default=[], max_length=16, description="Secrets and ConfigMaps whose keys become variables, as in a Pod."
    )
    volumes: list[Volume] = Field(default=[], max_length=16, description="Further volumes.")
    volume_mounts: list[VolumeMount] = Field(
        default=[], max_length=16, description="Where further volumes are in the container."
    )
    service_account_name: Short | None = Field(
        default=None,
        description="ServiceAccount of the pods, for image pull secrets or policies; its token is never mounted.",
    )
    runtime_class_name: Short | None = Field(default=None, description="Name of a RuntimeClass.")
    priority_class_name: Short | None = Field(default=None, description="Name of a PriorityClass.")
    termination_grace_period_seconds: int = Field(
        default=60, ge=1, le=3600, description="How long a stopping pod may drain its queue and save its sessions."
    )
