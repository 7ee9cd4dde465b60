"""Where a gateway's pods may go, decided as a network plugin would."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from typing import Any

import pytest
from gateway_operator.api.gateway import Metadata
from gateway_operator.api.parse import parse_gateway
from gateway_operator.resources.network import OPERATOR_LABELS, network_policy
from gateway_operator.resources.settings import RuntimeSettings
from gateway_operator.resources.shared import shared_manifests

OWNER = Metadata(name="my-bot", namespace="bots", uid="1234", generation=1)
SETTINGS = RuntimeSettings(image="i", operator_url="http://gw-operator.system.svc:8080", network_policies=True)


@dataclass(frozen=True)
class Peer:
    """A pod in a namespace, or an address outside all of them."""

    port: int
    namespace: str | None = None
    labels: tuple[tuple[str, str], ...] = ()
    address: str = "10.9.8.7"
    protocol: str = "TCP"


def policy(settings: RuntimeSettings = SETTINGS, **more: Any) -> dict[str, Any]:
    spec = {
        "tokenSecretRef": {"name": "my-bot", "key": "token"},
        "intents": ["GUILDS"],
        "forward": {"url": "http://my-bot.default.svc/events"},
        **more,
    }
    manifest = {"apiVersion": "discordgateway.dev/v1alpha1", "kind": "DiscordGateway", "metadata": {"name": "my-bot"}}
    return network_policy(OWNER, parse_gateway({**manifest, "spec": spec}).spec, settings)


def reaches(policy: dict[str, Any], peer: Peer) -> bool:
    """Whether a pod under *policy* may open a connection, by the rules of networking.k8s.io/v1."""
    assert policy["spec"]["policyTypes"] == ["Egress"]
    return any(_rule(rule, peer) for rule in policy["spec"]["egress"])


def _rule(rule: dict[str, Any], peer: Peer) -> bool:
    ports, to = rule.get("ports"), rule.get("to")
    by_port = not ports or any((p["port"], p["protocol"]) == (peer.port, peer.protocol) for p in ports)
    return by_port and (not to or any(_matches(each, peer) for each in to))


def _matches(to: dict[str, Any], peer: Peer) -> bool:
    if "ipBlock" in to:
        network = ipaddress.ip_network(to["ipBlock"]["cidr"])
        address = ipaddress.ip_address(peer.address)
        out = [ipaddress.ip_network(each) for each in to["ipBlock"].get("except", [])]
        return address.version == network.version and address in network and not any(address in each for each in out)
    namespace = to.get("namespaceSelector", {}).get("matchLabels", {}).get("kubernetes.io/metadata.name", "bots")
    wanted = to.get("podSelector", {}).get("matchLabels", {}).items()
    return peer.namespace == namespace and set(wanted) <= set(peer.labels)


SIBLING = Peer(8080, "bots", (("discordgateway.dev/gateway", "my-bot"),))
OPERATOR = Peer(8080, "system", tuple(OPERATOR_LABELS.items()))
DISCORD = Peer(443, address="162.159.135.234")


@pytest.mark.parametrize(
    "peer",
    [
        Peer(53, "kube-system"),
        Peer(53, "kube-system", protocol="UDP"),
        DISCORD,
        Peer(443, address="2606:4700::1"),
        Peer(3000, "default"),
        SIBLING,
        OPERATOR,
    ],
    ids=["dns-tcp", "dns-udp", "discord", "discord-v6", "receiver", "sibling", "operator"],
)
def test_pods_reach_what_they_need(peer: Peer) -> None:
    assert reaches(policy(), peer)


@pytest.mark.parametrize(
    "peer",
    [
        Peer(443, address="10.96.0.1"),
        Peer(6443, address="192.168.1.10"),
        Peer(80, address="169.254.169.254"),
        Peer(443, address="fd00::1"),
        Peer(25, address="162.159.135.234"),
        Peer(5432, "databases"),
        Peer(8080, "bots", (("discordgateway.dev/gateway", "other-bot"),)),
        Peer(8080, "system", (("app.kubernetes.io/name", "something-else"),)),
        Peer(9090, "system", tuple(OPERATOR_LABELS.items())),
        Peer(53, "default-2", protocol="SCTP"),
    ],
    ids=[
        "api-server",
        "api-server-on-a-node",
        "cloud-metadata",
        "private-v6",
        "public-other-port",
        "other-namespace",
        "other-gateway",
        "beside-the-operator",
        "operator-other-port",
        "other-protocol",
    ],
)
def test_pods_reach_nothing_else(peer: Peer) -> None:
    assert not reaches(policy(), peer)


@pytest.mark.parametrize(
    ("url", "reached", "not_reached"),
    [
        ("http://bot/events", Peer(3000, "bots"), Peer(3000, "default")),
        ("http://bot.apps/events", Peer(3000, "apps"), Peer(3000, "default")),
        ("http://bot.apps/events", Peer(80, address="203.0.113.5"), Peer(81, address="203.0.113.5")),
        ("http://bot.apps.svc.cluster.local:9000/", Peer(1234, "apps"), Peer(9000, address="203.0.113.5")),
        ("https://bot.example.com:8443/x", Peer(8443, address="10.1.2.3"), Peer(8444, address="203.0.113.5")),
        # a policy knows no names, so the port of one outside is open to every address
        ("https://bot.example.com/", Peer(443, address="10.96.0.1"), Peer(80, address="169.254.169.254")),
        ("http://bot.example.com/", Peer(80, address="169.254.169.254"), Peer(443, address="10.96.0.1")),
        ("http://10.1.2.3:9000/", Peer(9000, address="10.1.2.3"), Peer(9000, address="10.1.2.4")),
        ("http://[fd00::5]:9000/", Peer(9000, address="fd00::5"), Peer(9001, address="fd00::5")),
    ],
)
def test_the_receivers_url_says_where_it_is(url: str, reached: Peer, not_reached: Peer) -> None:
    found = policy(forward={"url": url})
    assert reaches(found, reached)
    assert not reaches(found, not_reached)


def test_a_configured_api_and_gateway_are_reached() -> None:
    found = policy(apiURL="http://discord-proxy.edge.svc/api/v10", gatewayURL="ws://gateway.example.com:8081/")
    assert reaches(found, Peer(8080, "edge"))
    assert reaches(found, Peer(8081, address="203.0.113.5"))
    assert not reaches(policy(), Peer(8080, "edge"))


def test_an_operator_outside_the_cluster_is_reached_by_its_url() -> None:
    settings = RuntimeSettings(image="i", operator_url="http://192.168.7.7:9999", network_policies=True)
    assert reaches(policy(settings), Peer(9999, address="192.168.7.7"))


def test_a_policy_is_made_only_where_asked() -> None:
    spec = parse_gateway(
        {
            "apiVersion": "discordgateway.dev/v1alpha1",
            "kind": "DiscordGateway",
            "metadata": {"name": "my-bot"},
            "spec": {
                "tokenSecretRef": {"name": "b", "key": "k"},
                "intents": ["GUILDS"],
                "forward": {"url": "http://b/"},
            },
        }
    ).spec
    plain = RuntimeSettings(image="i", operator_url="http://o:1")
    assert "NetworkPolicy" not in {each["kind"] for each in shared_manifests(OWNER, spec, plain)}
    (made,) = [each for each in shared_manifests(OWNER, spec, SETTINGS) if each["kind"] == "NetworkPolicy"]
    assert made["metadata"]["ownerReferences"][0]["uid"] == "1234"
    assert made["spec"]["podSelector"]["matchLabels"] == {"discordgateway.dev/gateway": "my-bot"}
