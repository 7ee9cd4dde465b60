"""What all models of the resource share: Kubernetes' camelCase names, immutability, no unknown fields in a spec."""

from __future__ import annotations

from typing import Any, Final

from pydantic import BaseModel, ConfigDict

GROUP: Final = "discordgateway.dev"
VERSION: Final = "v1alpha1"
API_VERSION: Final = f"{GROUP}/{VERSION}"
KIND: Final = "DiscordGateway"
PLURAL: Final = "discordgateways"
SINGULAR: Final = "discordgateway"
SHORT_NAME: Final = "dgw"

_INITIALISMS: Final = {"url": "URL", "id": "ID"}


def wire_name(name: str) -> str:
    """The camelCase name of *name*, initialisms as Kubernetes writes them: ``api_url`` is ``apiURL``."""
    first, *rest = name.rstrip("_").split("_")
    return first + "".join(_INITIALISMS.get(word, word.capitalize()) for word in rest)


class Model(BaseModel):
    """Part of a spec: immutable; a field that is not known is an error."""

    model_config = ConfigDict(alias_generator=wire_name, populate_by_name=True, extra="forbid", frozen=True)

    def manifest(self) -> dict[str, Any]:
        """This model as it stands in a manifest; fields without a value are left out."""
        return self.model_dump(mode="json", by_alias=True, exclude_none=True)


class Observed(Model):
    """Part of a status or of the metadata: what others wrote may hold fields of another version."""

    model_config = ConfigDict(alias_generator=wire_name, populate_by_name=True, extra="ignore", frozen=True)
