"""What the chart's switches add. Skipped where there is no helm; the end-to-end run has one and skips nothing."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pytest
import yaml
from gateway_operator.__main__ import parse
from gateway_operator.resources.network import OPERATOR_LABELS

if TYPE_CHECKING:
    from conftest import Renderer

pytestmark = pytest.mark.usefixtures("render")

ROOT: Final = Path(__file__).parents[2]
EVERYTHING: Final = (
    "--set=replicas=2,networkPolicy.operator.enabled=true,metrics.serviceMonitor.enabled=true",
    "--set=metrics.podMonitor.enabled=true,metrics.prometheusRule.enabled=true,metrics.dashboard.enabled=true",
)
OPTIONAL: Final = {
    "PodDisruptionBudget",
    "NetworkPolicy",
    "ServiceMonitor",
    "PodMonitor",
    "PrometheusRule",
    "ConfigMap",
}


def of(objects: list[dict[str, Any]], kind: str) -> list[dict[str, Any]]:
    return [each for each in objects if each["kind"] == kind]


def test_what_is_optional_is_off_until_asked_for(render: Renderer) -> None:
    assert not OPTIONAL & {each["kind"] for each in render()}
    everything = render(*EVERYTHING)
    assert {each["kind"] for each in everything} >= OPTIONAL
    names = [(each["kind"], each["metadata"].get("namespace"), each["metadata"]["name"]) for each in everything]
    assert len(names) == len(set(names))


def test_every_object_carries_the_common_labels_and_the_selectors_stay(render: Renderer) -> None:
    labels = ("--set=commonLabels.team=bots", "--set=commonLabels.app\\.kubernetes\\.io/name=stolen")
    for each in render(*EVERYTHING, *labels):
        if each["kind"] in ("CustomResourceDefinition", "Pod"):
            continue
        found = each["metadata"]["labels"]
        assert found["team"] == "bots", each["kind"]
        assert found["app.kubernetes.io/name"] == "discord-gateway-operator", each["kind"]


def test_a_digest_pins_an_image(render: Renderer) -> None:
    digest = "sha256:" + "0" * 64
    objects = render(f"--set=image.digest={digest}", f"--set=runtime.image.digest={digest}", "--set-string=image.tag=9")
    (container,) = of(objects, "Deployment")[0]["spec"]["template"]["spec"]["containers"]
    assert container["image"] == f"ghcr.io/discord-gateway/discord-gateway-operator@{digest}"
    assert parse(container["args"]).settings.image == f"ghcr.io/discord-gateway/discord-gateway-runtime@{digest}"


def test_the_operators_own_handlers_are_mounted_where_it_looks_for_them(render: Renderer) -> None:
    (deployment,) = of(render("--set=handlers.configMap=mine,handlers.key=operator.py"), "Deployment")
    pod = deployment["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    handlers = parse(container["args"]).handlers
    (mount,) = (each for each in container["volumeMounts"] if each["name"] == "handlers")
    (volume,) = (each for each in pod["volumes"] if each["name"] == "handlers")
    (item,) = volume["configMap"]["items"]
    assert volume["configMap"]["name"] == "mine" and item["key"] == "operator.py"
    assert handlers == Path(mount["mountPath"]) / item["path"]
    (plain,) = of(render(), "Deployment")
    assert parse(plain["spec"]["template"]["spec"]["containers"][0]["args"]).handlers is None


def test_gateways_get_network_policies_unless_switched_off(render: Renderer) -> None:
    for value, expected in (("true", True), ("false", False)):
        (deployment,) = of(render(f"--set=networkPolicy.gateways={value}"), "Deployment")
        (container,) = deployment["spec"]["template"]["spec"]["containers"]
        assert parse(container["args"]).settings.network_policies is expected
    # a gateway's policy finds the operator by these labels and in this namespace
    assert OPERATOR_LABELS.items() <= deployment["spec"]["template"]["metadata"]["labels"].items()


def test_the_operators_policy_lets_in_its_port_and_out_what_it_needs(render: Renderer) -> None:
    more = '--set-json=networkPolicy.operator.extraEgress=[{"ports":[{"port":3128,"protocol":"TCP"}]}]'
    objects = render("--set=networkPolicy.operator.enabled=true,networkPolicy.operator.apiServerPorts={443,8443}", more)
    (policy,) = of(objects, "NetworkPolicy")
    spec = policy["spec"]
    (deployment,) = of(objects, "Deployment")
    assert spec["podSelector"]["matchLabels"].items() <= deployment["spec"]["template"]["metadata"]["labels"].items()
    assert spec["policyTypes"] == ["Ingress", "Egress"]
    assert [port["port"] for rule in spec["ingress"] for port in rule["ports"]] == [8080]
    anywhere = {
        (port["protocol"], port["port"]) for rule in spec["egress"] if "to" not in rule for port in rule["ports"]
    }
    assert anywhere == {("UDP", 53), ("TCP", 53), ("TCP", 443), ("TCP", 8443), ("TCP", 3128)}
    inside = [port["port"] for rule in spec["egress"] if "to" in rule for port in rule["ports"]]
    assert inside == [8080, 8080]


def test_a_drain_takes_one_of_several_operators(render: Renderer) -> None:
    (budget,) = of(render("--set=replicas=2"), "PodDisruptionBudget")
    assert budget["spec"]["maxUnavailable"] == 1
    assert not of(render("--set=replicas=2,podDisruptionBudget.enabled=false"), "PodDisruptionBudget")


def test_monitors_select_what_there_is(render: Renderer) -> None:
    objects = render(*EVERYTHING, "--set=watchNamespaces={one,two}")
    (monitor,), (service,) = of(objects, "ServiceMonitor"), of(objects, "Service")
    assert monitor["spec"]["selector"]["matchLabels"].items() <= service["metadata"]["labels"].items()
    assert monitor["spec"]["endpoints"][0]["port"] == service["spec"]["ports"][0]["name"]
    (pods,) = of(objects, "PodMonitor")
    assert pods["spec"]["namespaceSelector"] == {"matchNames": ["one", "two"]}
    assert of(render(*EVERYTHING), "PodMonitor")[0]["spec"]["namespaceSelector"] == {"any": True}


def test_alerts_carry_their_runbook_and_can_be_left_out(render: Renderer, refusal: Any) -> None:
    (rule,) = of(render(*EVERYTHING, "--set=metrics.prometheusRule.runbookURL=https://wiki/runbook"), "PrometheusRule")
    (group,) = rule["spec"]["groups"]
    alerts = yaml.safe_load((ROOT / "charts/discord-gateway-operator/files/alerts.yaml").read_text())["alerts"]
    assert [each["alert"] for each in group["rules"]] == [each["alert"] for each in alerts]
    for found, written in zip(group["rules"], alerts, strict=True):
        url = found["annotations"].pop("runbook_url")
        assert url == f"https://wiki/runbook#{found['alert'].lower()}"
        assert found == written, "Prometheus' own templates pass through untouched"
    left_out = "--set=metrics.prometheusRule.disabled={DiscordGatewayDegraded}"
    (rule,) = of(render(*EVERYTHING, left_out), "PrometheusRule")
    assert len(rule["spec"]["groups"][0]["rules"]) == len(alerts) - 1
    assert "there is no alert DiscordGatewayX" in refusal(
        *EVERYTHING, "--set=metrics.prometheusRule.disabled={DiscordGatewayX}"
    )


def test_the_dashboard_is_what_the_file_holds(render: Renderer) -> None:
    objects = render(*EVERYTHING, "--set=metrics.dashboard.namespace=grafana")
    (dashboard,) = of(objects, "ConfigMap")
    assert dashboard["metadata"]["namespace"] == "grafana"
    assert dashboard["metadata"]["labels"]["grafana_dashboard"] == "1"
    (text,) = dashboard["data"].values()
    assert json.loads(text) == json.loads((ROOT / "charts/discord-gateway-operator/files/dashboard.json").read_text())


def test_the_status_and_secrets_are_nobodys_by_aggregation(render: Renderer) -> None:
    roles = {each["metadata"]["name"].rpartition("-")[2]: each for each in of(render(), "ClusterRole")}
    view, edit = roles["view"], roles["edit"]
    verbs = {verb for rule in view["rules"] for verb in rule["verbs"]}
    assert verbs == {"get", "list", "watch"}
    for role in (view, edit):
        assert {group for rule in role["rules"] for group in rule["apiGroups"]} == {"discordgateway.dev"}
    written = {resource for rule in edit["rules"] for resource in rule["resources"]}
    assert written == {"discordgateways", "discordgateways/scale"}
    assert "rbac.authorization.k8s.io/aggregate-to-view" not in edit["metadata"]["labels"]


def test_rights_can_be_left_to_somebody_else(render: Renderer) -> None:
    kinds = {each["kind"] for each in render("--set=rbac.create=false,rbac.aggregate=false")}
    assert not [kind for kind in kinds if "Role" in kind]


@pytest.mark.parametrize(
    "argument",
    [
        "--set=replicas=-1",
        "--set=image.tag=a b",
        "--set=image.digest=sha256:12",
        "--set=watchNamespaces={UPPER}",
        "--set=metrics.podMonitor.interval=soon",
        "--set=metrics.prometheusRule.runbookURL=ftp://x",
        "--set=networkPolicy.operator.apiServerPorts={0}",
        "--set=networkPolicy.enabled=true",
        "--set=resources.limit.memory=1Gi",
        "--set=commonLabels.a=not a label",
    ],
)
def test_wrong_values_are_refused(refusal: Any, argument: str) -> None:
    field = re.split(r"[=.]", argument.removeprefix("--set="))[0]
    assert field in refusal(argument)


def test_helm_finds_nothing_to_complain_of(helm: str) -> None:
    done = subprocess.run(
        [helm, "lint", "--strict", *EVERYTHING, str(ROOT / "charts" / "discord-gateway-operator")],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    assert "[WARNING]" not in done.stdout


def test_the_plain_manifest_is_the_chart_with_its_defaults(helm: str, tmp_path: Path) -> None:
    script = ROOT / "scripts" / "install_manifest.py"
    probe = f"import runpy; m = runpy.run_path({str(script)!r}); print(m['manifest'](m['rendered']({helm!r})), end='')"
    done = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, timeout=60, check=True)
    assert list(yaml.safe_load_all((ROOT / "deploy" / "install.yaml").read_text())) == list(
        yaml.safe_load_all(done.stdout)
    )
    assert "Helm" not in done.stdout.replace("there is no Helm", "")
