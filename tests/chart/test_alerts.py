"""Alerts, dashboard, runbook and the metrics' page agree with what the programs export."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any, Final

import pytest
import yaml
from gateway_operator.api.conditions import ConditionType
from gateway_operator.api.status import Outcome
from gateway_operator.cluster.kubernetes import _OUTCOMES

from shard_runtime.delivery import read_back
from shard_runtime.delivery.bounds import FULL, TOO_LARGE
from shard_runtime.delivery.dead_letters import NOT_KEPT
from shard_runtime.delivery.forwarding import CANNOT_BE_TAKEN
from shard_runtime.delivery.lane_queue import AGED
from shard_runtime.worker import flow
from shard_runtime.worker.flow import HELD_TOO_MANY

ROOT: Final = Path(__file__).parents[2]
FILES: Final = ROOT / "charts" / "discord-gateway-operator" / "files"
RUNBOOK: Final = (ROOT / "docs" / "runbook.md").read_text()
METRICS_PAGE: Final = ROOT / "docs" / "metrics.md"
NAME: Final = re.compile(r"\bdiscord_gateway_\w+")
ALERTS: Final[list[dict[str, Any]]] = yaml.safe_load((FILES / "alerts.yaml").read_text())["alerts"]
DASHBOARD: Final[dict[str, Any]] = json.loads((FILES / "dashboard.json").read_text())


def panels() -> list[dict[str, Any]]:
    return [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]


def used() -> dict[str, str]:
    """Every series that an expression names, with where."""
    found = {name: alert["alert"] for alert in ALERTS for name in NAME.findall(alert["expr"])}
    for panel in panels():
        for target in panel["targets"]:
            found.update(dict.fromkeys(NAME.findall(target["expr"]), f"panel {panel['title']}"))
    for variable in DASHBOARD["templating"]["list"][1:]:
        found.update(dict.fromkeys(NAME.findall(variable["query"]["query"]), f"variable {variable['name']}"))
    return found


def explained() -> dict[str, set[str]]:
    """Labels of every series in the tables of docs/metrics.md, which other tests hold against the programs."""
    rows = re.findall(
        r"^\| `(discord_gateway_\w+)` \| (\w+) \| ([^|]*) \|", METRICS_PAGE.read_text(), flags=re.MULTILINE
    )
    found: dict[str, set[str]] = {}
    for name, kind, labels in rows:
        own = {label.strip() for label in labels.split(",") if label.strip()}
        if not name.startswith("discord_gateway_operator_"):
            own |= {"gateway", "generation"}
        suffixes = ("_bucket", "_sum", "_count") if kind == "histogram" else ("",)
        for suffix in suffixes:
            found[name + suffix] = own | ({"le"} if suffix == "_bucket" else set())
    return found


def expressions() -> dict[str, str]:
    """All of alerts and dashboard, by where they are."""
    found = {alert["alert"]: alert["expr"] for alert in ALERTS}
    for panel in panels():
        for target in panel["targets"]:
            found[f"panel {panel['title']}, {target['refId']}"] = target["expr"]
    return found


def test_the_runbook_has_every_reason_of_a_drop() -> None:
    reasons = {FULL, TOO_LARGE, AGED, NOT_KEPT, CANNOT_BE_TAKEN, read_back.UNREADABLE, flow.UNREADABLE, HELD_TOO_MANY}
    section = RUNBOOK.partition("## DiscordGatewayEventsDropped")[2].partition("\n## ")[0]
    assert (
        set(re.findall(r"`([^`]+)`", "".join(re.findall(r"^\| (`[^|]*) \|", section, flags=re.MULTILINE)))) - {"reason"}
        == reasons
    )


def test_every_series_that_is_asked_for_is_exported_and_explained() -> None:
    known = explained()
    assert len(known) > 40
    missing = {name: where for name, where in used().items() if name not in known}
    assert not missing


@pytest.mark.parametrize(("where", "expression"), expressions().items())
def test_a_series_is_grouped_and_chosen_by_labels_that_it_has(where: str, expression: str) -> None:
    known = explained()
    series = NAME.findall(expression)
    # Prometheus adds these to what it scrapes
    own = set().union(*(known[name] for name in series)) | {"namespace", "pod"}
    grouped = {label.strip() for each in re.findall(r"by \(([^)]*)\)", expression) for label in each.split(",")}
    chosen = set(re.findall(r"(\w+)(?:=~|!=|=)\"", expression))
    assert grouped | chosen <= own, where


def test_each_alert_has_its_section_of_the_runbook_and_each_section_its_alert() -> None:
    headings = re.findall(r"^## (\w+)$", RUNBOOK, flags=re.MULTILINE)
    assert headings == [alert["alert"] for alert in ALERTS], "in the same order, so that both are read side by side"
    for section in re.split(r"^## ", RUNBOOK, flags=re.MULTILINE)[1:]:
        assert len(section.partition("\n")[2].strip()) > 60, section


@pytest.mark.parametrize("alert", ALERTS, ids=lambda alert: str(alert["alert"]))
def test_an_alert_is_complete(alert: dict[str, Any]) -> None:
    assert alert["labels"]["severity"] in ("info", "warning", "critical")
    assert set(alert["annotations"]) == {"summary", "description"}
    assert alert["expr"].count("(") == alert["expr"].count(")")
    for label in re.findall(r"\$labels\.(\w+)", json.dumps(alert["annotations"])):
        kept = re.findall(r"by \(([^)]*)\)", alert["expr"])
        assert not kept or all(label in each for each in kept), f"{label} is not in the result"
    conditions = re.findall(r'condition="(\w+)"', alert["expr"])
    assert set(conditions) <= {each.value for each in ConditionType}
    assert set(re.findall(r'outcome!="(\w+)"', alert["expr"])) <= {each.value for each in Outcome}
    for outcome in "|".join(re.findall(r'outcome=~"([^"]*)"', alert["expr"])).split("|"):
        assert outcome in ("", *_OUTCOMES.values())


def test_each_condition_of_a_gateway_that_needs_somebody_has_an_alert() -> None:
    watched = {each for alert in ALERTS for each in re.findall(r'condition="(\w+)"', alert["expr"])}
    assert watched == {each.value for each in ConditionType} - {"Resharding"}


def test_the_dashboards_panels_are_distinct_and_do_not_overlap() -> None:
    everything = DASHBOARD["panels"]
    assert len({panel["id"] for panel in everything}) == len(everything)
    cells: set[tuple[int, int]] = set()
    for panel in everything:
        grid = panel["gridPos"]
        covered = {(grid["x"] + x, grid["y"] + y) for x in range(grid["w"]) for y in range(grid["h"])}
        assert not covered & cells, panel["title"]
        assert grid["x"] + grid["w"] <= 24
        cells |= covered
    for panel in panels():
        assert len({target["refId"] for target in panel["targets"]}) == len(panel["targets"])
