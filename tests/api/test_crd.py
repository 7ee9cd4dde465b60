"""The CRD that is committed is the one of the models, and one that an API server takes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from gateway_operator.api.crd import crd, render
from gateway_operator.api.gateway import DiscordGateway
from gateway_operator.api.intents import INTENTS, did_you_mean, intent_bits
from gateway_operator.api.parse import InvalidGateway, parse_gateway
from gateway_operator.api.spec import Spec
from gateway_operator.api.status import Status
from openapi_schema_validator import OAS30Validator

COMMITTED = Path(__file__).parents[2] / "crds" / "discordgateways.yaml"
SCHEMA = crd()["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
ALLOWED = {
    "type", "description", "properties", "required", "items", "additionalProperties", "enum", "default", "format",
    "minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "minLength", "maxLength", "minItems", "maxItems",
    "maxProperties", "pattern", "nullable", "x-kubernetes-validations", "x-kubernetes-list-type",
    "x-kubernetes-list-map-keys", "x-kubernetes-int-or-string", "x-kubernetes-preserve-unknown-fields",
}  # fmt: skip


def schemas(schema: dict[str, Any], path: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    """All schemas within *schema* with their paths."""
    yield path, schema
    for name, inner in schema.get("properties", {}).items():
        yield from schemas(inner, f"{path}.{name}")
    if "items" in schema:
        yield from schemas(schema["items"], f"{path}[]")
    if isinstance(schema.get("additionalProperties"), dict):
        yield from schemas(schema["additionalProperties"], f"{path}{{}}")


OURS = [(path, schema) for path, schema in schemas(SCHEMA) if path.startswith((".spec", ".status"))]


def test_crd_drift() -> None:
    assert COMMITTED.read_text(encoding="utf-8") == render(), "run `python -m gateway_operator.api.crd`"


def test_the_schema_is_structural() -> None:
    for path, schema in OURS:
        assert set(schema) <= ALLOWED, path
        assert "type" in schema or "x-kubernetes-int-or-string" in schema, path
        assert schema.get("default", 0) is not None, path
        for bound in ("exclusiveMinimum", "exclusiveMaximum"):
            assert schema.get(bound, True) is True, path


def test_every_field_is_described() -> None:
    for path, schema in OURS:
        if not path.endswith(("[]", "{}")):
            assert schema.get("description", "").endswith((".", "?")), path


def test_everything_of_the_spec_is_bounded() -> None:
    """An unbounded list or string takes a rule beyond the API server's cost budget."""
    for path, schema in OURS:
        if path.startswith(".spec"):
            if schema.get("type") == "string" and "enum" not in schema:
                assert "maxLength" in schema, path
            if schema.get("type") == "array":
                assert "maxItems" in schema, path
            if schema.get("type") in ("integer", "number") and "tolerationSeconds" not in path:
                assert "minimum" in schema and "maximum" in schema, path


def test_objects_with_defaults_have_them_in_full() -> None:
    spec = SCHEMA["properties"]["spec"]["properties"]
    assert spec["shards"]["default"] == {"count": 0, "first": 0, "perWorker": 25, "workersPerPod": 4}
    assert all(schema.get("default") != {} for path, schema in OURS if "properties" in schema), "refused beside rules"


def test_a_status_has_no_defaults() -> None:
    assert [path for path, schema in OURS if path.startswith(".status") and "default" in schema] == []


def test_names_subresources_and_columns() -> None:
    made = crd()
    version = made["spec"]["versions"][0]
    assert made["metadata"]["name"] == "discordgateways.discordgateway.dev"
    assert made["spec"]["names"]["shortNames"] == ["dgw"]
    assert version["subresources"] == {
        "status": {},
        "scale": {
            "specReplicasPath": ".spec.shards.count",
            "statusReplicasPath": ".status.shards",
            "labelSelectorPath": ".status.selector",
        },
    }
    names = [column["name"] for column in version["additionalPrinterColumns"]]
    assert names == ["Ready", "Shards", "Ready shards", "Generation", "Target", "Guilds", "Age"]


def test_every_rule_has_a_sentence_and_no_line_break() -> None:
    rules = [rule for _, schema in schemas(SCHEMA) for rule in schema.get("x-kubernetes-validations", ())]
    assert len(rules) >= 9
    for rule in rules:
        said = rule.get("message") or rule["messageExpression"]
        assert "\n" not in rule["rule"] + said


EXAMPLE = """
apiVersion: discordgateway.dev/v1alpha1
kind: DiscordGateway
metadata: {name: my-bot}
spec:
  tokenSecretRef: {name: my-bot}
  intents: [GUILDS, GUILD_MESSAGES]
  shards: {count: 16, last: null}
  forward: {url: "http://my-bot/events", queue: {maxAgeSeconds: 60}}
  template: {resources: {requests: {cpu: 1, memory: 1Gi}}, nodeSelector: {a: b}}
  identify: {presence: {status: idle}}
"""


def accepted(manifest: dict[str, Any]) -> bool:
    return bool(OAS30Validator(SCHEMA).is_valid(manifest))


def test_schema_and_models_take_the_same() -> None:
    good = yaml.safe_load(EXAMPLE)
    assert accepted(good)
    parse_gateway(good)
    for change in (
        {"compression": "lz4"},
        {"shards": {"count": -1}},
        {"intents": "GUILDS"},
        {"forward": {"url": "http://x", "lanes": 0}},
        {"paused": 1},
    ):
        bad = {**good, "spec": {**good["spec"], **change}}
        assert not accepted(bad), change
        with pytest.raises(InvalidGateway):
            parse_gateway(bad)


def test_a_status_as_it_is_written_fits_the_schema() -> None:
    status = Status(active_generation=1, target_generation=2, selector="a=b").manifest()
    assert accepted({**yaml.safe_load(EXAMPLE), "status": status})


def test_the_models_have_the_fields_of_the_documentation() -> None:
    assert set(Spec.model_json_schema()["properties"]) == {
        "tokenSecretRef", "apiURL", "gatewayURL", "intents", "compression", "identify", "shards", "forward", "reshard",
        "handlers", "storage", "template", "paused",
    }  # fmt: skip
    assert set(DiscordGateway.model_json_schema()["properties"]) == {
        "apiVersion", "kind", "metadata", "spec", "status",
    }  # fmt: skip


def test_intents_are_discords() -> None:
    assert sum(INTENTS.values()) == 53_608_447, "Discord's page: all intents together"
    assert intent_bits(["GUILDS", "GUILD_MESSAGES", "GUILDS"]) == 513
    assert did_you_mean("guild_mesages", INTENTS) == "; did you mean GUILD_MESSAGES?"
    assert did_you_mean("zzz", INTENTS) == "."
