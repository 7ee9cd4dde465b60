"""Further volumes of the pods: certificates, packages of handlers, whatever a user's code wants to read."""

from __future__ import annotations

from typing import Annotated, Final

from pydantic import AfterValidator, ConfigDict, Field

from gateway_operator.api.base import Model, wire_name
from gateway_operator.api.rules import rule, with_rules

RESERVED_VOLUMES: Final = ("config", "record", "forward", "token", "auth", "signing", "handlers", "state", "tmp")
RESERVED_PATHS: Final = ("/etc/discord-gateway", "/var/lib/discord-gateway")


def _not_reserved(name: str) -> str:
    if name in RESERVED_VOLUMES:
        raise ValueError(f'"{name}" is a volume of the operator\'s; choose another name.')
    return name


def _elsewhere(path: str) -> str:
    if not path.startswith("/"):
        raise ValueError(f'"{path}" is not an absolute path.')
    if any(path == taken or path.startswith(taken + "/") for taken in RESERVED_PATHS) or path == "/tmp":
        raise ValueError(f'"{path}" is a path of the operator\'s; choose another.')
    return path


class Volume(Model):
    """As in a Pod."""

    model_config = ConfigDict(
        alias_generator=wire_name,
        extra="allow",
        json_schema_extra={
            "x-kubernetes-preserve-unknown-fields": True,
            **with_rules(
                rule(
                    f"!(self.name in {list(RESERVED_VOLUMES)})",
                    "this is a volume of the operator's; choose another name",
                    path=".name",
                )
            ),
        },
    )

    name: Annotated[str, Field(min_length=1, max_length=63), AfterValidator(_not_reserved)] = Field(
        description="Name of the volume. Its source stands beside it, as in a Pod."
    )


class VolumeMount(Model):
    """As in a Pod."""

    model_config = ConfigDict(
        alias_generator=wire_name,
        json_schema_extra=with_rules(
            rule(
                "self.mountPath.startsWith('/') && self.mountPath != '/tmp' && "
                + " && ".join(
                    f"self.mountPath != '{path}' && !self.mountPath.startsWith('{path}/')" for path in RESERVED_PATHS
                ),
                "mountPath must be an absolute path outside of /etc/discord-gateway, /var/lib/discord-gateway and /tmp",
                path=".mountPath",
            )
        ),
    )

    name: Annotated[str, Field(min_length=1, max_length=63)] = Field(description="Name of one of template.volumes.")
    mount_path: Annotated[str, Field(min_length=1, max_length=1024), AfterValidator(_elsewhere)] = Field(
        description="Where in the container."
    )
    sub_path: Annotated[str, Field(max_length=1024)] | None = Field(default=None, description="A path in the volume.")
    read_only: bool = Field(default=True, description="Whether the container may only read it.")
