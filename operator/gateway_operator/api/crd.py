"""The CustomResourceDefinition, generated from the models.

``python -m gateway_operator.api.crd`` writes ``crds/discordgateways.yaml``. The API server takes a *structural* schema,
which is less than what pydantic makes: no references, no ``anyOf`` with null, no titles, no closed objects, old-style
exclusive bounds, and defaults of objects written out in full (a rule on an object with ``default: {}`` is refused).
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any, Final

import yaml
from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from gateway_operator.api.base import GROUP, KIND, PLURAL, SHORT_NAME, SINGULAR, VERSION, wire_name
from gateway_operator.api.gateway import LONGEST_NAME
from gateway_operator.api.rules import RULES, rule
from gateway_operator.api.spec import Spec
from gateway_operator.api.status import Status

Schema = dict[str, Any]

DROPPED: Final = ("title", "$defs", "propertyNames", "const")
INT_OR_STRING: Final = "x-kubernetes-int-or-string"
WRITTEN: Final = (
    Path("crds/discordgateways.yaml"),
    Path("charts/discord-gateway-operator/files/discordgateways.yaml"),
)
PRESERVE: Final = "x-kubernetes-preserve-unknown-fields"

COLUMNS: Final = (
    ("Ready", "string", '.status.conditions[?(@.type=="Ready")].status', "Whether all shards are READY"),
    ("Shards", "integer", ".status.shards", "Shards of the active generation"),
    ("Ready shards", "integer", ".status.readyShards", "READY shards of the active generation"),
    ("Generation", "integer", ".status.activeGeneration", "The generation that delivers"),
    ("Target", "integer", ".status.targetGeneration", "The generation that is to take over"),
    ("Guilds", "integer", ".status.guilds", "Guilds of the active generation"),
    ("Age", "date", ".metadata.creationTimestamp", ""),
)


def crd() -> dict[str, Any]:
    """The CustomResourceDefinition as a manifest."""
    spec = structural(Spec)
    status = structural(Status, defaults=False)
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{PLURAL}.{GROUP}"},
        "spec": {
            "group": GROUP,
            "scope": "Namespaced",
            "names": {
                "kind": KIND,
                "listKind": f"{KIND}List",
                "plural": PLURAL,
                "singular": SINGULAR,
                "shortNames": [SHORT_NAME],
            },
            "versions": [
                {
                    "name": VERSION,
                    "served": True,
                    "storage": True,
                    "subresources": {
                        "status": {},
                        "scale": {
                            "specReplicasPath": ".spec.shards.count",
                            "statusReplicasPath": ".status.shards",
                            "labelSelectorPath": ".status.selector",
                        },
                    },
                    "additionalPrinterColumns": [_column(*column) for column in COLUMNS],
                    "schema": {
                        "openAPIV3Schema": {
                            "type": "object",
                            "description": "A Discord bot's gateway sessions as a service: pods hold the shards and "
                            "forward every event to the bot over HTTP.",
                            "required": ["spec"],
                            "properties": {
                                "apiVersion": {"type": "string"},
                                "kind": {"type": "string"},
                                "metadata": {"type": "object"},
                                "spec": spec,
                                "status": status,
                            },
                            RULES: [
                                rule(
                                    f"size(self.metadata.name) <= {LONGEST_NAME}",
                                    f"metadata.name must be at most {LONGEST_NAME} characters, since names of objects "
                                    "are built from it",
                                )
                            ],
                        }
                    },
                }
            ],
        },
    }


def _column(name: str, kind: str, path: str, description: str) -> dict[str, str]:
    column = {"name": name, "type": kind, "jsonPath": path}
    return {**column, "description": description} if description else column


def structural(model: type[BaseModel], *, defaults: bool = True) -> Schema:
    """*model* as a structural schema; a status has no *defaults*, or the API server would make up what it says."""
    raw = model.model_json_schema(by_alias=True, mode="validation")
    return _Flattener(raw.get("$defs", {}), defaults=defaults).flatten(raw, model)


class _Flattener:
    def __init__(self, definitions: Schema, *, defaults: bool) -> None:
        self._definitions = definitions
        self._defaults = defaults

    def flatten(self, schema: Schema, model: type[BaseModel] | None = None) -> Schema:
        schema = self._resolved(schema)
        if INT_OR_STRING in str(schema.get("anyOf", "")) or INT_OR_STRING in schema:
            return {INT_OR_STRING: True, **_only(schema, "description")}
        made = {key: value for key, value in schema.items() if key not in DROPPED}
        if "const" in schema:
            made["enum"] = [schema["const"]]
        if made.get("additionalProperties") is False or PRESERVE in made:
            made.pop("additionalProperties", None)
        for bound, old in (("exclusiveMinimum", "minimum"), ("exclusiveMaximum", "maximum")):
            if bound in made:
                made[old], made[bound] = made[bound], True
        if made.get("default", PydanticUndefined) is None or not self._defaults:
            made.pop("default", None)
        if "properties" in made:
            made["properties"] = {name: self.flatten(value) for name, value in made["properties"].items()}
        if isinstance(made.get("additionalProperties"), dict):
            made["additionalProperties"] = self.flatten(made["additionalProperties"])
        if "items" in made:
            made["items"] = self.flatten(made["items"])
        if made.get("type") == "integer":
            made["format"] = "int64"
        if model is not None and self._defaults:
            _write_out_defaults(made, model)
        return made

    def _resolved(self, schema: Schema) -> Schema:
        """*schema* without references and without alternatives to null; what stands beside them has precedence."""
        beside = {key: value for key, value in schema.items() if key not in ("$ref", "anyOf", "allOf")}
        if "$ref" in schema:
            return {**self._resolved(self._definitions[schema["$ref"].rsplit("/", 1)[1]]), **beside}
        branches = schema.get("anyOf") or schema.get("allOf")
        if branches is None:
            return schema
        real = [self._resolved(branch) for branch in branches if branch.get("type") != "null"]
        nullable = {"nullable": True} if len(real) < len(branches) else {}
        if len(real) == 1:
            return {**real[0], **beside, **nullable}
        if any(INT_OR_STRING in branch for branch in real) or INT_OR_STRING in schema:
            return {INT_OR_STRING: True, **beside, **nullable}
        raise ValueError(f"a structural schema has no alternatives: {schema}")


def _write_out_defaults(schema: Schema, model: type[BaseModel]) -> None:
    """Give each object that may be left out its default in full, and each default field by field."""
    for name, field in model.model_fields.items():
        made = schema["properties"][wire_name(name)]
        inner = _model_of(field)
        if inner is not None and "properties" in made:
            _write_out_defaults(made, inner)
        factory = field.default_factory
        if factory is not None and inner is not None:
            made["default"] = inner().model_dump(mode="json", by_alias=True, exclude_none=True)


def _model_of(field: FieldInfo) -> type[BaseModel] | None:
    annotation = field.annotation
    candidates = [annotation, *getattr(annotation, "__args__", ())]
    return next((found for found in candidates if isinstance(found, type) and issubclass(found, BaseModel)), None)


def _only(schema: Schema, *names: str) -> Schema:
    return {name: schema[name] for name in names if name in schema}


def render() -> str:
    """The CRD as YAML."""
    header = (
        "# Generated by `python -m gateway_operator.api.crd` from the models in gateway_operator/api; do not edit.\n"
    )
    return header + yaml.safe_dump(crd(), sort_keys=False, width=120, allow_unicode=True)


def main(arguments: list[str]) -> None:
    """Write the CRD to the given path, or below the working directory to ``crds/`` and to the chart's copy of it."""
    for path in [Path(argument) for argument in arguments] or WRITTEN:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(render(), encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
