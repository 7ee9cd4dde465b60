"""What the chart, the images and the examples must agree on with the code, checked without a cluster or Helm."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any, Final

import jsonschema
import pytest
import yaml
from gateway_operator.__main__ import DEFAULT_RUNTIME_IMAGE
from gateway_operator.api.parse import parse_gateway
from gateway_operator.api.unsupported import refusals

ROOT: Final = Path(__file__).parents[2]
CHART: Final = ROOT / "charts" / "discord-gateway-operator"
EXAMPLES: Final = sorted((ROOT / "examples" / "kubernetes").glob("*.yaml"))


def load(path: Path) -> Any:
    return yaml.safe_load(path.read_text())


def test_the_charts_crd_is_the_generated_one() -> None:
    generated = (ROOT / "crds" / "discordgateways.yaml").read_text()
    copy = CHART / "files" / "discordgateways.yaml"
    assert copy.read_text() == generated, "make crds"


def test_versions_agree() -> None:
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    chart, values = load(CHART / "Chart.yaml"), load(CHART / "values.yaml")
    assert chart["appVersion"] == version
    assert f"{values['runtime']['image']['repository']}:{version}" == DEFAULT_RUNTIME_IMAGE
    for path in EXAMPLES:
        for image in re.findall(r"image: \S+/discord-gateway-\w+:(\S+)", path.read_text()):
            assert image == version, path


def test_the_values_fit_their_schema_and_a_misspelt_one_does_not() -> None:
    schema = json.loads((CHART / "values.schema.json").read_text())
    values = load(CHART / "values.yaml")
    jsonschema.validate(values, schema)
    assert set(schema["properties"]) - {"global"} == set(values)
    with pytest.raises(jsonschema.ValidationError, match="logLevle"):
        jsonschema.validate({**values, "logLevle": "info"}, schema)


def test_the_images_have_the_packages_of_their_extras_only() -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    assert not [name for name in extras["runtime"] if re.match(r"(kubernetes|kopf|pydantic)", name)]
    targets = re.findall(r"AS (\w+)$", (ROOT / "Dockerfile").read_text(), flags=re.MULTILINE)
    assert targets == ["base", "wheels", "operator", "simulator", "runtime"]


def test_the_example_gateway_is_valid_and_supported() -> None:
    _, manifest = yaml.safe_load_all((ROOT / "examples" / "kubernetes" / "gateway.yaml").read_text())
    gateway = parse_gateway(manifest)
    assert refusals(gateway.spec) == []
    assert gateway.spec.shards.count == 4


def test_the_plain_manifest_is_not_older_than_the_chart() -> None:
    done = subprocess.run(
        [sys.executable, str(ROOT / "scripts" / "install_manifest.py"), "--check"],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def test_artifact_hub_is_told_of_what_the_chart_holds() -> None:
    chart = load(CHART / "Chart.yaml")
    told = {name.partition("/")[2]: text for name, text in chart["annotations"].items()}
    values, version = load(CHART / "values.yaml"), chart["appVersion"]
    repositories = (values["image"]["repository"], values["runtime"]["image"]["repository"])
    images = [each["image"] for each in yaml.safe_load(told["images"])]
    assert images == [f"{repository}:{version}" for repository in repositories]
    (crd,) = yaml.safe_load(told["crds"])
    generated = load(CHART / "files" / "discordgateways.yaml")
    assert (crd["name"], crd["kind"]) == (generated["metadata"]["name"], generated["spec"]["names"]["kind"])
    assert crd["version"] in {each["name"] for each in generated["spec"]["versions"]}
    (example,) = yaml.safe_load(told["crdsExamples"])
    assert refusals(parse_gateway(example).spec) == []
    for link in yaml.safe_load(told["links"]):
        assert (ROOT / link["url"].partition("/blob/main/")[2]).exists(), link


def test_every_value_is_explained() -> None:
    """A comment stands above each value or above the group that it is in."""
    schema = json.loads((CHART / "values.schema.json").read_text())
    text = (CHART / "values.yaml").read_text()
    for name in ("networkPolicy", "metrics", "rbac", "crds", "replicas", "watchNamespaces", "logLevel", "resources"):
        assert name in schema["properties"]
        lines = text.splitlines()
        at = next(number for number, line in enumerate(lines) if line.startswith(f"{name}:"))
        assert lines[at - 1].startswith("#") or lines[at + 1].lstrip().startswith("#"), name
