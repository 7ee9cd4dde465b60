"""What the end-to-end tests tell iptables of a policy. That it holds a real pod, ``e2e/test_confinement.py`` shows."""

from __future__ import annotations

import sys
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "e2e"))

from harness.policies import Opening, World, openings, restore, selects

APPS = {"metadata": {"name": "apps", "labels": {"team": "a"}}}
BOTS = {"metadata": {"name": "bots", "labels": {"team": "b"}}}


def pod(name: str, ip: str, *, namespace: str = "bots", app: str = "x", **spec: Any) -> dict[str, Any]:
    ports = [{"name": "http", "containerPort": 8080}, {"name": "dns", "containerPort": 53, "protocol": "UDP"}]
    return {
        "metadata": {"name": name, "namespace": namespace, "labels": {"app": app}},
        "spec": {"containers": [{"ports": ports}], **spec},
        "status": {"podIP": ip, "hostIP": "10.85.0.1", "phase": "Running"},
    }


SELF = pod("self", "10.85.0.2", app="gateway")
RECEIVER = pod("receiver", "10.85.0.3", namespace="apps", app="receiver")
SIBLING = pod("sibling", "10.85.0.4", app="gateway")
ON_THE_NODE = pod("agent", "10.85.0.1", app="gateway", hostNetwork=True)
ENDED = {**pod("job", "10.85.0.9", app="gateway"), "status": {"podIP": "10.85.0.9", "phase": "Succeeded"}}


def policy(*egress: dict[str, Any], namespace: str = "bots", **more: Any) -> dict[str, Any]:
    spec = {"podSelector": {"matchLabels": {"app": "gateway"}}, "policyTypes": ["Egress"], "egress": list(egress)}
    return {"metadata": {"namespace": namespace}, "spec": {**spec, **more}}


def world(*policies: dict[str, Any], **more: Any) -> World:
    everyone = [SELF, RECEIVER, SIBLING, ON_THE_NODE, ENDED]
    return World(policies=policies, namespaces=[APPS, BOTS], pods=everyone, **more)


def service(name: str, ip: str, *endpoints: str, port: int, target: int) -> dict[str, Any]:
    its = {"name": name, "namespace": "apps"}
    labels = {"kubernetes.io/service-name": name}
    return {
        "services": [{"metadata": its, "spec": {"clusterIP": ip, "ports": [{"port": port}]}}],
        "endpoints": [
            {
                "metadata": {"namespace": "apps", "labels": labels},
                "ports": [{"name": "", "port": target}],
                "endpoints": [{"addresses": [each]} for each in endpoints],
            }
        ],
    }


def opened(rule: dict[str, Any], *, kind: str = "Egress") -> set[str]:
    return {each.match("-d") for each in openings(rule, SELF, world(), kind=kind)}


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        ({}, {"-d 0.0.0.0/0"}),
        ({"ports": [{"port": 53, "protocol": "UDP"}]}, {"-d 0.0.0.0/0 -p udp --dport 53:53"}),
        ({"ports": [{"port": 80, "endPort": 90}]}, {"-d 0.0.0.0/0 -p tcp --dport 80:90"}),
        ({"ports": [{"protocol": "UDP"}]}, {"-d 0.0.0.0/0 -p udp"}),
        ({"to": [{"podSelector": {"matchLabels": {"app": "gateway"}}}]}, {"-d 10.85.0.2/32", "-d 10.85.0.4/32"}),
        ({"to": [{"namespaceSelector": {"matchLabels": {"team": "a"}}}]}, {"-d 10.85.0.3/32"}),
        ({"to": [{"namespaceSelector": {}, "podSelector": {"matchLabels": {"app": "receiver"}}}]}, {"-d 10.85.0.3/32"}),
        ({"to": [{"podSelector": {"matchLabels": {"app": "receiver"}}}]}, set()),
        (
            {"to": [{"namespaceSelector": {"matchLabels": {"team": "a"}}}], "ports": [{"port": "http"}]},
            {"-d 10.85.0.3/32 -p tcp --dport 8080:8080"},
        ),
        ({"to": [{"namespaceSelector": {}}], "ports": [{"port": "dns"}]}, set()),
        ({"to": [{"ipBlock": {"cidr": "10.0.0.0/30", "except": ["10.0.0.0/31"]}}]}, {"-d 10.0.0.2/31"}),
        ({"to": [{"ipBlock": {"cidr": "10.0.0.0/31", "except": ["10.0.0.0/30"]}}]}, set()),
        ({"to": [{"ipBlock": {"cidr": "::/0", "except": ["fc00::/7"]}}]}, set()),
    ],
)
def test_a_rule_opens_what_it_names(rule: dict[str, Any], expected: set[str]) -> None:
    assert opened(rule) == expected


