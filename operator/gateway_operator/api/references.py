"""References from a gateway to keys of Secrets and ConfigMaps of its namespace."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from gateway_operator.api.base import Model

ObjectName = Annotated[str, Field(min_length=1, max_length=253)]
DataKey = Annotated[str, Field(min_length=1, max_length=253)]


class TokenSecretRef(Model):
    """The Secret that holds the bot token."""

    name: ObjectName = Field(description="Name of a Secret in the gateway's namespace.")
    key: DataKey = Field(default="token", description="Key of the Secret whose value is the bot token.")


class SecretKeyRef(Model):
    """One key of a Secret."""

    name: ObjectName = Field(description="Name of a Secret in the gateway's namespace.")
    key: DataKey = Field(description="Key of the Secret.")


class ConfigMapKeyRef(Model):
    """One key of a ConfigMap."""

    name: ObjectName = Field(description="Name of a ConfigMap in the gateway's namespace.")
    key: DataKey = Field(description="Key of the ConfigMap.")
