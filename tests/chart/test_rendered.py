"""What Helm makes of the chart. Skipped where there is no helm; the end-to-end tests install it for real."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path
from typing import Any, Final

import pytest
import yaml
from gateway_operator.__main__ import parse
from gateway_operator.cluster.port import KINDS
from gateway_operator.reconcile.fleet import OWNED_KINDS

CHART: Final = Path(__file__).parents[2] / "charts" / "discord-gateway-operator"
NODE: Final = Path(os.environ.get("DISCORD_GATEWAY_NODE", "/var/tmp/discord-gateway-node"))
HELM: Final = shutil.which("helm") or shutil.which("helm", path=NODE / "bin")

OPERATOR_ROLE: Final = "system-gateways-operator"

pytestmark = pytest.mark.skipif(HELM is None, reason="there is no helm; `make e2e` builds one into the node's folder")


def render(*arguments: str) -> list[dict[str, Any]]:
    """All objects of the release ``gateways`` in ``system``."""
    assert HELM is not None
    command = [HELM, "template", "gateways", str(CHART), "--namespace=system", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return [document for document in yaml.safe_load_all(done.stdout) if document]


def one(objects: list[dict[str, Any]], kind: str) -> dict[str, Any]:
    (found,) = (document for document in objects if document["kind"] == kind)
    return found


def named(objects: list[dict[str, Any]], kind: str, name: str) -> dict[str, Any]:
    (found,) = (each for each in objects if (each["kind"], each["metadata"]["name"]) == (kind, name))
    return found


def rules(role: dict[str, Any]) -> dict[str, set[str]]:
    """Verbs by resource."""
    return {resource: set(rule["verbs"]) for rule in role["rules"] for resource in rule["resources"]}


def test_the_operator_takes_the_arguments_that_the_chart_gives() -> None:
    objects = render("--set=watchNamespaces={one,two}", "--set-string=runtime.image.tag=9", "--set=logLevel=debug")
    (container,) = one(objects, "Deployment")["spec"]["template"]["spec"]["containers"]
    options = parse(container["args"])
    service = one(objects, "Service")
    (port,) = service["spec"]["ports"]
    assert options.namespaces == ["one", "two"]
    assert options.settings.image == "ghcr.io/discord-gateway/discord-gateway-runtime:9"
    assert options.settings.operator_url == f"http://{service['metadata']['name']}.system.svc:{port['port']}"
    assert service["metadata"]["name"] == "gateways-operator"
    assert options.port == container["ports"][0]["containerPort"]
    assert options.log_level == "debug"


def test_the_service_selects_the_operators_pods() -> None:
    objects = render()
    labels = one(objects, "Deployment")["spec"]["template"]["metadata"]["labels"]
    selector = one(objects, "Service")["spec"]["selector"]
    assert selector.items() <= labels.items()


@pytest.mark.parametrize("kind", ["Deployment", "Pod"])
def test_pods_are_restricted(kind: str) -> None:
    """The operator's, and the one of `helm test`."""
    found = one(render(), kind)["spec"]
    pod = found["template"]["spec"] if kind == "Deployment" else found
    (container,) = pod["containers"]
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }


def test_the_rights_cover_what_the_operator_does_and_no_wildcard() -> None:
    granted = rules(named(render(), "ClusterRole", OPERATOR_ROLE))
    for kind in OWNED_KINDS:
        assert granted[kind.plural] >= {"list", "create", "patch", "delete"}, kind
    assert granted["configmaps"] >= {"get", "update"}
    assert granted["discordgateways"] == {"get", "list", "watch", "patch"}
    assert granted["discordgateways/status"] >= {"patch"}
    assert granted["pods"] == {"get", "list", "watch", "create", "patch", "delete"}
    assert set(granted) <= {kind.plural for kind in KINDS.values()} | {
        "discordgateways/status",
        "discordgateways/finalizers",
        "events",
    }
    assert not [resource for resource, verbs in granted.items() if "*" in resource or "*" in verbs]


def test_with_namespaces_there_are_only_roles_in_them() -> None:
    objects = render("--set=watchNamespaces={one,two}")
    kinds = [document["kind"] for document in objects]
    assert "ClusterRoleBinding" not in kinds
    aggregated = [each for each in objects if each["kind"] == "ClusterRole"]
    assert all("rbac.authorization.k8s.io/aggregate-to-edit" in each["metadata"]["labels"] for each in aggregated)
    assert "ClusterRole" not in {
        each["kind"] for each in render("--set=watchNamespaces={one,two}", "--set=rbac.aggregate=false")
    }
    roles = [
        document for document in objects if document["kind"] == "Role" and document["metadata"]["namespace"] != "system"
    ]
    assert [role["metadata"]["namespace"] for role in roles] == ["one", "two"]
    assert rules(roles[0]) == rules(named(render(), "ClusterRole", OPERATOR_ROLE))


def test_the_operator_may_hold_the_lease_that_it_is_told_of_and_no_other() -> None:
    objects = render("--set=replicas=2")
    deployment = one(objects, "Deployment")
    (container,) = deployment["spec"]["template"]["spec"]["containers"]
    lease = parse(container["args"]).lease
    assert lease is not None
    assert deployment["spec"]["replicas"] == 2
    role = one(objects, "Role")
    assert role["metadata"]["namespace"] == lease.namespace == "system"
    granted = {(*rule["resources"], *rule.get("resourceNames", ())): set(rule["verbs"]) for rule in role["rules"]}
    assert granted == {
        ("leases",): {"create"},
        ("leases", lease.name): {"get", "update"},
        ("services", lease.name): {"get"},  # the Lease is deleted with it
    }
    assert one(objects, "Service")["metadata"]["name"] == lease.name
    fields = {variable["name"]: variable["valueFrom"]["fieldRef"]["fieldPath"] for variable in container["env"]}
    assert fields == {"POD_NAME": "metadata.name", "POD_UID": "metadata.uid", "POD_IP": "status.podIP"}


def test_the_crd_is_kept_and_can_be_left_out() -> None:
    crd = one(render(), "CustomResourceDefinition")
    generated = yaml.safe_load((CHART / "files" / "discordgateways.yaml").read_text())
    assert crd["metadata"].pop("annotations") == {"helm.sh/resource-policy": "keep"}
    assert crd == generated
    assert one(render("--set=crds.keep=false"), "CustomResourceDefinition") == generated
    assert "CustomResourceDefinition" not in [document["kind"] for document in render("--set=crds.install=false")]