def test_a_named_port_of_what_comes_in_is_the_pods_own() -> None:
    rule = {"from": [{"ipBlock": {"cidr": "10.0.0.0/8"}}], "ports": [{"port": "http"}]}
    assert opened(rule, kind="Ingress") == {"-d 10.0.0.0/8 -p tcp --dport 8080:8080"}


def test_exceptions_are_taken_out_and_nothing_else() -> None:
    block = {"cidr": "0.0.0.0/0", "except": ["10.0.0.0/8", "169.254.0.0/16", "10.1.0.0/16"]}
    left = [each.network for each in openings({"to": [{"ipBlock": block}]}, SELF, world(), kind="Egress")]
    assert sum(each.num_addresses for each in left) == 2**32 - 2**24 - 2**16
    assert not any(IPv4Address(each) in network for network in left for each in ("10.96.0.1", "169.254.169.254"))


def test_without_a_policy_over_the_pod_nothing_is_ruled() -> None:
    other = policy(podSelector={"matchLabels": {"app": "other"}})
    assert restore(SELF, world(other, policy(namespace="apps"))) == ""


def test_what_no_policy_opens_is_dropped_last() -> None:
    first, second = ({"to": [{"ipBlock": {"cidr": cidr}}]} for cidr in ("10.1.0.0/16", "10.2.0.0/16"))
    lines = restore(SELF, world(policy(first), policy(second))).splitlines()
    assert lines == [
        "*filter",
        ":POLICY-OUTPUT - [0:0]",
        "-A POLICY-OUTPUT -o lo -j ACCEPT",
        "-A POLICY-OUTPUT -m conntrack --ctstate ESTABLISHED,RELATED -j ACCEPT",
        "-A POLICY-OUTPUT -d 10.1.0.0/16 -j ACCEPT",
        "-A POLICY-OUTPUT -d 10.2.0.0/16 -j ACCEPT",
        "-A POLICY-OUTPUT -j DROP",
        "-I OUTPUT -j POLICY-OUTPUT",
        "COMMIT",
    ]


def test_probes_come_in_from_the_node_under_any_policy() -> None:
    lines = restore(SELF, world(policy(policyTypes=["Ingress"], ingress=[]))).splitlines()
    assert lines[-4:] == [
        "-A POLICY-INPUT -s 10.85.0.1/32 -j ACCEPT",
        "-A POLICY-INPUT -j DROP",
        "-I INPUT -j POLICY-INPUT",
        "COMMIT",
    ]


TO_APPS = {"to": [{"namespaceSelector": {"matchLabels": {"team": "a"}}}], "ports": [{"port": 8080}]}
ON_443 = {"ports": [{"port": 443}]}


@pytest.mark.parametrize(
    ("rule", "endpoints", "passes"),
    [
        (TO_APPS, ("10.85.0.3",), True),
        (TO_APPS, ("10.85.0.3", "10.85.0.4"), False),  # kube-proxy draws one, and one is not open
        (TO_APPS, (), False),
        (ON_443, ("10.85.0.3",), False),  # the Service's own port is no pod's
        ({"to": [{"ipBlock": {"cidr": "10.96.0.0/16"}}]}, ("10.85.0.3",), False),
    ],
    ids=["open", "half", "empty", "its-port", "its-block"],
)
def test_a_service_passes_if_all_behind_it_do(rule: dict[str, Any], endpoints: tuple[str, ...], passes: bool) -> None:
    its = service("receiver", "10.96.0.7", *endpoints, port=443, target=8080)
    lines = restore(SELF, world(policy(rule), **its)).splitlines()
    accepted = "-A POLICY-OUTPUT -d 10.96.0.7/32 -p tcp --dport 443:443 -j ACCEPT"
    dropped = lines.index("-A POLICY-OUTPUT -d 10.96.0.7 -j DROP")
    assert (accepted in lines[:dropped]) == passes
    # what opens a block or a port at large comes after
    assert all(" -j ACCEPT" not in line for line in lines[4 + passes : dropped])


@pytest.mark.parametrize(
    ("expression", "met"),
    [
        ({"key": "a", "operator": "In", "values": ["1", "2"]}, True),
        ({"key": "a", "operator": "NotIn", "values": ["1"]}, False),
        ({"key": "b", "operator": "NotIn", "values": ["1"]}, True),
        ({"key": "a", "operator": "Exists"}, True),
        ({"key": "a", "operator": "DoesNotExist"}, False),
    ],
)
def test_expressions_of_a_selector(expression: dict[str, Any], met: bool) -> None:
    assert selects({"matchExpressions": [expression]}, {"a": "1"}) == met


def test_an_opening_admits_its_network_protocol_and_ports() -> None:
    opening = Opening(IPv4Network("10.85.0.0/16"), "TCP", (80, 90))
    assert opening.admits("10.85.0.3", "TCP", 85)
    assert not opening.admits("10.86.0.3", "TCP", 85)
    assert not opening.admits("10.85.0.3", "UDP", 85)
    assert not opening.admits("10.85.0.3", "TCP", 91)
